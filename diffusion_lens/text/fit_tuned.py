"""`fit_tuned`: affine maps from every layer to the native one, by ridge regression on captions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float

from diffusion_lens.errors import InputError
from diffusion_lens.models.encoders import TextEncoder
from diffusion_lens.text.layers import LayerPlan
from diffusion_lens.text.reader import Reader
from diffusion_lens.text.tuned import EncoderMaps, TunedFile

__all__ = ["HELD_OUT", "fit_tuned", "map_errors", "read_states"]

HELD_OUT = 5  # every fifth caption


@dataclass
class _Sums:
    """What ridge regression needs of states and targets, summed over tokens in double precision."""

    count: int = 0
    state: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    target: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    gram: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    cross: torch.Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, state: torch.Tensor, target: torch.Tensor) -> None:
        x, y = state.double(), target.double()
        self.count += len(x)
        self.state, self.target = self.state + x.sum(0), self.target + y.sum(0)
        self.gram, self.cross = self.gram + x.T @ x, self.cross + x.T @ y

    def solve(self, ridge: float) -> tuple[Float[torch.Tensor, "out width"], Float[torch.Tensor, " out"]]:
        """Weight and bias with the least squared error and the least weight, the bias being free."""
        x, y = self.state / self.count, self.target / self.count
        gram = self.gram / self.count - torch.outer(x, x)
        cross = self.cross / self.count - torch.outer(x, y)
        gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        weight = torch.linalg.solve(gram, cross).T
        return weight.float(), (y - weight @ x).float()


def fit_tuned(
    reader: Reader,
    captions: Sequence[str],
    ridge: float = 1e-3,
    on_caption: Callable[[int], object] = lambda done: None,
) -> TunedFile:
    """Fit the maps of all encoders of a pipeline; each caption is encoded once.

    All tokens count that the encoder reads, pads included, as the denoiser reads them all. Every fifth
    caption is held out for the errors.

    Args:
        reader: the text side of a model, `lens.reader()`.
        captions: at least ten prompts such as the model is used with.
        ridge: how strongly weights are held to be small, as a share of the mean variance of a state.
        on_caption: called after each caption, with 1.

    Raises:
        InputError: too few captions, or a ridge that is not above 0.
        PromptError: a caption is no prompt.

    Example:
        ```python
        fit_tuned(lens.reader(), captions).save("maps.safetensors")
        lens("a red fox", readout="tuned:maps.safetensors")
        ```
    """
    texts = list(dict.fromkeys(captions))
    if len(texts) < 10:
        raise InputError(f"A tuned readout is fitted on at least 10 captions; given were {len(texts)}.")
    if not ridge > 0:
        raise InputError(f"The ridge is {ridge}; it must be above 0, such as 0.001.")
    plan = LayerPlan(reader.conditioner, options=reader.options)
    positions = {name: tuple(dict.fromkeys(taps)) for name, taps in plan.taps.items()}
    layers = {name: [*range(depth + 1)] for name, depth in plan.depths.items()}
    sums = {
        (name, layer, position): _Sums()
        for name, taps in positions.items()
        for position in taps
        for layer in layers[name]
    }
    held_out = []
    for index, text in enumerate(texts):
        states = read_states(reader, text, layers)
        if index % HELD_OUT == HELD_OUT - 1:
            held_out.append(states)
        else:
            for (name, layer, position), one in sums.items():
                one.add(states[name][layer], states[name][position])
        on_caption(1)
    solved = {key: one.solve(ridge) for key, one in sums.items()}
    for (name, layer, position), (weight, bias) in solved.items():
        if layer == position:  # which is drawn as it is
            solved[name, layer, position] = torch.eye(len(weight)), torch.zeros_like(bias)
    maps = {}
    for name, taps in positions.items():
        encoder = reader.conditioner.encoders[name]
        maps[name] = EncoderMaps(
            encoder.fingerprint,
            tuple(layers[name]),
            {one: torch.stack([solved[name, layer, one][0] for layer in layers[name]]) for one in taps},
            {one: torch.stack([solved[name, layer, one][1] for layer in layers[name]]) for one in taps},
            [
                {"layer": layer, "position": one, **map_errors(encoder, solved[name, layer, one], pairs)}
                for one in taps
                for layer in layers[name]
                if (pairs := [(states[name][layer], states[name][one]) for states in held_out])
            ],
        )
    return TunedFile(len(texts), ridge, maps)


def read_states(
    reader: Reader, text: str, layers: Mapping[str, Sequence[int]]
) -> dict[str, dict[int, Float[torch.Tensor, "token width"]]]:
    """The states of one caption, by encoder and layer, in float32 on the CPU."""
    with reader.in_use():
        seen = reader.conditioner.capture(text, layers, reader.options)
    found = {}
    for name, one in seen.items():
        encoder = reader.conditioner.encoders[name]
        states = one.states
        found[name] = {layer: encoder.batch_first(states[layer])[0].float().cpu() for layer in layers[name]}
    return found


def map_errors(
    encoder: TextEncoder,
    solved: tuple[torch.Tensor, torch.Tensor],
    pairs: Sequence[tuple[torch.Tensor, torch.Tensor]],
) -> dict[str, float]:
    """The squared error of a map, and of none, after the final norm, as shares of the variance."""
    weight, bias = solved
    state, target = (torch.cat(each) for each in zip(*pairs, strict=True))
    wanted = encoder.final_norm(target)
    spread = (wanted - wanted.mean(0)).square().sum()
    found = {"tuned": state @ weight.T + bias, "final": state}
    missed = {name: (encoder.final_norm(one) - wanted).square().sum() for name, one in found.items()}
    return {name: float(one / spread) for name, one in missed.items()}
