"""Editing and personalisation of one image in the space that R maps into, without training.

`shift` adds what a change of words changes in the conditioning, R(x) + c(target) - c(source), the
arithmetic of word vectors (Mikolov et al. 2013, NAACL, "Linguistic Regularities"): what R saw and the
words don't say stays. Positions must keep their meaning for it, so source and target have one wording
but for the words replaced. `swap` takes the conditioning of the target where its tokens differ from
the source's and of the image elsewhere, as prompt-to-prompt does with attention (Hertz et al. 2022,
arXiv 2208.01626). `personalise` puts what R saw at the words for an image's subject into a prompt of
its own, at the same words; `read_initialiser` gives a learned word its start.

All of these start from R(x), or better from what a few steps of `refining.refine` make of it: R(x) alone
often takes one object for another.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diffusion_lens.errors import PromptError
from diffusion_lens.learning.captioning import rephrase, write_captions
from diffusion_lens.learning.latent_inversion import LatentInversion
from diffusion_lens.testbed.captions import parse, plain

__all__ = ["change_words", "personalise", "read_initialiser", "shift", "swap"]

State = Float[Tensor, "token width"]
PLACEHOLDER = "{}"


def change_words(source: str, changes: Sequence[tuple[str, str]]) -> str:
    """A caption with words replaced by others, whole words only.

    Raises:
        PromptError: a word is not in the caption.
    """
    words = source.split()
    for old, new in changes:
        if old not in words:
            raise PromptError(
                f"There is no word {old!r} in {source!r} to be replaced by {new!r}. Name one of its words, "
                "or give a caption of your own (--source, source=)."
            )
        words = [new if word == old else word for word in words]
    return " ".join(words)


def shift(
    inversion: LatentInversion,
    image: Image.Image,
    source: str,
    target: str,
    start: State | None = None,
) -> State:
    """R(x) + c(target) - c(source): conditioning of the image with its words changed.

    Args:
        inversion: a model with its R.
        image: what to edit.
        source: a caption of the image, or of the part that changes.
        target: the same with words replaced.
        start: the image's conditioning in place of R(x), such as of `refine`.
    """
    before, after = inversion.encode([source, target])
    return _read(inversion, image, start) + after - before


def swap(
    inversion: LatentInversion,
    image: Image.Image,
    source: str,
    target: str,
    start: State | None = None,
) -> State:
    """R(x) with the states of the target at the tokens that differ; for arguments see `shift`.

    Raises:
        PromptError: source and target differ in their number of tokens, so that positions don't match.
    """
    ids = _ids(inversion, [source, target])
    length = [int((one != inversion.pipe.tokenizer.pad_token_id).sum()) for one in ids]
    if length[0] != length[1]:
        raise PromptError(
            f"{source!r} has {length[0]} tokens and {target!r} {length[1]}: states can be swapped only "
            "where as many words come as go. Shift them instead (--how shift)."
        )
    differ = (ids[0] != ids[1]).to(inversion.mean.device)
    after = inversion.encode(target)[0]
    return torch.where(differ[:, None], after, _read(inversion, image, start))


def personalise(
    inversion: LatentInversion,
    image: Image.Image,
    prompt: str,
    subject: str | None = None,
    start: State | None = None,
) -> State:
    """Conditioning of a new prompt with an image's subject in it, from one image.

    Args:
        inversion: a model with its R.
        image: of the subject alone.
        prompt: with `{}` in the subject's place, such as "{} at night".
        subject: words for the subject with their article, such as "a red fox", as the image's caption
            has them; read from the image if None.
        start: the image's conditioning in place of R(x), such as of `refine`.

    Raises:
        PromptError: no or more than one `{}`; a subject that the caption doesn't hold.
    """
    if prompt.count(PLACEHOLDER) != 1:
        raise PromptError(f"{prompt!r} must hold {PLACEHOLDER} once, where the subject comes.")
    caption = write_captions(inversion, [image])[0].text
    subject = rephrase(subject) if subject else subject_of(caption)
    full = prompt.replace(PLACEHOLDER, subject)
    ids = _ids(inversion, [subject, caption, full])
    words = [int(i) for i in ids[0] if int(i) not in inversion.pipe.tokenizer.all_special_ids]
    here, there = (_find(one.tolist(), words) for one in ids[1:])
    if here is None or there is None:
        raise PromptError(f"The image is read as {caption!r}, which does not hold {subject!r}.")
    seen = _read(inversion, image, start) - inversion.encode(caption)[0]
    state = inversion.encode(full)[0]
    # what R saw there and the words don't say
    state[there : there + len(words)] += seen[here : here + len(words)]
    return state


def read_initialiser(inversion: LatentInversion, images: Sequence[Image.Image]) -> str:
    """What a learned word should start as (`Concept.init`): the subject that most images are read as.

    Raises:
        InputError: no image was given.
    """
    subjects = Counter(subject_of(one.text) for one in write_captions(inversion, images))
    return subjects.most_common(1)[0][0].split(" ", 1)[1]  # without the article


def subject_of(caption: str) -> str:
    """The words for the first object of a caption, with its article or count.

    Raises:
        PromptError: the testbed's grammar doesn't read the caption, or it names no object.
    """
    stated = parse(caption)
    if stated is None or not stated.items:
        raise PromptError(f"No subject can be read from {caption!r}; name it (--subject, subject=).")
    return plain(replace(stated, items=stated.items[:1], where=None, place=None))


def _read(inversion: LatentInversion, image: Image.Image, start: State | None) -> State:
    return inversion.invert([image])[0] if start is None else start


def _ids(inversion: LatentInversion, texts: Sequence[str]) -> Tensor:
    tokenizer = inversion.pipe.tokenizer
    return tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt").input_ids


def _find(ids: Sequence[int], words: Sequence[int]) -> int | None:
    """Where a run of tokens starts."""
    starts = range(len(ids) - len(words) + 1)
    return next((i for i in starts if list(ids[i : i + len(words)]) == list(words)), None)
