"""Attention maps of any denoiser with standard attention: how much each place reads of some tokens.

Each place of the latent asks a query of all tokens, and `softmax(Q K^T / sqrt(d))` says how much it reads
of each (Rombach et al. 2022, section 3.3; the mean over heads is that of DAAM, Tang et al. 2023, arXiv
2210.04885). In joint attention (SD3, FLUX) a place reads text and image in one softmax, so that its share
of the text is less than 1. The denoiser computes as ever: its calls of `scaled_dot_product_attention` are
seen as they are made.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.overrides import TorchFunctionMode

from diffusion_lens.errors import UnsupportedPipelineError
from diffusion_lens.models.denoisers import find_denoiser

__all__ = ["AttentionRecorder"]

_Order = Literal["cross", "text first", "image first"]
# where the keys of text are, by the class of the attention's processor in diffusers
_PROCESSORS: dict[str, _Order] = {
    "AttnProcessor2_0": "cross",
    "AttnAddedKVProcessor2_0": "text first",
    "BriaAttnProcessor": "text first",
    "CogVideoXAttnProcessor2_0": "text first",
    "CogView4AttnProcessor": "text first",
    "Flux2AttnProcessor": "text first",
    "Flux2ParallelSelfAttnProcessor": "text first",
    "FluxAttnProcessor": "text first",
    "JointAttnProcessor2_0": "image first",
    "OvisImageAttnProcessor": "text first",
    "QwenDoubleStreamAttnProcessor2_0": "text first",
    "SanaAttnProcessor2_0": "cross",
}


class AttentionRecorder(TorchFunctionMode):
    """Records, while a pipeline draws one image, how much each place reads of some tokens of its prompt.

    Args:
        pipe: the pipeline.
        text: the number of tokens that its denoiser is given.
        positions: the tokens that count, together.

    Raises:
        UnsupportedPipelineError: the denoiser's attention is of no known kind.

    Attributes:
        layers: the paths of the attention layers that read the prompt.
        maps: by the path of each attention layer, one map by step: `[place]`, the mean over heads.
    """

    def __init__(self, pipe: Any, text: int, positions: Sequence[int]) -> None:
        super().__init__()
        self.pipe, self.text, self.positions = pipe, text, list(positions)
        denoiser = find_denoiser(pipe)
        self._denoiser = getattr(denoiser, "_orig_mod", denoiser)
        self.maps: dict[str, list[Float[Tensor, " place"]]] = {}
        found = {
            name: (module, type(module.processor).__name__)
            for name, module in self._denoiser.named_modules()
            if hasattr(module, "processor")
        }
        self._layers = {
            name: (module, _PROCESSORS[kind])
            for name, (module, kind) in found.items()
            if kind in _PROCESSORS
            and (_PROCESSORS[kind] != "cross" or getattr(module, "is_cross_attention", False))
        }
        if not self._layers:
            kinds = ", ".join(sorted({kind for _, kind in found.values()})) or "none that could be told"
            raise UnsupportedPipelineError(
                f"The attention of {type(denoiser).__name__} can't be recorded: its processors are "
                f"{kinds}. Known are {', '.join(_PROCESSORS)}."
            )
        self.layers = tuple(self._layers)
        self._now: tuple[str, _Order] | None = None
        self._first: Tensor | None = None
        self._positive = True

    @contextmanager
    def record(self) -> Iterator[None]:
        """Record in the body.

        Raises:
            UnsupportedPipelineError: no attention was seen, as in compiled code.
        """
        with ExitStack() as stack:
            stack.callback(
                self._denoiser.register_forward_pre_hook(self._on_denoiser, with_kwargs=True).remove
            )
            for name, (module, order) in self._layers.items():
                enter = self._enter(name, order)
                stack.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(self._leave).remove)
            stack.enter_context(self)
            yield
        if not self.maps:
            raise UnsupportedPipelineError(
                f"No attention of {type(self._denoiser).__name__} to {self.text} tokens was seen. It is "
                "compiled or sliced, or the denoiser adds tokens of its own to the text."
            )

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """See every call of torch; the attention of known layers is recorded."""
        given = kwargs or {}
        if function is torch.nn.functional.scaled_dot_product_attention and self._now and self._positive:
            names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale")
            with torch._C.DisableTorchFunction():
                self._see(**{**dict(zip(names, args, strict=False)), **given})
        return function(*args, **given)

    def _on_denoiser(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Tell calls with the prompt from those with the negative one, where these are separate calls."""
        states = kwargs.get("encoder_hidden_states")
        states = states[0] if isinstance(states, list) else states
        if self._first is None:
            self._first = states
        if isinstance(states, Tensor) and isinstance(self._first, Tensor):
            self._positive = states.shape == self._first.shape and torch.equal(states, self._first)

    def _enter(self, name: str, order: _Order) -> Any:
        def enter(_module: Any, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            states = kwargs.get("encoder_hidden_states")
            # alone: text and image in one sequence; but in SD3 the image, where a block has two attentions.
            # Some put tokens of their own before the text, and which is which is then not known
            known = order == "text first" if states is None else states.shape[1] == self.text
            self._now = (name, order) if known else None

        return enter

    def _leave(self, *_: Any) -> None:
        self._now = None

    def _see(
        self,
        query: Tensor,
        key: Tensor,
        attn_mask: Tensor | None = None,
        scale: float | None = None,
        **_: Any,
    ) -> None:
        """Record one call; `query` and `key` are `[row, head, token, width]`."""
        assert self._now is not None
        name, order = self._now
        keys, queries = key.shape[2], query.shape[2]
        joint = order != "cross"
        if keys < self.text or (joint and keys == self.text) or (not joint and keys != self.text):
            return  # an attention among image places, or of another text
        image = slice(None)
        first = 0
        if order == "image first":
            first = keys - self.text
            image = slice(0, queries - self.text if queries == keys else queries)
        elif joint and queries == keys:
            image = slice(self.text, None)
        wanted = [first + place for place in self.positions]
        # the last row is the prompt's; the negative one comes first where both share a call
        rows = query[-1, :, image].float()
        total = torch.zeros(rows.shape[1], device=rows.device)
        for head, (asked, known) in enumerate(zip(rows, key[-1].float(), strict=True)):
            scores = asked @ known.T * (scale or query.shape[-1] ** -0.5)
            if attn_mask is not None:
                mask = attn_mask[-1] if attn_mask.ndim == 4 else attn_mask
                mask = mask[head % len(mask)] if mask.ndim == 3 else mask
                mask = mask[image] if mask.shape[0] == queries else mask
                scores = (
                    scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
                )
            total += scores.softmax(-1)[:, wanted].sum(-1)
        self.maps.setdefault(name, []).append((total / len(rows)).cpu())
