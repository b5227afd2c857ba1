"""The oracle against one observer: what was seen in shuffled images, written down before it was asked.

    diffusion-lens sweep experiments/studies/oracle_by_eye.toml --out runs/oracle_by_eye
    python -m experiments.studies.oracle_by_eye

The observer looked at contact sheets of all layers' images in random order, without prompt or layer, and
wrote `seen.csv`: what stands where, in the testbed's words, "?" for a thing that can't be recognised. Here
that answers the same checks as the oracle does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tyro

from diffusion_lens.analysis.correction import corrected_curves
from diffusion_lens.analysis.parents import of_all
from diffusion_lens.checks.assign import ask
from diffusion_lens.checks.checks import WHOLE, Check, Judgement, join_parents
from diffusion_lens.runs.experiment import Prompt
from diffusion_lens.runs.images import RunImages
from diffusion_lens.scoring import table as scores
from diffusion_lens.testbed.judge import AXES
from experiments.studies.tables import write_table

__all__ = ["OBSERVER", "answer", "compare", "read_answers", "read_seen"]

OBSERVER = "human:one observer"
UNKNOWN, UNSURE = "?", "unsure"
HERE = Path("results/oracle_by_eye")


@dataclass(frozen=True)
class Thing:
    """What was seen: name, colour ("-": its natural one), and where, in percent from the top left."""

    name: str
    colour: str
    x: float = np.nan
    y: float = np.nan


def read_seen(text: str) -> list[Thing]:
    """The things of one image, such as "2 car green" or "house - 50 25; key yellow 60 75 | snow"."""
    things = []
    for part in text.partition("|")[0].split(";"):
        words = part.split()
        count = int(words.pop(0)) if words[0].isdigit() else 1
        place = [float(word) for word in words[2:]]
        things += [Thing(words[0], words[1], *place)] * count
    return things


def answer(check: Check, things: Sequence[Thing]) -> bool | None:
    """What the observer's notes say of a check; None where they don't say."""
    named = [one for one in things if one.name == check.subject]
    if check.kind == "object":
        return bool(named)
    if not named:
        return None
    if check.kind == "count":
        return len(named) == check.count
    if check.kind == "attribute":
        unsure = all(one.colour == UNSURE for one in named)
        return None if unsure else any(one.colour == check.attribute for one in named)
    others = [one for one in things if one.name == check.target]
    if not others or check.relation is None:
        return None
    first, second = named[0], others[0]
    across, down = first.x - second.x, first.y - second.y
    if abs(across) > abs(down):
        found = "left" if across < 0 else "right"
    else:
        found = "above" if down < 0 else "below"
    axis = AXES[found] == AXES[check.relation]
    if check.kind == "axis":
        return axis
    return found == check.relation if axis else None


def compare(run: Path, seen: pd.DataFrame) -> pd.DataFrame:
    """The scores of the observer beside those of the oracle, as one table."""
    images = RunImages(run)
    asked = ask([Prompt(one.prompt) for one in images.plan.prompts]).prompts
    notes = seen.set_index("cell")["seen"]
    rows = []
    for line in images.series():
        prompt = asked[line.prompt]
        for cell in line.cells:
            if cell.id not in notes:
                continue
            things = read_seen(notes[cell.id])
            judged = []
            for one in prompt.checks:
                label = None if one.id == WHOLE else answer(one, things)
                judged.append(Judgement(one.id, None if label is None else float(label), label))
            rows += scores.rows(
                prompt,
                judged,
                run=line.run,
                scorer=OBSERVER,
                encoder=line.encoder,
                layer=cell.layer,
                last=line.last,
                seed=line.seed,
            )
    mine = scores.validate(pd.DataFrame(rows))
    oracle = scores.read(run)
    return pd.concat([mine, oracle[oracle["scorer"] == "oracle"][mine.columns]], ignore_index=True)


def by_layer(table: pd.DataFrame) -> pd.DataFrame:
    """How often both, one and neither see an object, a colour, a count, by layer."""
    keys = ["prompt_id", "seed", "check", "kind", "layer"]
    own = table.assign(label=table["label_ungated"]).set_index([*keys, "scorer"])["label"].unstack()
    known = own.dropna().astype(bool)
    eye, oracle = known[OBSERVER], known["oracle"]
    counts = pd.DataFrame(
        {
            "both": eye & oracle,
            "only the oracle": oracle & ~eye,
            "only the observer": eye & ~oracle,
            "neither": ~eye & ~oracle,
        }
    )
    each = counts.groupby(["kind", "layer"]).sum().reset_index()
    whole = each.groupby("kind").sum().reset_index().assign(layer="all")
    return pd.concat([each, whole], ignore_index=True)


def read_answers(path: Path) -> pd.DataFrame:
    """The answers that are kept, as the table of scores that `compare` makes."""
    kept = pd.read_csv(path, dtype={"label": "boolean", "label_ungated": "boolean"})
    asked = ask([Prompt(one) for one in kept["prompt_id"].unique()]).prompts
    parents = {(one.prompt, check.id): join_parents(check.parents) for one in asked for check in one.checks}
    keys = zip(kept["prompt_id"], kept["check"], strict=True)
    told = kept.assign(parents=[parents[key] for key in keys], run=HERE.name)
    return scores.validate(told.assign(p_ungated=told["label_ungated"].astype("Float64")))


def main(run: Path = Path("runs/oracle_by_eye")) -> None:
    """Write `answers.csv`, `by_layer.csv` and `corrected.csv` beside `seen.csv`.

    Args:
        run: the images. Where they are not at hand, the answers that are kept are counted anew.
    """
    columns = ["prompt_id", "layer", "seed", "check", "kind", "scorer", "label", "label_ungated"]
    if run.exists():
        table = compare(run, pd.read_csv(HERE / "seen.csv"))
        write_table(HERE / "answers.csv", table.loc[table["check"] != WHOLE, columns])
    asked = read_answers(HERE / "answers.csv")
    write_table(HERE / "by_layer.csv", by_layer(asked))
    corrected = corrected_curves(of_all(asked), "oracle", OBSERVER, ("kind",))
    write_table(HERE / "corrected.csv", corrected)


if __name__ == "__main__":
    tyro.cli(main)
