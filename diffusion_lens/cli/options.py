"""Options that several verbs share: each is defined once, with its help and the words of its default."""

import gc
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from diffusion_lens.choices import Dtype, Offload, Pooled
from diffusion_lens.errors import InputError
from diffusion_lens.garbage import without_collection

if TYPE_CHECKING:
    from diffusion_lens.lens.lens import DiffusionLens

__all__ = [
    "IMAGES",
    "BatchSize",
    "Compute",
    "Device",
    "Layers",
    "Load",
    "Model",
    "Overwrite",
    "Prompts",
    "ReadingOptions",
    "Run",
    "SamplerOptions",
    "Seeds",
    "WholeLayers",
    "check_ending",
    "check_prompt",
    "default",
    "values",
]


IMAGES = (".png", ".webp", ".jpg", ".jpeg")
"""The endings of images that a grid can be written as."""


def check_ending(out: Path, what: str, *endings: str) -> None:
    """Refuse the path of a file whose ending names another format than it would have.

    Args:
        out: the path.
        what: what is written there, such as "image".
        endings: those of its formats.

    Raises:
        InputError: it has none of these.
    """
    if out.suffix.lower() not in endings:
        listed = " or ".join([", ".join(endings[:-1]), endings[-1]] if endings[1:] else endings)
        raise InputError(f"{out} names no {what}; end it in {listed}.")


def default(words: str, metavar: str | None = None, help: str | None = None) -> Any:
    """Annotate an option whose default is better said in words than as a value."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {words})", metavar=metavar, help=help)


def values(metavar: str, words: str, help: str | None = None) -> Any:
    """Annotate an option that takes several values, and whose default is better said in words."""
    return default(words, _several(metavar), help)


def _several(metavar: str) -> str:
    return f"{metavar} [{metavar} ...]"


def _positional(metavar: str, help: str) -> Any:
    return tyro.conf.arg(metavar=metavar, help=help, help_behavior_hint="")


Prompts = Annotated[
    tuple[str, ...], tyro.conf.Positional, _positional("PROMPT [PROMPT ...]", "One or more prompts.")
]
Run = Annotated[
    str, tyro.conf.Positional, _positional("RUN", "The folder of the run, or a URL that fsspec can open.")
]
Model = Annotated[
    str,
    tyro.conf.arg(
        metavar="MODEL",
        help="An embedded model (`diffusion-lens models` lists them), a folder in diffusers format, a "
        "model id of the Hugging Face hub, or one file (x.safetensors).",
    ),
]
Layers = Annotated[
    tuple[str, ...],
    tyro.conf.arg(
        metavar=_several("LAYER"),
        help="Layers to draw: all, native, a number (0 is the embedding, -1 the last layer), a range with "
        "both ends such as 0:24:4, or what a part of blocks adds: 6.attn, 6.head.3, all.mlp; native+6.attn "
        "adds it once more to the native hidden state.",
    ),
]
WholeLayers = Annotated[
    tuple[str, ...],
    tyro.conf.arg(
        metavar=_several("LAYER"),
        help="Layers, each as a whole: all, native, a number (0 is the embedding, -1 the last layer), or a "
        "range with both ends such as 0:24:4.",
    ),
]
Seeds = Annotated[
    tuple[int, ...],
    tyro.conf.arg(metavar=_several("SEED"), help="Each seed gives one image of each layer."),
]
Embeddings = Annotated[
    tuple[str, ...],
    values(
        "FILE",
        "none",
        "Files of learned embeddings that the prompts hold, or folders of such files; with "
        '"<cat>=file.pt" the prompts write the embedding as <cat>.',
    ),
]
Device = Annotated[
    str | None,
    default(
        "the fastest one at hand", "DEVICE", "The device that the model runs on: cpu, cuda, cuda:1 or mps."
    ),
]
BatchSize = Annotated[
    int | None, default("chosen by the image size", "INT", "How many images are denoised together.")
]
Overwrite = Annotated[bool, tyro.conf.arg(help="Replace files that exist.", help_behavior_hint="")]


@dataclass(frozen=True)
class Compute:
    """Where the model computes, and in which type.

    Attributes:
        dtype: The type of the weights: float32, bfloat16 or float16. bfloat16 is faster where the hardware
            has it.
    """

    device: Device = None
    dtype: Annotated[
        Dtype | None, default("float32 on the CPU, the model's own on an accelerator", "DTYPE")
    ] = None


@dataclass(frozen=True)
class Load(Compute):
    """How the model is loaded.

    Attributes:
        offload: Keeps on the accelerator only the model, or with sequential only the layer, that is at
            work.
        family: How the pipeline takes its text, for a class that the lens does not know: the name of a
            known class, or a PipelineFamily in a module of yours, as mypackage.lens:FAMILY.
        encoder_family: How a text encoder is built, for a class that the lens does not know: an
            EncoderFamily, as mypackage.lens:ENCODER, or NAME=mypackage.lens:ENCODER for one of several.
        text_encoder: What stands in the place of a text encoder of the model, such as own+int8, a folder or
            own+lora=FILE, or NAME=own+int8 for one of several.
        revision: A branch, tag or commit of the model on the hub.
        variant: A variant of the weights, such as fp16.
        config: For a model that is one file: the folder in diffusers format, or the hub id, of a pipeline
            with the same configs.
        allow_pickle: Load weights that are pickles. A pickle can run any program: allow it only for a
            file that you trust.
        trust_remote_code: Run Python code that comes with the model. Allow it only for a model that you
            trust.
    """

    offload: Offload = "none"
    family: Annotated[str | None, default("by the class of the pipeline", "FAMILY")] = None
    encoder_family: Annotated[tuple[str, ...], values("FAMILY", "by the class of the encoder")] = ()
    text_encoder: Annotated[tuple[str, ...], values("ENCODER", "the model's own")] = ()
    revision: Annotated[str | None, default("the newest", "REVISION")] = None
    variant: Annotated[str | None, default("none", "VARIANT")] = None
    config: Annotated[str | None, default("that of the model the file is of", "CONFIG")] = None
    allow_pickle: Annotated[bool, default("refuse them")] = False
    trust_remote_code: Annotated[bool, default("refuse it")] = False

    @property
    def text_encoders(self) -> dict[str, str]:
        """What stands in the place of text encoders, by the pipeline's name for them.

        Raises:
            InputError: two are given for one.
        """
        return _by_name(self.text_encoder)

    def lens(self, model: str, **options: Any) -> "DiffusionLens":
        """The lens of a model; `options` are further ones of `DiffusionLens.from_pretrained`."""
        given = asdict(self)
        given["encoders"] = _by_name(given.pop("encoder_family"))
        del given["text_encoder"]
        given["text_encoders"] = self.text_encoders
        with without_collection():
            from diffusion_lens.lens.lens import DiffusionLens

            gc.freeze()  # libraries stay; a model's parts may become garbage, once they are released
            return DiffusionLens.from_pretrained(model, **given, **options)


def _by_name(texts: Sequence[str]) -> dict[str, str]:
    """Values of NAME=VALUE by name; a value alone is of `text_encoder`."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        named = equals and name.replace("_", "").isalnum() and "+" not in name
        key, one = (name, value) if named else ("text_encoder", text)
        if key in found:
            raise InputError(f"{key} was given twice: {found[key]!r} and {one!r}. Give it once.")
        found[key] = one
    return found


@dataclass(frozen=True)
class ReadingOptions:
    """How a layer is read.

    Attributes:
        encoder: The text encoder whose layers are drawn, such as text_encoder_2; with all, the encoders
            move together.
        readout: native treats a layer as the pipeline treats its own. final applies the encoder's final
            norm, as in the paper. none takes the hidden state as it is. tuned:FILE maps it to the native
            layer with a file of `diffusion-lens tune`.
        pooled: The pooled output is held at full depth, made from the layer, or that of the empty prompt.
        slots: Where the pipeline reads several layers, one layer replaces all of them, only the deeper
            ones (cap), the one of this index, or all but it (without:INDEX).
        intervene: What is changed in the hidden states, such as 'keep(fox)', in this order.
    """

    encoder: Annotated[str, tyro.conf.arg(metavar="ENCODER")] = "all"
    readout: Annotated[str, tyro.conf.arg(metavar="{native,final,none,tuned:FILE}")] = "native"
    pooled: Pooled = "hold"
    slots: Annotated[str, tyro.conf.arg(metavar="{all,cap,INDEX,without:INDEX}")] = "all"
    intervene: Annotated[tuple[str, ...], values("CHANGE", "nothing")] = ()

    def arguments(self) -> dict[str, Any]:
        """The options as arguments of a lens.

        Raises:
            InputError: `slots` is none of these.
        """
        given = asdict(self)
        interventions = given.pop("intervene")
        return {**given, "slots": _parse_slots(self.slots), "interventions": interventions}


def check_prompt(prompt: str) -> None:
    """Refuse a blank prompt, before anything is loaded, where a verb is about the prompt's words.

    Raises:
        InputError: it has no word.
    """
    if not prompt.strip():
        raise InputError(
            f"The prompt {prompt!r} is blank, and has no word. Write one, such as 'a red fox'."
        )


def _parse_slots(text: str) -> int | str:
    if text in ("all", "cap"):
        return text
    index = text.removeprefix("without:")
    if index.isascii() and index.isdigit() and len(index) < 4:
        return text if text != index else int(text)
    raise InputError(f"{text!r} names no slots. Allowed: all, cap, an index such as 0, or without:0.")


@dataclass(frozen=True)
class SamplerOptions:
    """How images are denoised.

    Attributes:
        steps: The number of denoising steps.
        guidance: The guidance scale; 1 or less turns guidance off.
        height: The height of an image in pixels.
        width: The width of an image in pixels.
        negative_prompt: What an image should not show.
        scheduler: The class name of a diffusers scheduler, such as DPMSolverMultistepScheduler.
    """

    steps: Annotated[int | None, default("the model's own", "INT")] = None
    guidance: Annotated[float | None, default("the model's own", "NUMBER")] = None
    height: Annotated[int | None, default("the model's own", "PIXELS")] = None
    width: Annotated[int | None, default("the model's own", "PIXELS")] = None
    negative_prompt: Annotated[str | None, default("none", "TEXT")] = None
    scheduler: Annotated[str | None, default("the model's own", "CLASS")] = None

    def arguments(self) -> dict[str, Any]:
        """The options as arguments of a lens."""
        return asdict(self)
