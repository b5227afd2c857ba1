"""Linear probes: can a fact be read off a layer before the lens draws it, or only after?

A probe's answers go into the same table of scores as the lens's, with scorer "probe", so that every curve
and figure puts both on the same axes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from diffusion_lens.checks.checks import Kind
from diffusion_lens.errors import InputError
from diffusion_lens.scoring import table as scores

if TYPE_CHECKING:
    from diffusion_lens.text.states import LayerStates

__all__ = ["features", "probe"]


def features(states: LayerStates, token: str | None = None) -> Float[np.ndarray, "layer prompt width"]:
    """One vector by layer and prompt.

    Args:
        states: what an encoder made of the prompts.
        token: the state of the last token that reads so, blanks and markers aside; the mean over all
            unmasked tokens if left out.

    Raises:
        InputError: a prompt has no such token.
    """
    values = states.states.float().cpu().numpy()
    mask = states.mask.cpu().numpy().astype(bool)
    if token is None:
        weights = mask / mask.sum(axis=1, keepdims=True)
        return np.einsum("lbtw,bt->lbw", values, weights)
    at = []
    for prompt, words in zip(states.prompts, states.tokens, strict=True):
        places = [i for i, word in enumerate(words) if word.strip(" ▁Ġ").removesuffix("</w>") == token]
        if not places:
            raise InputError(f"The prompt {prompt!r} has no token {token!r}; its tokens are {list(words)}.")
        at.append(places[-1])
    return values[:, np.arange(len(at)), at]


def probe(
    states: LayerStates,
    facts: Sequence[str | bool],
    *,
    check: str,
    kind: Kind = "attribute",
    prompt_ids: Sequence[str] | None = None,
    groups: Sequence[object] | None = None,
    token: str | None = None,
    folds: int = 5,
    run: str = "",
    category: str = "",
    last: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Read a fact off each layer by logistic regression, each prompt by a probe that never saw it.

    Features are standardised; the penalty is scikit-learn's default, the same at all layers. Two controls
    come along: "probe-shuffled" learns facts dealt out at random among the groups (Hewitt & Liang 2019,
    arXiv 1909.03368: what a probe can make of the states' mere size), "probe-majority" always answers the
    most frequent fact of its training prompts (chance).

    Args:
        states: what an encoder made of the prompts.
        facts: the fact of each prompt: its colour, whether there is a dog.
        check: id of the check that the fact is about.
        kind: its kind.
        prompt_ids: ids as in the scores of the lens; the prompts themselves if left out.
        groups: prompts of one group stay in one fold. By default equal prompts do. Group by the fact's
            carrier (the noun) to ask for what holds beyond it.
        token: read at this token; over all tokens if left out.
        folds: of cross-validation.
        run: the column `run`, as in the scores of the lens.
        category: the column `category`, likewise.
        last: the encoder's last layer, if the states do not hold it.
        seed: of folds and shuffling.

    Returns:
        A validated table of scores: one row by prompt, layer and scorer; `label` says whether the fact was
        read right, `p` is the probability given to it.

    Raises:
        InputError: facts do not match the prompts, or too few groups hold them.
    """
    answers = np.array([str(fact) for fact in facts])
    carriers = np.array([str(group) for group in (states.prompts if groups is None else groups)])
    ids = list(states.prompts if prompt_ids is None else prompt_ids)
    if not len(answers) == len(carriers) == len(ids) == len(states):
        raise InputError(
            f"There are {len(states)} prompts, {len(answers)} facts, {len(carriers)} groups and {len(ids)} "
            "ids; a probe needs one of each by prompt."
        )
    least = min((len(set(carriers[answers == fact])) for fact in set(answers)), default=0)
    if len(set(answers)) < 2 or least < 2:
        raise InputError(
            f"A probe needs at least two facts, each held by two groups of prompts or more; there are "
            f"{sorted(set(answers))}, the rarest held by {least}."
        )
    rng = np.random.default_rng(seed)
    vectors = features(states, token)
    shuffled = _shuffle(answers, carriers, rng)
    splits = _splits(answers, carriers, min(folds, len(set(carriers))), seed)
    rows = []
    for layer, vector in zip(states.layers, vectors, strict=True):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        told = {
            "probe": _read(model, vector, answers, splits),
            "probe-shuffled": _read(model, vector, shuffled, splits),
            "probe-majority": _read(DummyClassifier(strategy="prior"), vector, answers, splits),
        }
        for scorer, (right, p) in told.items():
            rows.append(
                pd.DataFrame(
                    {
                        "prompt_id": ids,
                        "prompt": list(states.prompts),
                        "layer": layer,
                        "scorer": scorer,
                        "label": right,
                        "p": p,
                    }
                )
            )
    table = pd.concat(rows, ignore_index=True)
    deepest = max(states.layers) if last is None else last
    # prompts may occur twice; each occurrence is an answer of its own
    occurrence = table.groupby(["prompt_id", "layer", "scorer"]).cumcount()
    return scores.validate(
        table.assign(
            run=run,
            category=category,
            encoder=states.encoder,
            seed=occurrence,
            check=check,
            kind=kind,
            depth=table["layer"] / deepest if deepest else 1.0,
        )
    )


def _shuffle(answers: np.ndarray, carriers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Deal the facts out anew, one to each carrier where all its prompts share one."""
    names, first, which = np.unique(carriers, return_index=True, return_inverse=True)
    if all(len(set(answers[which == index])) == 1 for index in range(len(names))):
        return rng.permutation(answers[first])[which]
    return rng.permutation(answers)


def _splits(
    answers: np.ndarray, carriers: np.ndarray, folds: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    try:
        with warnings.catch_warnings():
            # facts rarer than folds are said to be so; they are kept together as far as possible
            warnings.simplefilter("ignore", UserWarning)
            stratified = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
            return list(stratified.split(answers, answers, carriers))
    except ValueError:
        # no fact is in as many prompts as there are folds
        return list(GroupKFold(folds).split(answers, answers, carriers))


def _read(
    model: object,
    vectors: Float[np.ndarray, "prompt width"],
    answers: np.ndarray,
    splits: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each fact is read right, and the probability given to it, by a probe of other prompts."""
    codes = np.unique(answers, return_inverse=True)[1]
    with warnings.catch_warnings():
        # facts of a whole fold may be missing from its training prompts, and random ones are hard to learn
        warnings.filterwarnings("ignore", message="Number of classes in training fold")
        warnings.simplefilter("ignore", ConvergenceWarning)
        chances = cross_val_predict(model, vectors, codes, cv=splits, method="predict_proba")
    return chances.argmax(axis=1) == codes, np.clip(chances[np.arange(len(codes)), codes], 0, 1)
