"""Is a check of a prompt in the encoder's states? Ridge probes on captions that differ in it alone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from diffusion_lens.checks.checks import Check
from diffusion_lens.checks.minimal_pairs import minimal_pairs
from diffusion_lens.checks.scenes import parse_caption

if TYPE_CHECKING:
    from diffusion_lens.lens.lens import DiffusionLens
    from diffusion_lens.text.reader import Reader
    from diffusion_lens.text.states import LayerStates

__all__ = ["Decodability", "probe_check", "read_by_probe"]

_PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
_FOLDS = 5


@dataclass(frozen=True)
class Decodability:
    """What probes read of one check at each layer.

    Attributes:
        accuracy: share of held-out captions that the probe of a layer reads right; chance is a half.
        reads_prompt: whether the probe, fitted on all captions, reads the check off the prompt itself.
    """

    accuracy: Float[np.ndarray, " layer"]
    reads_prompt: Bool[np.ndarray, " layer"]

    def layers(self, enough: float) -> list[int]:
        """The layers at which held-out captions are read well enough, and the prompt too."""
        return [int(i) for i in np.flatnonzero((self.accuracy >= enough) & self.reads_prompt)]


def probe_check(
    lens: "DiffusionLens",
    prompt: str,
    check: Check,
    encoder: str,
    pairs: int = 40,
) -> Decodability | None:
    """Whether a check of a prompt can be read off each layer of an encoder by a linear probe.

    A caption is its mean state beside that of its last word, whose pieces come after all others, and that
    of the thing that the check is about, where every caption names it: which of two things a colour belongs
    to is not in a mean over both. The prompt itself is never among the captions that a probe is fitted on.

    Args:
        lens: the model.
        prompt: a caption of the testbed.
        check: one of its checks.
        encoder: the encoder.
        pairs: pairs of captions that differ in the check.

    Returns:
        None where it is not known: the prompt is no caption of the testbed or does not state the check, or
        too few captions can be without it.
    """
    stated = parse_caption(prompt)
    made = minimal_pairs(stated, check, pairs) if stated is not None else []
    texts = [text for pair in made for text in pair]
    if not texts:
        return None
    from diffusion_lens.text.reading import Reading

    reader, depth = lens.reader(), lens.conditioner.encoders[encoder].depth
    readings = lens.readings("all", Reading(encoder), reader)
    read = [*texts, prompt]
    named = check.subject if all(_holds(text, check.subject) for text in read) else None
    different = list(dict.fromkeys(read))
    states = reader.encode(different, readings)[encoder]
    vectors = {text: _features(reader, states[index], depth, named) for index, text in enumerate(different)}
    stacked = np.stack([vectors[text] for text in read], axis=1)
    labels = np.tile([True, False], len(made))
    groups = pairs_apart(made)
    kept = np.array([text != prompt for text in texts])
    if len(np.unique(groups[kept])) < 2:
        return None
    return read_by_probe(stacked[:, :-1][:, kept], labels[kept], groups[kept], stacked[:, -1])


def pairs_apart(pairs: Sequence[tuple[str, str]]) -> Int[np.ndarray, " caption"]:
    """The group of each caption, pair by pair: pairs that share a caption are one group.

    A caption that is held out must not be among those that a probe is fitted on, and of a short prompt few
    captions differ.
    """
    first: dict[str, int] = {}
    found = np.arange(len(pairs))
    for number, pair in enumerate(pairs):
        for text in pair:
            one, other = found[first.setdefault(text, number)], found[number]
            found[found == max(one, other)] = min(one, other)
    return np.repeat(found, 2)


def read_by_probe(
    vectors: Float[np.ndarray, "layer caption width"],
    labels: Bool[np.ndarray, " caption"],
    groups: Float[np.ndarray, " caption"] | np.ndarray,
    prompt: Float[np.ndarray, "layer width"],
) -> Decodability:
    """Ridge classifiers of one label at each layer, in folds that keep groups together.

    Args:
        vectors: of captions.
        labels: whether each states the check.
        groups: captions of one group are held out together; two groups at least.
        prompt: what is read in the end.
    """
    accuracy, reads = [], []
    folds = GroupKFold(min(_FOLDS, len(np.unique(groups))))
    for layer, one in zip(vectors, prompt, strict=True):
        model = make_pipeline(StandardScaler(), RidgeClassifierCV(_PENALTIES))
        read = cross_val_predict(model, layer, labels, groups=groups, cv=folds)
        accuracy.append(float((read == labels).mean()))
        reads.append(bool(model.fit(layer, labels).predict(one[None])[0]))
    return Decodability(np.array(accuracy), np.array(reads))


def _holds(text: str, word: str | None) -> bool:
    """Whether a caption names a thing as one word."""
    return bool(word) and str(word).lower() in re.findall(r"\w+", text.lower())


def _features(
    reader: "Reader", states: "LayerStates", depth: int, named: str | None
) -> Float[np.ndarray, "layer width"]:
    """The mean state of a caption's own tokens, the last one, and one that is named, at each layer."""
    places = reader.places_of(states)
    own = list(places.content())
    single = [own[-1]] if named is None else [own[-1], places.select(f"word:{named}")[-1]]
    kept = [states.layers.index(layer) for layer in range(depth + 1)]
    values = states.states[kept, 0].float().numpy()
    return np.concatenate([values[:, own].mean(axis=1), *(values[:, i] for i in single)], axis=1)
