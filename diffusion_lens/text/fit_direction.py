"""`fit_direction`: a steering direction of every layer of a pipeline's encoders, to be saved as a file."""

from collections.abc import Sequence

import torch

from diffusion_lens.text.directions import DirectionFile
from diffusion_lens.text.interventions import Steer, direction
from diffusion_lens.text.interventions.steer import mean_difference
from diffusion_lens.text.reader import Reader
from diffusion_lens.text.readouts import parse_readout
from diffusion_lens.text.resolve import resolve_readings

__all__ = ["fit_direction"]


def fit_direction(reader: Reader, toward: str | Sequence[str], away: str | Sequence[str]) -> DirectionFile:
    """The mean difference of the states of pairs of prompts, at every layer; each prompt is encoded once.

    Args:
        reader: the text side of a model, `lens.reader()`.
        toward: one prompt, or the first one of each pair.
        away: one prompt, or the second one of each pair.

    Raises:
        InputError: there are not as many of both, or one can't be written in a direction.
        PromptError: a pipeline rewrote a prompt, so that its tokens are not known.
    """
    written = direction(toward, away)
    pairs = [(one, other) for one, _, other in (pair.partition(" minus ") for pair in written.split("; "))]
    steer = Steer(written, place="encoder")  # which reads every layer
    readings = resolve_readings(
        reader.conditioner,
        "native",
        readout=parse_readout("native"),
        interventions=[steer],
        options=reader.options,
    )
    for prompt in steer.sources(""):
        reader.keep_source(prompt, reader.encode([prompt], readings))
    vectors, layers = {}, {}
    for name, states in reader.source(pairs[0][0]).items():
        context = reader.context_of(name, states, steer)
        layers[name] = tuple(layer for layer in states.layers if isinstance(layer, int))
        vectors[name] = torch.stack(
            [mean_difference(pairs, layer, states.states, context) for layer in states.layers]
        )
    fingerprints = {name: one.fingerprint for name, one in reader.conditioner.encoders.items()}
    return DirectionFile(tuple(pairs), fingerprints, layers, vectors)
