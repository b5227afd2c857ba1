"""`diffusion-lens invert`: learn words from pictures."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from diffusion_lens.cli.console import say
from diffusion_lens.errors import InputError

__all__ = ["invert"]

Folders = Annotated[tuple[Path, ...], tyro.conf.Positional]


def invert(
    folders: Folders,
    /,
    token: tuple[str, ...],
    init: tuple[str, ...] = (),
    model: str = "emoji",
    vectors: int = 1,
    out: tuple[Path, ...] = (),
    overwrite: bool = False,
    templates: Literal["object", "style"] = "object",
    steps: int = 400,
    batch: int = 4,
    rate: float = 5e-3,
    norm: Literal["none", "fixed", "pull"] = "none",
    snr_gamma: float | None = None,
    flip: bool = False,
    bf16: bool = False,
    similarity: Literal["clip", "dinov2", "none"] = "clip",
    clip: str = "emoji-clip",
    dinov2: str = "facebook/dinov2-small",
    validate_every: int = 100,
    patience: int | None = None,
    seed: int = 0,
    device: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    revision: str | None = None,
    variant: str | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> None:
    """Learn one or several words from pictures; the same command goes on where it was stopped.

    Args:
        folders: a folder of three to five pictures for each word; cat1.txt beside cat1.png holds sentences
            for that picture, with the token where the word belongs.
        token: how each word is written in prompts, such as "<mycat>".
        init: text that each word starts as, such as "cat"; left out, random vectors.
        model: an embedded model, a folder, or a hub id.
        vectors: vectors of each word.
        out: a .safetensors file for each word, by default named after the token. The state, drawings and
            course of the training go into a folder beside the first.
        overwrite: replace files that exist.
        templates: the sentences that words stand in: of an object or of a style.
        steps: at most so many.
        batch: pictures of each word in a step.
        rate: learning rate.
        norm: keep each vector's length (fixed), pull it to the vocabulary's (pull), or neither.
        snr_gamma: min-SNR weights; 5 is usual.
        flip: show half of the pictures mirrored.
        bf16: compute in bfloat16; vectors stay float32.
        similarity: what tells the best vectors: likeness by CLIP or DINOv2; none keeps the last.
        clip: an embedded model with a CLIP, a folder, or a hub id.
        dinov2: a folder or hub id.
        validate_every: steps between two looks.
        patience: stop after so many looks without a better one.
        seed: of all that is random.
        device: cpu, cuda, cuda:1, mps; the fastest at hand if left out.
        dtype: of the model; as in `show`.
        revision: branch, tag or commit on the hub.
        variant: a variant of the weights, such as fp16.
        allow_pickle: load weights that are not safetensors.
        trust_remote_code: run code that comes with the model.
    """
    for name, given in (("token", token), ("init", init), ("out", out)):
        if len(given) != len(folders) and (given or name == "token"):
            raise InputError(
                f"{len(folders)} folders and {len(given)} of --{name} were given; give one for each folder."
            )
    from diffusion_lens.files import check_output

    files = out or tuple(Path(f"{one.strip('<>')}.safetensors") for one in token)
    for path in files:
        if path.suffix != ".safetensors":
            raise InputError(
                f"{path} does not end in .safetensors, the kind of file that words are kept in."
            )
        check_output(path, overwrite=overwrite)

    from diffusion_lens.learning.concepts import read_concept
    from diffusion_lens.learning.invert import Look
    from diffusion_lens.learning.invert import invert as learn
    from diffusion_lens.learning.metrics import load_embed
    from diffusion_lens.learning.training import Settings
    from diffusion_lens.text.embedding_files import write_embedding

    starts = init or (None,) * len(folders)
    concepts = [
        read_concept(folder, name, start, templates, vectors)
        for folder, name, start in zip(folders, token, starts, strict=True)
    ]
    settings = Settings(
        steps=steps, batch=batch, rate=rate, norm=norm, snr_gamma=snr_gamma, flip=flip, bf16=bf16,
        validate_every=validate_every, patience=patience, seed=seed,
    )  # fmt: skip

    from diffusion_lens.lens.lens import DiffusionLens

    lens = DiffusionLens.from_pretrained(
        model,
        device=device,
        dtype=dtype,
        revision=revision,
        variant=variant,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )
    embed = load_embed(similarity, clip if similarity == "clip" else dinov2)
    folder = files[0].with_suffix(".training")
    words = learn(lens, concepts, settings, Look(embed), folder)
    for path, word in zip(files, words, strict=True):
        write_embedding(path, word, lens.pipeline)
        say(f"word      {word.token}  {path}")
    say(f"training  {folder}")
