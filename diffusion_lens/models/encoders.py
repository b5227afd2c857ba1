"""Text-encoder families: where their blocks and their final norm are, and how they pool.

One table row per class of `transformers`; nothing else in the package asks what class an encoder has.
An encoder of another class is described by the user with an `EncoderFamily` of key paths.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import nn

from diffusion_lens.errors import EncoderError
from diffusion_lens.models.digest_parts import digest_module, unwrap
from diffusion_lens.models.digest_text import digest_tokenizer
from diffusion_lens.models.hooks import find_module
from diffusion_lens.models.registry import load_entry_points, resolve

__all__ = [
    "ENCODERS",
    "EncoderFamily",
    "TextEncoder",
    "known_encoders",
    "resolve_encoder",
]

Pool = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


def pool_clip(
    encoder: nn.Module,
    normed: Float[torch.Tensor, "batch token width"],
    input_ids: Int[torch.Tensor, "batch token"],
) -> Float[torch.Tensor, "batch projected"]:
    """The state at the end-of-text token, projected where the encoder has a projection.

    As in `transformers.models.clip.modeling_clip`: the first position of `eos_token_id`, or for the
    configs that say 2 by mistake, the position of the largest id.
    """
    end = cast(Any, encoder.config).eos_token_id
    ids = input_ids if end == 2 else (input_ids == end).int()
    rows = torch.arange(normed.shape[0], device=normed.device)
    pooled = normed[rows, ids.to(torch.int).argmax(dim=-1)]
    projection = getattr(encoder, "text_projection", None)
    return pooled if projection is None else _apply(projection, pooled)


def _apply(module: nn.Module, state: torch.Tensor) -> torch.Tensor:
    """A module's output for a state that may lie on another device than its weights."""
    device = next(module.parameters()).device
    # weights offloaded one layer at a time lie on "meta" and come by themselves when called
    given = state if device.type == "meta" else state.to(device)
    output: torch.Tensor = module(given)
    return output.to(state.device)


@dataclass(frozen=True)
class EncoderFamily:
    """How a class of text encoders is built.

    Attributes:
        blocks: key path of the list of transformer blocks; the first of several that exists.
        final_norm: key path of the norm after the last block; None for post-norm encoders, in which
            each block ends with its own norm (BERT).
        token_first: states are laid out `[token, batch, width]`.
        ties_last: the encoder's own `hidden_states[-1]` is the normed state, as `transformers` ties it
            in most models, and not in CLIP.
        pool: from the normed state and the token ids to the pooled output, where the encoder has one.
        attn: key path in a block of the module whose output attention adds to the hidden state; empty
            where there is none.
        mlp: likewise of the feed-forward part.
        heads: key path in a block of the linear layer after the attention heads; empty where what it gives
            is normed before it is added, so that heads can't be told apart.
        decoder: it is a language model, whose states a vocabulary head reads as the next token.
    """

    blocks: tuple[str, ...]
    final_norm: tuple[str, ...] | None
    token_first: bool = False
    ties_last: bool = True
    pool: Pool | None = None
    attn: str = ""
    mlp: str = ""
    heads: str = ""
    decoder: bool = False


_CLIP = EncoderFamily(
    # transformers 5.6 took `text_model` out of CLIPTextModel and left it in the projecting class
    blocks=("text_model.encoder.layers", "encoder.layers"),
    final_norm=("text_model.final_layer_norm", "final_layer_norm"),
    ties_last=False,
    pool=pool_clip,
    attn="self_attn",
    mlp="mlp",
    heads="self_attn.out_proj",
)
_T5 = EncoderFamily(
    blocks=("encoder.block",),
    final_norm=("encoder.final_layer_norm",),
    attn="layer.0.SelfAttention",
    mlp="layer.1.DenseReluDense",
    heads="layer.0.SelfAttention.o",
)
_DECODER = EncoderFamily(
    blocks=("model.language_model.layers", "language_model.layers", "model.layers", "layers"),
    final_norm=("model.language_model.norm", "language_model.norm", "model.norm", "norm"),
    attn="self_attn",
    mlp="mlp",
    heads="self_attn.o_proj",
    decoder=True,
)
# these norm what a part has computed once more before they add it
_GEMMA2 = replace(_DECODER, attn="post_attention_layernorm", mlp="post_feedforward_layernorm", heads="")

ENCODERS: Mapping[str, EncoderFamily] = {
    "BertModel": EncoderFamily(
        blocks=("encoder.layer",),
        final_norm=None,
        attn="attention.output.dense",
        mlp="output.dense",
        heads="attention.output.dense",
    ),
    "CLIPTextModel": _CLIP,
    "CLIPTextModelWithProjection": _CLIP,
    "ChatGLMModel": EncoderFamily(
        blocks=("encoder.layers",),
        final_norm=("encoder.final_layernorm",),
        token_first=True,
        ties_last=False,
        attn="self_attention",
        mlp="mlp",
        heads="self_attention.dense",
        decoder=True,
    ),
    "Gemma2ForCausalLM": _GEMMA2,
    "Gemma2Model": _GEMMA2,
    "Gemma3ForConditionalGeneration": _GEMMA2,
    "GemmaForCausalLM": _DECODER,
    "GemmaModel": _DECODER,
    "GlmModel": _DECODER,
    "LlamaForCausalLM": _DECODER,
    "LlamaModel": _DECODER,
    "Ministral3ForCausalLM": _DECODER,
    "Ministral3Model": _DECODER,
    "Mistral3ForConditionalGeneration": _DECODER,
    "Mistral3Model": _DECODER,
    "Qwen2VLForConditionalGeneration": _DECODER,
    "Qwen2_5_VLForConditionalGeneration": _DECODER,
    "Qwen3ForCausalLM": _DECODER,
    "Qwen3VLForConditionalGeneration": _DECODER,
    "Qwen3VLModel": _DECODER,
    "Qwen3Model": _DECODER,
    "SmolLM3ForCausalLM": _DECODER,
    "T5EncoderModel": _T5,
    "T5GemmaEncoder": replace(_GEMMA2, attn="post_self_attn_layernorm", decoder=False),
    "UMT5EncoderModel": _T5,
}


@cache
def known_encoders() -> Mapping[str, EncoderFamily]:
    """All families by class name: those of this package, and those that other packages register.

    A package adds its own with an entry point in its `pyproject.toml`:
    `[project.entry-points."diffusion_lens.encoders"]`, `MyEncoder = "mypackage.lens:ENCODER"`.

    Raises:
        InputError: an installed package registers something that is no family.
    """
    return {**ENCODERS, **load_entry_points("diffusion_lens.encoders", EncoderFamily)}


def resolve_encoder(name: str) -> EncoderFamily:
    """A family by the class that it describes, or by where a user's own is: "mypackage.lens:ENCODER".

    Raises:
        InputError: there is none.
    """
    return resolve(name, known_encoders(), EncoderFamily)


class TextEncoder:
    """A live text encoder seen as blocks and a final norm.

    Args:
        name: the pipeline's name for it, such as `text_encoder_2`.
        module: the encoder.
        family: how it is built; looked up by class name if None.
        tokenizer: its tokenizer or processor, which is part of its identity.

    Raises:
        EncoderError: the class is unknown, or has no blocks or norm where its family says.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        family: EncoderFamily | None = None,
        tokenizer: Any = None,
    ) -> None:
        module = unwrap(module)
        kind = type(module).__name__
        known = known_encoders()
        matching = (known[base.__name__] for base in type(module).__mro__ if base.__name__ in known)
        family = family or next(matching, None)
        if family is None:
            raise EncoderError(
                f"{name} is a {kind}, an encoder of no known family (known: {', '.join(known)}). "
                "Describe it by key paths: EncoderFamily(blocks=('encoder.layers',), "
                "final_norm=('final_layer_norm',)), given as "
                f"DiffusionLens(pipe, encoders={{'{name}': family}})."
            )
        self.name = name
        self.tokenizer = tokenizer
        self.module = module
        self.family = family
        self.blocks = list(cast(nn.ModuleList, self._find(family.blocks, "blocks")))
        self.norm = None if family.final_norm is None else self._find(family.final_norm, "final norm")

    def _find(self, paths: tuple[str, ...], what: str) -> nn.Module:
        for path in paths:
            found = find_module(self.module, path)
            if found is not None:
                return found
        children = ", ".join(name for name, _ in self.module.named_children())
        raise EncoderError(
            f"{self.name} ({type(self.module).__name__}) has no {what} at {' or '.join(paths)}; its "
            f"parts are: {children}. Give the right key path with an EncoderFamily."
        )

    @property
    def depth(self) -> int:
        """The number of blocks, L; layers run from 0 (the embedding output) to L."""
        return len(self.blocks)

    @torch.no_grad()
    def final_norm(
        self, state: Float[torch.Tensor, "*batch token width"]
    ) -> Float[torch.Tensor, "*batch token width"]:
        """The encoder's final norm of a state; the state itself in a post-norm encoder."""
        return state if self.norm is None else _apply(self.norm, state)

    @torch.no_grad()
    def pool(
        self,
        state: Float[torch.Tensor, "batch token width"],
        input_ids: Int[torch.Tensor, "batch token"],
    ) -> Float[torch.Tensor, "batch projected"]:
        """The pooled output as the encoder would make it from this state of any layer."""
        if self.family.pool is None:
            raise EncoderError(f"{self.name} ({type(self.module).__name__}) has no pooled output.")
        return self.family.pool(self.module, self.final_norm(state), input_ids.to(state.device))

    def batch_first(self, state: torch.Tensor) -> Float[torch.Tensor, "batch token width"]:
        """A block's output as `[batch, token, width]`."""
        return state.transpose(0, 1) if self.family.token_first else state

    @property
    def fingerprint(self) -> str:
        """What tells this encoder from others: the digest of the module, then that of its tokenizer."""
        tokenizer = "" if self.tokenizer is None else digest_tokenizer(self.tokenizer)
        return digest_module(self.module) + tokenizer
