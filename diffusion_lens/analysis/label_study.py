"""What the paper asks of its labels, asked of the released ones, each number with its interval."""

from collections.abc import Callable

import pandas as pd

from diffusion_lens.analysis.conditional import constancy
from diffusion_lens.analysis.contrasts import contrast
from diffusion_lens.analysis.order import DEFINITIONS, order
from diffusion_lens.analysis.statistics import DEFAULT, Resampling
from diffusion_lens.analysis.trajectories import groups
from diffusion_lens.errors import ScoresError

__all__ = ["NOT_SCORED", "are_labels", "label_tables"]

NOT_SCORED = "llf"
_BY = ("scorer", "run")
_ANIMALS = ("positional_common_animals", "positional_uncommon_animals")
_NOUNS = (
    ("IsFirstClass", "IsSecondClass"),
    ("FirstThingExists", "SecondThingExists"),
    ("IsFirstObjectPresent", "IsSecondObjectPresent"),
)
_RELATION, _THINGS = "RelationCorrect", "FirstThingExists; SecondThingExists"


def are_labels(table: pd.DataFrame) -> bool:
    """Whether a table is of the published labels."""
    return {"question", "experiment"} <= set(table.columns)


def label_tables(table: pd.DataFrame, resampling: Resampling = DEFAULT) -> dict[str, pd.DataFrame]:
    """The tables of the paper's questions.

    Args:
        table: of `analysis.labels`.
        resampling: the level of the intervals, and the draws behind p.

    Returns:
        Those of these that there are labels for:

        - `label_animals`: common less uncommon animals, of IsCorrectAnimal, by area and last layer;
        - `label_nouns`: which of two nouns comes first, by both definitions (see `order`);
        - `label_relations`: whether a relation changes, where both things are there (see `constancy`);
        - `label_not_scored`: prompts whose earlier layers the release marks as not scored, and the rate
          at the last layer with and without them.
    """
    made = {
        "label_animals": _apart(
            table[table["check"] == "IsCorrectAnimal"], lambda part: _animals(part, resampling)
        ),
        "label_nouns": _nouns(table, resampling),
        "label_relations": _relations(table, resampling),
        "label_not_scored": _not_scored(table),
    }
    return {name: frame for name, frame in made.items() if not frame.empty}


def _apart(table: pd.DataFrame, make: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """One table of all scorers and models for which it can be made."""
    rows = []
    for key, part in groups(table, _BY):
        try:
            rows.append(make(part).assign(**key))
        except ScoresError:  # these labels have no such prompts
            continue
    if not rows:
        return pd.DataFrame()
    found = pd.concat(rows, ignore_index=True)
    return found[[*_BY, *(name for name in found if name not in _BY)]]


def _animals(part: pd.DataFrame, resampling: Resampling) -> pd.DataFrame:
    first, second = ({"category": name} for name in _ANIMALS)
    found = contrast(part, first, second, resampling=resampling)
    return found[found["number"].isin(["area", "final"])]


def _nouns(table: pd.DataFrame, resampling: Resampling) -> pd.DataFrame:
    rows = []
    by = (*_BY, "category")
    for first, second in _NOUNS:
        part = table[table["check"].isin([first, second])]
        for definition in DEFINITIONS:
            try:
                found = order(part, first, second, by, definition=definition, resampling=resampling)
            except ScoresError:  # no such questions here
                continue
            rows.append(found[found["lead"].notna()])
    return pd.concat(rows, ignore_index=True).sort_values([*by, "definition"]) if rows else pd.DataFrame()


def _relations(table: pd.DataFrame, resampling: Resampling) -> pd.DataFrame:
    asked = table[table["check"].isin([_RELATION, *_THINGS.split("; ")])]
    if not (asked["check"] == _RELATION).any():
        return pd.DataFrame()
    # the release does not say so, but a relation can be right only where both things are
    asked = asked.assign(parents=asked["parents"].where(asked["check"] != _RELATION, _THINGS))
    return constancy(asked, (*_BY, "category"), resampling=resampling)


def _not_scored(table: pd.DataFrame) -> pd.DataFrame:
    marked = table[table["reason"] == NOT_SCORED]
    rows = []
    for key, part in groups(marked, (*_BY, "category", "check")):
        same = (table[list(key)] == pd.Series(key)).all(axis=1)
        last = table[same & (table["layer"] == table.loc[same, "layer"].max())]
        out = last["prompt_id"].isin(part["prompt_id"])
        rows.append(
            {
                **key,
                "prompts": last["prompt_id"].nunique(),
                "not_scored": part["prompt_id"].nunique(),
                "last_layer": float(last["label"].astype(float).mean()),
                "last_layer_without": float(last.loc[~out, "label"].astype(float).mean()),
            }
        )
    return pd.DataFrame(rows)
