"""`fit_sparse`: sparse features of the hidden states that captions have at one layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int

from diffusion_lens.errors import InputError, LayerError
from diffusion_lens.text.layers import LayerRequest
from diffusion_lens.text.reader import Reader
from diffusion_lens.text.readouts import parse_readout
from diffusion_lens.text.resolve import resolve_readings
from diffusion_lens.text.sparse import SparseFeatures, keep_largest

__all__ = ["CaptionStates", "fit_sparse", "read_captions"]

_HELD_OUT = 5  # every fifth caption
_CAPTIONS_AT_ONCE, _STATES_AT_ONCE = 64, 512
_DEAD_SHARE = 1 / 32  # of the loss, as in the paper
_QUIET = 50  # batches after which a feature that never fires counts as dead


@dataclass(frozen=True, eq=False)
class CaptionStates:
    """The hidden states of the words of captions at one layer.

    Attributes:
        encoder: the pipeline's name for the encoder.
        fingerprint: what tells it from others.
        layer: the layer.
        captions: the captions.
        states: one by token of a caption's own words; float32, on the CPU.
        caption: of each state, the index of its caption.
        place: of each state, the position of its token.
    """

    encoder: str
    fingerprint: str
    layer: int
    captions: tuple[str, ...]
    states: Float[torch.Tensor, "state width"]
    caption: Int[torch.Tensor, " state"]
    place: Int[torch.Tensor, " state"]

    @property
    def held_out(self) -> torch.Tensor:
        """Of which captions no state is fitted on: every fifth, true or false by caption."""
        return torch.arange(len(self.captions)) % _HELD_OUT == _HELD_OUT - 1

    def of_captions(
        self, values: Float[torch.Tensor, "state feature"]
    ) -> Float[torch.Tensor, "caption feature"]:
        """The largest of some values, not negative, among the tokens of each caption."""
        index = self.caption[:, None].expand(-1, values.shape[1])
        return values.new_zeros(len(self.captions), values.shape[1]).scatter_reduce(
            0, index, values, "amax"
        )


def read_captions(
    reader: Reader,
    captions: Sequence[str],
    layer: LayerRequest = "native",
    encoder: str | None = None,
    on_captions: Callable[[int], object] = lambda done: None,
) -> CaptionStates:
    """Encode captions, each once, and keep the states of their words at one layer.

    Args:
        reader: the text side of a model, `lens.reader()`.
        captions: prompts such as the model is used with.
        layer: the layer: a number, or "native".
        encoder: the text encoder; the first one if None.
        on_captions: called after each batch, with how many captions it had.

    Raises:
        LayerError: no such layer, or no whole layer.
        EncoderError: no such encoder.
        PromptError: a caption is no prompt.
    """
    texts = tuple(dict.fromkeys(captions))
    name = encoder or next(iter(reader.conditioner.encoders))
    (reading, *more) = resolve_readings(
        reader.conditioner,
        layer,
        encoder=name,
        readout=parse_readout("native"),
        options=reader.options,
    )
    number = reading.sources[name][-1]
    if more or not isinstance(number, int):
        raise LayerError(f"Features are of one whole layer, and {layer!r} is not one. Give a number.")
    states, of_caption, places = [], [], []
    for start in range(0, len(texts), _CAPTIONS_AT_ONCE):
        batch = reader.encode(texts[start : start + _CAPTIONS_AT_ONCE], [reading])[name]
        for index in range(len(batch)):
            one = batch[index]
            content = torch.tensor(reader.places_of(one).select("content"))
            states.append(one.layer(number)[0, content].float().cpu())
            of_caption.append(torch.full_like(content, start + index))
            places.append(content)
        on_captions(len(batch))
    fingerprint = reader.conditioner.encoders[name].fingerprint
    return CaptionStates(
        name, fingerprint, number, texts, torch.cat(states), torch.cat(of_caption), torch.cat(places)
    )


def fit_sparse(
    read: CaptionStates,
    features: int = 512,
    k: int = 8,
    *,
    steps: int = 2000,
    lr: float = 1e-3,
    seed: int = 0,
    on_step: Callable[[int], object] = lambda done: None,
) -> SparseFeatures:
    """Fit a top-k autoencoder on states of captions (Gao et al., 2024, arXiv 2406.04093).

    The decoder begins as the encoder's transpose, its directions keep the length 1, and features that have
    not fired for a while learn what the others miss (the paper's auxiliary loss). Every fifth caption is
    held out for the error.

    Args:
        read: the states.
        features: how many there are.
        k: how many a state has at most.
        steps: batches of 512 states.
        lr: the learning rate of Adam, which falls to 0 in the last fifth.
        seed: of the first weights and the batches.
        on_step: called after each batch, with 1.

    Raises:
        InputError: too few captions for the features, or numbers that can't be.
    """
    known = read.states[~read.held_out[read.caption]]
    if not 1 <= k <= features or steps < 1 or not lr > 0:
        raise InputError(
            f"{features} features, {k} in a state, {steps} steps and lr {lr} can't be. Give at least one "
            "step, an lr above 0, and no more in a state than there are."
        )
    if not read.held_out[read.caption].any():
        raise InputError(
            f"Every {_HELD_OUT}th caption is held out for the error, and there are {len(read.captions)}. "
            "Give more captions."
        )
    if len(known) < features:
        raise InputError(
            f"{features} features can't be told from the {len(known)} states of {len(read.captions)} "
            "captions. Give more captions, or ask for fewer features."
        )
    draw = torch.Generator().manual_seed(seed)
    centre = known.mean(0)
    scale = float((known - centre).norm(dim=-1).mean().clamp_min(1e-12))
    data = (known - centre) / scale
    width = data.shape[1]
    decode = torch.nn.functional.normalize(torch.randn(features, width, generator=draw), dim=-1)
    weights = [torch.nn.Parameter(one) for one in (decode.clone(), decode, torch.zeros(width))]
    encoder, decoder, shift = weights
    optimizer = torch.optim.Adam(weights, lr)
    quiet = torch.zeros(features, dtype=torch.long)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * min(1.0, 5 * (steps - step) / steps)
        batch = data[torch.randint(len(data), (_STATES_AT_ONCE,), generator=draw)]
        before = (batch - shift) @ encoder.T
        found = keep_largest(before, k)
        missed = batch - shift - found @ decoder
        loss = missed.square().sum(-1).mean()
        quiet = torch.where((found > 0).any(0), 0, quiet + 1)
        dead = quiet > _QUIET
        if dead.any():
            others = keep_largest(before * dead, min(int(dead.sum()), max(1, width // 2)))
            loss = loss + _DEAD_SHARE * (missed.detach() - others @ decoder).square().sum(-1).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        with torch.no_grad():
            decoder.div_(decoder.norm(dim=-1, keepdim=True).clamp_min(1e-12))
        on_step(1)
    return _measured(read, encoder.detach(), decoder.detach(), centre + scale * shift.detach(), scale, k)


def _measured(
    read: CaptionStates,
    encoder: torch.Tensor,
    decoder: torch.Tensor,
    centre: torch.Tensor,
    scale: float,
    k: int,
) -> SparseFeatures:
    """The features, with how strongly each fires and the error on the captions held out."""
    fitted = SparseFeatures(
        *(read.encoder, read.fingerprint, read.layer, k, scale, len(read.captions), 0.0),
        *(encoder, decoder, centre, torch.zeros(len(encoder))),
    )
    apart = read.held_out[read.caption]
    fires = fitted.activations(read.states[~apart])
    typical = fires.sum(0) / (fires > 0).sum(0).clamp_min(1)
    others = read.states[apart]
    missed = (others - fitted.states(fitted.activations(others))).square().sum()
    error = float(missed / (others - others.mean(0)).square().sum())
    return replace(fitted, typical=typical, error=error)
