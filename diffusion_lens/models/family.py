"""`PipelineFamily`: all facts about how one class of pipelines takes its text, in one frozen value.

A pipeline is used through its own `encode_prompt` and `__call__` only. To condition it on another layer,
the forward pass of an encoder is replaced by one that returns that layer's state, and `encode_prompt` runs
unchanged, so that masks, prefixes, joins and paddings are the pipeline's own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from diffusion_lens.errors import UnsupportedPipelineError

if TYPE_CHECKING:  # families are listed without torch
    from torch import Tensor

    from diffusion_lens.models.conditioning import Conditioning

__all__ = ["Draw", "Encode", "PipelineFamily", "Predict", "Slot", "Tap", "images_of"]

Encode: TypeAlias = Callable[[Any, dict[str, Any]], Sequence[Any]]
"""From a pipeline and the arguments of its `encode_prompt` to what the family's `returns` names."""

Draw: TypeAlias = Callable[[Any, dict[str, Any]], Any]
"""From a pipeline and the arguments of its `__call__`, text arguments among them, to its output."""

Predict: TypeAlias = Callable[[Any, "Tensor", "Tensor", "Conditioning"], "Tensor"]
"""One call of a denoiser: (pipeline, noisy latents `[batch, channel, y, x]`, times in 0..1000, text
arguments) to the prediction, in the shape of the latents."""


@dataclass(frozen=True)
class Tap:
    """The states of an encoder that its pipeline reads: the native tap.

    Attributes:
        read: an index into the L + 1 hidden states (-1 the last, -2 the penultimate), or several of them;
            the name of the option of `encode_prompt`, or of the setting or attribute of the pipeline, that
            holds the indices (of groups of them, each is read once, in order); "all" for all blocks, or
            "0:all" for the embedding output and all blocks.
        normed: the pipeline reads it after the final norm.
        raw_last: the pipeline takes what the last block gives, where the encoder's own `hidden_states[-1]`
            is normed in most models.
    """

    read: int | str | tuple[int, ...]
    normed: bool
    raw_last: bool = False

    def positions(self, depth: int, options: Mapping[str, Any]) -> tuple[int, ...]:
        """The layers read, in `0..depth`, in the pipeline's order."""
        if self.read == "all":
            return tuple(range(1, depth + 1))
        if self.read == "0:all":
            return tuple(range(depth + 1))
        if isinstance(self.read, str):
            indices = options[self.read]
            if any(not isinstance(index, int) for index in indices):
                indices = sorted({index for group in indices for index in group})
        else:
            indices = self.read if isinstance(self.read, tuple) else (self.read,)
        return tuple(index if index >= 0 else depth + 1 + index for index in indices)


@dataclass(frozen=True)
class Slot:
    """One text encoder of a pipeline.

    Attributes:
        name: the pipeline's name for it.
        tap: the states that the pipeline reads; None where it reads only the pooled output.
        pooled: where the pipeline finds the pooled output, if it reads one: "text_embeds" (first field
            of a projecting CLIP), "pooler_output", or "last_state" (the last block's raw state).
        tokenizer: the pipeline's name for its tokenizer or processor.
        optional: the pipeline works without it.
        reads_quotes: it reads what stands in quotation marks in a prompt, and nothing else.
    """

    name: str
    tap: Tap | None
    pooled: str | None = None
    tokenizer: str = "tokenizer"
    optional: bool = False
    reads_quotes: bool = False

    def describe(self) -> str:
        """What the pipeline reads of this encoder, in a few words."""
        if self.tap is None:
            return f"{self.name}: pooled only"
        named = {-1: "last", -2: "penultimate", "all": "every block", "0:all": "every layer"}
        read = named.get(self.tap.read) or (
            f"layer {self.tap.read} from the end" if isinstance(self.tap.read, int) else "several"
        )
        quotes = ", of quoted text only" if self.reads_quotes else ""
        extras = (", normed" if self.tap.normed else "", " + pooled" if self.pooled else "", quotes)
        return f"{self.name}: {read}{''.join(extras)}"


@dataclass(frozen=True)
class PipelineFamily:
    """How a class of pipelines takes its text.

    Attributes:
        title: the models it stands for.
        slots: its text encoders.
        returns: what `encode_prompt` returns, in order, by the `__call__` argument that takes it; None
            for what `__call__` works out again by itself.
        guidance: the `__call__` argument that users mean by guidance.
        cfg: the `__call__` argument that turns classifier-free guidance on; None where a part of the
            pipeline does (a `guider`).
        cfg_above: the value above which it does.
        encode_with: what `__call__` gives to `encode_prompt` that is neither a default nor an option.
        not_options: options of `__call__` that the lens takes over and refuses.
        not_encoded: options that `__call__` takes and does not hand on to `encode_prompt`.
        batch_dims: the batch dimension of arguments where it is not the first; None for an argument that
            all images of a batch share.
        half: the 16-bit type that suits its checkpoints on a GPU.
        example: a checkpoint on the hub, as it is written after `--model`.
        guided_inputs: the tensors of the denoising loop whose batch is doubled by guidance, by the names
            that `callback_on_step_end` takes; empty where guidance can't be dropped during the loop.
        takes_negative: `__call__` reads the embeddings of a negative prompt that it is given.
        empty_negative: `__call__` takes an absent negative prompt for an empty one, and encodes that.
        absent_negative: what it takes an absent negative prompt for in place of an empty one.
        settings: options of `__call__` that the lens needs to be so, and sets.
        beside_text: options of `__call__` that embeddings need beside them and a prompt does not.
        one_image: `__call__` can draw no more than one image.
        encode: what stands for `encode_prompt` where one call of it is not the whole encoding.
        draw: what stands for `__call__` where it takes text only.
        predict: one call of the denoiser; None where words can't be learned on the family.
    """

    title: str
    slots: tuple[Slot, ...]
    returns: tuple[str | None, ...]
    guidance: str = "guidance_scale"
    cfg: str | None = "guidance_scale"
    cfg_above: float = 1.0
    encode_with: Mapping[str, Any] = field(default_factory=dict)
    not_options: tuple[str, ...] = ()
    not_encoded: tuple[str, ...] = ()
    batch_dims: Mapping[str, int | None] = field(default_factory=dict)
    half: str = "bfloat16"
    example: str = ""
    guided_inputs: tuple[str, ...] = ()
    takes_negative: bool = True
    empty_negative: bool = False
    absent_negative: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    beside_text: Mapping[str, Any] = field(default_factory=dict)
    one_image: bool = False
    encode: Encode | None = None
    draw: Draw | None = None
    predict: Predict | None = None

    @property
    def positive(self) -> tuple[str, ...]:
        """The `__call__` arguments that carry the prompt."""
        return tuple(name for name in self.returns if name and not name.startswith("negative_"))


def images_of(output: Any) -> Any:
    """The images of what `__call__` returned, `[image, y, x, 3]`; of a video its first frame.

    Raises:
        UnsupportedPipelineError: it has neither images nor frames.
    """
    images = getattr(output, "images", None)
    if images is None:
        images = getattr(output, "image", None)  # Kandinsky 5
    if images is not None:
        return images
    frames = getattr(output, "frames", None)
    if frames is None:
        raise UnsupportedPipelineError(
            f"The pipeline returned a {type(output).__name__}; an output with `images` or `frames` is "
            "needed, as the classes of diffusers return it (see diffusion_lens.models.contract)."
        )
    return [video[0] for video in frames]
