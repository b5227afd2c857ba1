"""LEGO: learn concepts beyond a subject's looks (adjectives, states, relations) from a few pictures.

After Motamed, Paudel and Van Gool 2023 (arXiv 2311.13833, ECCV 2024): Textual Inversion of "melting" from
pictures of a melting cube learns the cube as well. Subject Separation gives the subject a word of its
own, learned together with the concept's from pictures of the subject alone; a Context Loss draws the
concept's word towards words that describe it and away from others.

The abstract says what the parts are for, and the authors' repository holds no code. The following is
our reading:

- Subject Separation: pictures of the concept are told by sentences that hold both words, "a <concept>
  <subject>", those of the subject alone by the usual ones, and both words are trained in one step. The
  subject's looks are explained by its word in both, and leave nothing of them to the concept's.
- Context Loss: InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) over cosines in the space of token
  embeddings, in the form of ReVersion's steering loss (Huang et al. 2023, arXiv 2303.13495),
  -log(sum over positives exp(cos / t) / sum over positives and negatives exp(cos / t)).
  A word of several tokens, and a concept of several vectors, is the mean of its rows. The subject's word,
  as it stands and without a gradient to it, is one of the negatives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from diffusion_lens.errors import InputError
from diffusion_lens.learning.concepts import Concept
from diffusion_lens.learning.training import Learner
from diffusion_lens.text.embeddings import Embedding, initial_embedding

__all__ = ["SENTENCES", "Context", "LegoLearner", "context_loss", "context_word", "separated"]

# of an adjective; {} is the concept's word and {subject} the subject's
SENTENCES = ("a {} {subject}", "a photo of a {} {subject}", "a picture of a {} {subject}",
             "an image of a {} {subject}", "a drawing of a {} {subject}")  # fmt: skip


@dataclass(frozen=True)
class Context:
    """Where a concept's word belongs among other words.

    Attributes:
        token: the concept's word.
        subject: the word of the subject that its pictures show; one of the negatives.
        positive: words that describe the concept.
        negative: words that it is not, such as antonyms and the subject's name.
        weight: of the loss, beside the denoiser's.
        temperature: of the loss.
    """

    token: str
    subject: str
    positive: tuple[str, ...]
    negative: tuple[str, ...] = ()
    weight: float = 0.01
    temperature: float = 0.07

    def __post_init__(self) -> None:
        if not self.positive:
            raise InputError(
                f"{self.token} has no positive words. Give some that describe the concept, such as melted "
                "and liquid for melting."
            )
        both = sorted(set(self.positive) & set(self.negative))
        if both:
            raise InputError(f"{', '.join(both)} can't be positive and negative for {self.token}; choose.")
        if not self.weight >= 0 or not self.temperature > 0:
            raise InputError(
                f"The context loss of {self.token} has weight {self.weight} and temperature "
                f"{self.temperature}; the weight must be at least 0 and the temperature above 0."
            )


def separated(concept: Concept, subject: Concept, sentences: Sequence[str] = SENTENCES) -> list[Concept]:
    """A concept whose sentences name the subject by its own word, and the subject.

    Args:
        concept: pictures of the concept on the subject; its sentences are replaced.
        subject: pictures of the subject alone.
        sentences: with {} for the concept's word and {subject} for the subject's.

    Raises:
        InputError: both have one token, or a sentence lacks one of the words.
    """
    if concept.token == subject.token:
        raise InputError(f"Concept and subject are both {concept.token!r}; give two different tokens.")
    for sentence in sentences:
        if "{subject}" not in sentence or sentence.count("{}") != 1:
            raise InputError(
                f"The sentence {sentence!r} must hold {{}} once for the concept, and {{subject}}: without "
                "the subject's word, its looks go into the concept's."
            )
    told = tuple(sentence.replace("{subject}", subject.token) for sentence in sentences)
    fields = {**vars(concept), "captions": (told,) * len(concept.pictures)}
    return [Concept(**fields), subject]


def context_loss(
    rows: Float[Tensor, "vector width"],
    positive: Float[Tensor, "positive width"],
    negative: Float[Tensor, "negative width"],
    temperature: float,
) -> Float[Tensor, ""]:
    """InfoNCE of a word's mean row with any of the positive words, against all."""
    mean = rows.mean(0)
    near = cosine_similarity(positive, mean, dim=-1) / temperature
    far = cosine_similarity(negative, mean, dim=-1) / temperature
    return torch.cat([near, far]).logsumexp(0) - near.logsumexp(0)


@dataclass
class LegoLearner(Learner):
    """Words in training, of which some are concepts with a context.

    Args:
        pipe, concepts, settings: as for `Learner`; concepts and subjects, such as of `separated`.
        contexts: of the concepts.

    Raises:
        InputError: a context of a word that is not learned, or a word that a tokenizer doesn't know.
    """

    contexts: Sequence[Context] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        learned = [word.token for word in self.words]
        for one in self.contexts:
            missing = [token for token in (one.token, one.subject) if token not in learned]
            if missing:
                raise InputError(
                    f"The context of {one.token} is about {', '.join(missing)}, which is not learned here. "
                    f"Learned: {', '.join(learned)}."
                )
        self._anchors = [
            (_rows(self.pipe, one.positive), _rows(self.pipe, one.negative)) for one in self.contexts
        ]

    def losses(self, step: int) -> Float[Tensor, " concept"]:
        """The denoiser's loss of each word, and with it the context loss of those that have one."""
        losses = super().losses(step)
        words = {word.token: (index, word) for index, word in enumerate(self.words)}
        added = torch.zeros_like(losses)
        for one, (positive, negative) in zip(self.contexts, self._anchors, strict=True):
            index, word = words[one.token]
            subject = words[one.subject][1]
            each = [
                context_loss(
                    rows,
                    positive[name],
                    torch.cat([negative[name], subject.rows[name].detach().mean(0, keepdim=True)]),
                    one.temperature,
                )
                for name, rows in word.rows.items()
            ]
            where = torch.arange(len(losses), device=losses.device) == index
            added = added + where * (one.weight * torch.stack(each).mean()).to(losses.device)
        return losses + added


def context_word(pipe: Any, token: str, words: Sequence[str]) -> Embedding:
    """A word that is the mean of others, with nothing learned."""
    rows = _rows(pipe, words)
    return Embedding(token, {name: each.mean(0, keepdim=True) for name, each in rows.items()})


def _rows(pipe: Any, words: Sequence[str]) -> Mapping[str, Float[Tensor, "word width"]]:
    """The mean row of each word, by encoder."""
    found = [initial_embedding(pipe, word, word).rows for word in words]
    if not found:
        some = initial_embedding(pipe, "none", None).rows
        return {name: rows[:0] for name, rows in some.items()}
    return {name: torch.cat([rows[name] for rows in found]) for name in found[0]}
