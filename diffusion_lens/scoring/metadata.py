"""The columns that prompts bring along, beside the scores of their images."""

from collections.abc import Iterable, Sequence

import pandas as pd

from diffusion_lens.checks.checks import CheckedPrompt
from diffusion_lens.runs.experiment import Prompt
from diffusion_lens.scoring.table import COLUMNS

__all__ = ["column_name", "with_metadata"]

# read from the metadata already: they are columns of scores of the same name
_READ = frozenset({"prompt", "prompt_id", "category"})
# names that scores and the tables made of them give a meaning of their own
_TAKEN = frozenset(
    {
        *COLUMNS,
        *("baseline", "asked_of", "chance", "cell", "version", "question", "check_digest"),
        *("rate", "low", "high", "band_low", "band_high", "prompts", "cells", "missing", "note"),
        *("condition", "method", "number", "first", "second", "difference", "column", "end", "definition"),
        *(
            "area",
            "final",
            "ratio",
            "half_depth",
            "half_layer",
            "never",
            "flicker",
            "trajectories",
            "layers",
        ),
        *("first_group", "second_group", "compared", "contrast", "paired", "others", "detectable"),
        *("emerged", "after", "by", "outcome", "lead", "pairs", "tie", "images", "prompts_are"),
        *("atoms", "all", "product", "within", "gap", "sd", "seeds", "labelled", "sensitivity"),
        *("specificity", "correlation", "p_holm", "p_bh", "panel", "row", "pair"),
        *("first_earlier", "second_earlier", "only_first", "only_second", "neither", "unknown"),
        *("not_asked", "first_right", "flickers", "right_before", "failed_but_right_before"),
        *("failed_prompts", "half_is_bound", "emerged_of_ever", "within_gap"),
    }
)


def column_name(name: str) -> str:
    """What a column of prompts is called beside scores: its own name, or `prompt_NAME` if that is taken."""
    return f"prompt_{name}" if name in _TAKEN and name not in _READ else name


def with_metadata(
    table: pd.DataFrame, prompts: Sequence[Prompt], asked: Iterable[CheckedPrompt]
) -> pd.DataFrame:
    """Scores with a column for all that is known of their prompts.

    Args:
        table: scores with the column prompt_id.
        prompts: the prompts of the run.
        asked: the same prompts with their ids, in the same order.

    Returns:
        The table with the new columns behind its own; those that it has already are left as they are. A
        prompt without a value has none. A column of values of several types is of text, as in the run.
    """
    rows = {
        one.prompt_id: {column_name(name): value for name, value in prompt.metadata.items()}
        for prompt, one in zip(prompts, asked, strict=True)
    }
    facts = pd.DataFrame.from_dict(rows, orient="index")
    for name in facts.columns:
        types = {type(one[name]) for one in rows.values() if name in one}
        if len(types) > 1:
            facts[name] = pd.Series({key: str(one[name]) for key, one in rows.items() if name in one})
    new = [name for name in facts.columns if name not in table]
    return table.assign(**{name: table["prompt_id"].map(facts[name]) for name in new})
