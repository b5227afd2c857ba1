"""The end of the findings page: who judged, which answers are missing, what is not shown."""

from collections.abc import Mapping

import pandas as pd

from diffusion_lens.analysis.curves import LEAST_PROMPTS, on_enough_prompts
from diffusion_lens.analysis.markdown import estimate, markdown, number, prompt_count
from diffusion_lens.scoring.baselines import is_baseline

__all__ = ["judges", "missing", "too_few"]

Tables = Mapping[str, pd.DataFrame]


def judges(tables: Tables) -> list[str]:
    """Agreement over all layers, and of more than two scorers at once."""
    found, lines = tables.get("agreement"), []
    if found is not None:
        numbers = ("agree", "kappa", "alpha", "sensitivity", "specificity")
        rows = [
            [
                line["first"],
                line["second"],
                *(estimate(line, name) for name in numbers),
                line["answers"],
                prompt_count(line["prompts"]),
            ]
            for line in found[found["layer"] == "all"].to_dict("records")
        ]
        lines += markdown(["first", "second", *numbers, "answers", "prompts"], rows)
    raters = tables.get("raters")
    if raters is not None:
        for line in raters.to_dict("records"):
            fleiss = (
                f", Fleiss' kappa {number(line['fleiss'])} on {line['fleiss_units']} answers of all"
                * (line["fleiss_units"] > 0)
            )
            lines += ["", f"All of {line['raters']}: Krippendorff's alpha {number(line['alpha'])}{fleiss}."]
    return lines


def missing(tables: Tables) -> list[str]:
    """Missing answers by reason."""
    lacking = tables.get("missing")
    if lacking is None:
        return []
    real = lacking[~is_baseline(lacking["scorer"])]
    counts = real.groupby(["run", "scorer", "reason"])["missing"].sum().reset_index()
    columns = ["run", "scorer", "missing", "reason"]
    return markdown(["run", "scorer", "answers", "reason"], counts[columns].to_numpy().tolist())


def too_few(tables: Tables) -> list[str]:
    """What the page does not show because it rests on too few prompts, a sentence by table."""
    notes = []
    for name in ("planned", "trends", "summary", "conditional_curves", "constancy", "order", "binding"):
        table = tables.get(name)
        if table is None:
            continue
        real = table[~is_baseline(table["scorer"])]
        few = int((~on_enough_prompts(real)).sum())
        if few:
            notes.append(
                f"{name}: {few} of {len(real)} rows rest on fewer than {LEAST_PROMPTS} prompts; they are "
                f"in `tables/{name}.csv`"
            )
    return notes
