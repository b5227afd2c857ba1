"""The parts of an experiment: its prompts and where they come from, and the machine that draws them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from diffusion_lens.choices import Compile, Dtype, Offload

__all__ = ["Captions", "Machine", "Prompt", "Prompts"]

Scalar = str | int | float | bool


@dataclass(frozen=True)
class Prompt:
    """A prompt and what is known of it.

    Attributes:
        prompt: the text.
        metadata: columns that go with it into the table.
    """

    prompt: str
    metadata: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Captions:
    """Captions of the embedded model's testbed, whose scenes are known exactly.

    Attributes:
        count: how many.
        seed: the stream of scenes; training and validation have streams of their own.
        kinds: of "single", "pair", "count" and "entity"; all if empty.
        held_out: captions of combinations that training never saw, of this kind.
    """

    count: int = 100
    seed: int = 1
    kinds: tuple[str, ...] = ()
    held_out: Literal["colour", "relation"] | None = None


@dataclass(frozen=True)
class Prompts:
    """Where prompts come from: exactly one of the first four.

    Attributes:
        inline: written out in the experiment, as a list in place of this table.
        file: a .txt (one prompt a line), .csv, .tsv or .jsonl file; a relative path starts at the
            experiment file. Its other columns are kept as metadata.
        set: a public set that comes with the package.
        captions: captions of the testbed.
        column: the column of a file that holds the prompts.
        where: only prompts whose metadata have these values, one or a list of them each.
        limit: only the first ones.
    """

    inline: tuple[Prompt, ...] = ()
    file: str | None = None
    set: Literal["geneval", "partiprompts"] | None = None
    captions: Captions | None = None
    column: str = "prompt"
    where: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None


@dataclass(frozen=True)
class Machine:
    """How images are computed and kept. Only `dtype` may change them visibly; a run holds one dtype.

    Attributes:
        device: cpu, cuda, cuda:1, mps; the fastest at hand if None.
        dtype: as in `diffusion_lens.models.load.load_pipeline`.
        offload: likewise.
        variant: likewise.
        config: likewise, of a model that is one file.
        batch_size: images denoised together; the lens's own default if None.
        compile: compile the denoiser; "auto" does so on CUDA for plans that are long enough to win.
        image: the lossless format of the images.
        states: gigabytes of encoded prompts that the run keeps in `states/`, so that going on with it
            runs no encoder for them; by default none, since they outweigh the images of small models.
        encoders: "release" encodes every prompt first and frees the text encoders before the first image;
            "leave" loads no text encoder, and the run must keep the states of every prompt. Both are for
            the engine local.
    """

    device: str | None = None
    dtype: Dtype | None = None
    offload: Offload = "none"
    variant: str | None = None
    config: str | None = None
    batch_size: int | None = None
    compile: Compile = "auto"
    image: Literal["png", "webp"] = "png"
    states: float = 0.0
    encoders: Literal["load", "release", "leave"] = "load"
