"""Scores and the run whose images they are of, cell by cell: whatever the run was called meanwhile.

A table of scores calls a run as it was called when it was scored. The folder may have another name now, and
readings that were added since tell the others apart by more: what is joined by the name would fall apart.
"""

import pandas as pd

from diffusion_lens.checks.assign import ask
from diffusion_lens.errors import RunError, ScoresError
from diffusion_lens.runs.images import RunImages, name_of, names_of_readings
from diffusion_lens.runs.manifest import load_plan
from diffusion_lens.runs.store import Store

__all__ = ["with_cells", "with_names_of_now"]

_WHERE = ["run", "prompt_id", "encoder", "layer", "seed"]


def with_names_of_now(table: pd.DataFrame, store: Store) -> pd.DataFrame:
    """Scores of a run, in which it is called what its folder and its readings are called now.

    Args:
        table: a table of scores; rows that share a run with none of the cells of the plan, and tables
            without the column `cell`, stay as they are.
        store: where the run is.
    """
    if "cell" not in table or not store.exists():
        return table
    try:
        plan = load_plan(store.read_json("manifest.json"))
    except RunError:  # what is damaged is said by those who read the run
        return table
    names = names_of_readings(plan, name_of(store))
    now = table["cell"].map({cell.id: names[cell.reading] for cell in plan.cells})
    pairs = pd.DataFrame({"before": table["run"], "now": now}).dropna().drop_duplicates()
    # a blank image has no cell, and goes with the others of its run
    clear = pairs[~pairs["before"].duplicated(keep=False)].set_index("before")["now"]
    return table.assign(run=table["run"].map(clear).fillna(table["run"]).astype("str"))


def with_cells(table: pd.DataFrame, images: RunImages) -> pd.DataFrame:
    """Answers of people on a run's images, with the cell of each, and the run called what it is called now.

    Args:
        table: validated scores; those of a sheet have the column `cell`. Without it the image is found by
            the names that the table holds.
        images: the run.

    Raises:
        ScoresError: an image is not of the run.
    """
    prompts = ask(images.plan.prompts).prompts
    known = pd.DataFrame(
        [
            (one.run, prompts[one.prompt].prompt_id, one.encoder, cell.layer, one.seed, cell.id)
            for one in images.series()
            for cell in one.cells
        ],
        columns=[*_WHERE, "cell"],
    )
    told = table["cell"] if "cell" in table else pd.Series(None, table.index, object)
    found = table[_WHERE].merge(known, on=_WHERE, how="left")["cell"].set_axis(table.index)
    cell = told.where(told.notna() & (told != ""), found)
    strange = table[~cell.isin(known["cell"])]
    if len(strange):
        first = strange.iloc[0]
        raise ScoresError(
            f"{len(strange)} of {len(table)} answers are on images that {images.store.url} does not hold, "
            f"such as that of {first['prompt_id']!r}, layer {first['layer']}, seed {first['seed']} of the "
            f"run {first['run']!r}. Name the run that the page was written from."
        )
    return table.assign(cell=cell, run=cell.map(known.set_index("cell")["run"]).astype("str"))
