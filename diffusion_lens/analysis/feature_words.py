"""`feature_words`: sparse features as detectors of the words of captions."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from diffusion_lens.errors import InputError

__all__ = ["feature_words"]

_LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
# a word of more of the captions tells nothing
_COMMON = 0.5


def feature_words(
    activations: Float[np.ndarray, "caption feature"],
    captions: Sequence[str],
    held_out: Bool[np.ndarray, " caption"],
    *,
    least: int = 10,
    best: int = 3,
) -> pd.DataFrame:
    """The word that each feature detects best, and how well on captions that did not choose it.

    A feature detects a caption where its largest activation is above a threshold. Word and threshold (a
    share of the feature's largest activation, at most half) have the best F1, the harmonic mean of
    precision and recall, on the captions that are not held out; the numbers are of those that are.

    Args:
        activations: the largest activation of each feature among the tokens of each caption.
        captions: the captions.
        held_out: which of them choose nothing.
        least: words of fewer of the captions that choose are no candidates, nor of half as many of those
            held out, nor those of more than half of the captions.
        best: how many captions are shown in which a feature fires most.

    Returns:
        One row by feature that fires, the best detectors first: `feature`, `fires` (the share of captions),
        `word`, `threshold`, `precision`, `recall` and `f1` with `detected` and `captions_with_word` (the
        numbers of captions held out that the feature, or the word, is in), `best_captions` and
        `best_with_word`, how many of these have the word. Precision is missing where nothing is detected.

    Raises:
        InputError: no word is in enough of the captions.
    """
    words = [set(re.findall(r"[^\W\d_]+", caption.lower())) for caption in captions]
    counts = [
        Counter(word for own, out in zip(words, held_out, strict=True) if out == side for word in own)
        for side in (False, True)
    ]
    known = sorted(
        word
        for word, count in counts[0].items()
        if count >= least and counts[1][word] >= least / 2 and count <= _COMMON * (~held_out).sum()
    )
    if not known:
        raise InputError(
            f"No word is in {least} of the captions that features are fitted on, in {least / 2:g} of those "
            f"held out, and in at most half of all. Give more captions than {len(captions)}."
        )
    there = np.array([[word in own for word in known] for own in words], dtype=float)
    fit, test = ~held_out, held_out
    peaks = activations[fit].max(axis=0)
    found = np.stack([_f1(activations[fit] > level * peaks, there[fit]) for level in _LEVELS])
    rows = []
    for feature in np.flatnonzero(peaks > 0):
        level, word = np.unravel_index(found[:, feature].argmax(), found[:, feature].shape)
        threshold = _LEVELS[level] * peaks[feature]
        detected, right = activations[test, feature] > threshold, there[test, word] > 0
        hits = int((detected & right).sum())
        shown = np.argsort(-activations[:, feature], kind="stable")[:best]
        rows.append(
            {
                "feature": int(feature),
                "fires": float((activations[:, feature] > 0).mean()),
                "word": known[word],
                "threshold": float(threshold),
                "precision": hits / detected.sum() if detected.any() else np.nan,
                "recall": hits / right.sum(),
                "f1": 2 * hits / (detected.sum() + right.sum()),
                "detected": int(detected.sum()),
                "captions_with_word": int(right.sum()),
                "best_captions": " | ".join(captions[one] for one in shown),
                "best_with_word": int(there[shown, word].sum()),
            }
        )
    table = pd.DataFrame(rows)
    if not rows:
        return table
    return table.sort_values(["f1", "best_with_word"], ascending=False, kind="stable", ignore_index=True)


def _f1(
    detected: Bool[np.ndarray, "caption feature"], there: Float[np.ndarray, "caption word"]
) -> Float[np.ndarray, "feature word"]:
    """F1 of each feature for each word."""
    hits = detected.T.astype(float) @ there
    both = detected.sum(axis=0)[:, None] + there.sum(axis=0)[None]
    return np.divide(2 * hits, both, out=np.zeros_like(hits), where=both > 0)
