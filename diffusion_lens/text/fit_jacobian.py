"""`fit_jacobian`: how a layer's state moves the last one, on average: a language model's Jacobian lens.

    J_l = mean over captions and source tokens of  sum over target tokens of  d h_L[target] / d h_l[source]

(Gurnee et al., 2026, "Verbalizable representations form a global workspace in language models"). The
vocabulary head then reads `norm(J_l h_l)`. The matrices are stored as the maps of a tuned readout, without
a bias, so that what they say can be drawn as well.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float

from diffusion_lens.errors import EncoderError, InputError
from diffusion_lens.models.hooks import Recording
from diffusion_lens.models.parts import edit_states
from diffusion_lens.text.fit_tuned import HELD_OUT, map_errors, read_states
from diffusion_lens.text.reader import Reader
from diffusion_lens.text.tuned import EncoderMaps, TunedFile
from diffusion_lens.text.vocabulary import find_head

__all__ = ["fit_jacobian"]

_AT_ONCE = 8  # captions in a forward pass


def fit_jacobian(
    reader: Reader, captions: Sequence[str], on_row: Callable[[int], object] = lambda done: None
) -> TunedFile:
    """Fit the Jacobian lens of each encoder that has a vocabulary head.

    Source and target tokens are the captions' own, without template, start and padding. A backward pass is
    made for each component of a state and every eight captions. Every fifth caption is held out, for the
    errors alone.

    Args:
        reader: the text side of a model, `lens.reader()`.
        captions: at least five prompts such as the model is used with; a few dozen are enough.
        on_row: called after each backward pass, with 1.

    Raises:
        InputError: too few captions.
        EncoderError: no encoder has a vocabulary head, or a pipeline lets no gradient through.
    """
    texts = list(dict.fromkeys(captions))
    if len(texts) < HELD_OUT:
        raise InputError(f"A Jacobian lens is fitted on at least {HELD_OUT} captions; given: {len(texts)}.")
    encoders = reader.conditioner.encoders
    names = [name for name, encoder in encoders.items() if find_head(encoder) is not None]
    if not names:
        raise EncoderError(
            f"No text encoder of {type(reader.conditioner.pipe).__name__} has a vocabulary head, which a "
            "Jacobian lens is read by. Say its states by the nearest words: words --by nearest."
        )
    fitted = [text for index, text in enumerate(texts) if index % HELD_OUT != HELD_OUT - 1]
    maps = {}
    for name in names:
        encoder, depth = encoders[name], encoders[name].depth
        weight = _jacobians(reader, name, fitted, on_row)
        weight = torch.cat([weight, torch.eye(weight.shape[-1])[None]])
        bias = torch.zeros(weight.shape[:2])
        layers = [*range(depth + 1)]
        read = [read_states(reader, text, {name: layers})[name] for text in texts[HELD_OUT - 1 :: HELD_OUT]]
        errors = [
            {
                "layer": layer,
                "position": depth,
                **map_errors(
                    encoder, (weight[layer], bias[layer]), [(one[layer], one[depth]) for one in read]
                ),
            }
            for layer in layers
        ]
        maps[name] = EncoderMaps(encoder.fingerprint, tuple(layers), {depth: weight}, {depth: bias}, errors)
    return TunedFile(len(texts), 0.0, maps)


def _jacobians(
    reader: Reader, name: str, captions: Sequence[str], on_row: Callable[[int], object]
) -> Float[torch.Tensor, "layer width width"]:
    """The mean Jacobian of all layers below the last, in float32 on the CPU."""
    total, count = torch.zeros(()), 0
    for start in range(0, len(captions), _AT_ONCE):
        states, tokens = _with_gradient(reader, name, list(captions[start : start + _AT_ONCE]))
        *sources, target = states
        width = target.shape[-1]
        rows = torch.empty(len(sources), width, width)
        for component in range(width):
            wanted = torch.zeros_like(target)
            wanted[..., component] = tokens.to(target.dtype)
            found = torch.autograd.grad(target, sources, wanted, retain_graph=component < width - 1)
            rows[:, component] = torch.stack([one[tokens].float().sum(0).cpu() for one in found])
            on_row(1)
        total, count = total + rows, count + int(tokens.sum())
    return total / count


def _with_gradient(
    reader: Reader, name: str, captions: list[str]
) -> tuple[list[torch.Tensor], Bool[torch.Tensor, "caption token"]]:
    """The states of all layers, `[caption, token, width]`, that the last one can be differentiated by, and
    which tokens are the captions' own.
    """
    encoder = reader.conditioner.encoders[name]
    seen: dict[int, torch.Tensor] = {}
    given: list[Recording] = []

    def keep(state: torch.Tensor, layer: int, recording: Recording) -> torch.Tensor:
        given.append(recording)
        seen[layer] = state.detach().requires_grad_() if layer == 0 else state
        return seen[layer]

    with reader.in_use(), edit_states(encoder, keep, ""):
        reader.conditioner.differentiable(captions, reader.options)
    states = [seen[layer] for layer in range(encoder.depth + 1)]
    if not states[-1].requires_grad:
        raise EncoderError(
            f"{type(reader.conditioner.pipe).__name__} encodes prompts without gradients, which a Jacobian "
            "lens is fitted by. Read its states with a tuned lens (diffusion-lens tune)."
        )
    ids, mask = given[0].input_ids, given[0].attention_mask
    mask = torch.ones_like(ids) if mask is None else mask
    tokens = torch.zeros(ids.shape, dtype=torch.bool, device=states[-1].device)
    for row, text in enumerate(captions):
        places = reader.find_places(name, text, ids[row].tolist(), mask[row].bool().tolist())
        tokens[row, list(places.content())] = True
    return states, tokens
