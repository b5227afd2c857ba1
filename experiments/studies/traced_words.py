"""Token by layer: which word's state carries what is drawn of a layer.

    python -m experiments.studies.traced_words

Prompts such as "a red fox above a blue car" are drawn from four layers, whole, with the state of a word
dropped, and with that of a word kept alone (`diffusion-lens trace`; what is taken away is the empty
prompt's state in its place). The oracle answers each check. Each prompt has noise of its own, the same in
all its images.
"""

from pathlib import Path

import pandas as pd
import tyro
from matplotlib.figure import Figure

from diffusion_lens.analysis.markdown import markdown, number
from diffusion_lens.analysis.significance import benjamini_hochberg
from diffusion_lens.runs.experiment import Experiment
from experiments.studies.bound import bound_prompts
from experiments.studies.drawn import KINDS, draw, of_kinds, settings_of
from experiments.studies.heat import draw_grids
from experiments.studies.pages import (
    INTERVALS,
    Tables,
    drawn_table,
    enough,
    estimates,
    folders,
    write_study,
)
from experiments.studies.tables import changes, in_order, shares

__all__ = ["experiment", "figures", "page", "tabulate"]

LAYERS = (0, 2, 4, 6)
WHOLE = "nothing"
# of a check about the first object, and of one about the second
OWN, OTHER = ("own colour", "own object"), ("other colour", "other object")
PLACES = {
    "#2": (OWN[0], OTHER[0]),
    "#3": (OWN[1], OTHER[1]),
    "#6": (OTHER[0], OWN[0]),
    "#7": (OTHER[1], OWN[1]),
    "#4": ("relation", "relation"),
    "#1;#5": ("articles", "articles"),
    "special": ("start and end", "start and end"),
    "pads": ("padding", "padding"),
}
KEPT = ("#2", "#3", "#6", "#7")
WORDS = [WHOLE, *OWN, *OTHER, "a colour", "an object", "relation", "articles", "start and end", "padding"]


def experiment(prompts: int, dtype: str, steps: int | None = None) -> Experiment:
    """What is drawn."""
    changed = [[], *([f"drop({one})"] for one in PLACES), *([f"keep({one})"] for one in KEPT)]
    data = {
        "model": "emoji",
        "prompts": [one.prompt for one in bound_prompts(prompts)],
        "layers": list(LAYERS),
        "noise": "own",
        "interventions": changed,
        "machine": {"dtype": dtype},
        "sampler": {} if steps is None else {"steps": steps},
    }
    return Experiment.from_dict(data)


def tabulate(answers: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rates and changes by what is dropped or kept, seen from what is asked.

    Args:
        answers: as `drawn.draw` gives them.
    """
    here = of_kinds(answers)
    parts = here["interventions"].str.extract(r"(?P<mode>\w+)\((?P<token>[^,)]+)").fillna(WHOLE)
    named = [_word(token, check) for token, check in zip(parts["token"], here["check"], strict=True)]
    here = here.assign(mode=parts["mode"], word=named)
    whole = here[here["mode"] == WHOLE]
    modes = {"drop": "dropped", "keep": "kept alone"}
    both = pd.concat(
        [pd.concat([whole, here[here["mode"] == mode]]).assign(mode=said) for mode, said in modes.items()]
    )
    by = ["mode", "kind", "layer"]
    moved = _sorted(changes(both, by, "word", WHOLE))
    return {
        "rates": _sorted(shares(both, [*by, "word"])),
        "changes": moved.assign(p_bh=benjamini_hochberg(moved["p"].to_numpy(dtype=float))),
    }


def _word(token: str, check: str) -> str:
    if token == WHOLE:
        return WHOLE
    if check.startswith("order"):
        return {"#2": "a colour", "#6": "a colour", "#3": "an object", "#7": "an object"}.get(
            token, PLACES[token][0]
        )
    return PLACES[token][int(check[-1])]


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    return in_order(
        table, layer=LAYERS, word=WORDS, kind=list(KINDS.values()), mode=["dropped", "kept alone"]
    )


def page(tables: Tables) -> str:
    """The findings, of the tables alone."""
    rates, moved = tables["rates"], tables["changes"]
    whole = rates[(rates["word"] == WHOLE) & (rates["mode"] == "dropped")]
    lines = [
        "# traced_words: which word carries what",
        "",
        "**Question:** whose state carries an object, its colour and the order of two objects, at which "
        'layer? Prompts such as "a red fox above a blue car"; own and other are seen from the object that '
        "is asked about.",
        "",
        *drawn_table(tables["drawn"]),
        "",
        "The rate of objects is of all images, that of colours and orders of the images in which they can "
        f"be asked, because their objects are there. {INTERVALS} p of changes is adjusted over the whole "
        "grid (Benjamini-Hochberg); a change with an adjusted p below 0.05 is in bold.",
        "",
        "## The whole prompt",
        "",
        *estimates(whole, ["kind"], "layer"),
        "",
        "## A word dropped: change of the rate",
        "",
        "![Changes by word and layer](figures/dropped.png)",
        "",
        *_changes(moved[moved["mode"] == "dropped"]),
        "",
        "## A word kept alone: rates",
        "",
        "A colour that is right with the object's word alone is in that word's state.",
        "",
        *estimates(
            rates[(rates["mode"] == "kept alone") & (rates["word"] != WHOLE)], ["kind", "word"], "layer"
        ),
    ]
    return "\n".join(lines) + "\n"


def _changes(moved: pd.DataFrame) -> list[str]:
    rows = []
    for (kind, word), part in moved.groupby(["kind", "word"], sort=False):
        by_layer = {line["layer"]: line for line in enough(part).to_dict("records")}
        cells = []
        for layer in LAYERS:
            line = by_layer.get(layer)
            text = number(line["change"], line["low"], line["high"], "{:+.2f}") if line else ""
            cells.append(f"**{text}**" if line and line["p_bh"] < 0.05 else text)
        rows += [[kind, word, *cells]] if any(cells) else []
    return markdown(["kind", "dropped", *(f"layer {layer}" for layer in LAYERS)], rows)


def figures(tables: Tables) -> dict[str, Figure]:
    """A heat map of changes for each kind of check."""
    moved = enough(tables["changes"])
    dropped = moved[moved["mode"] == "dropped"]
    return {"dropped": draw_grids(dropped, "kind", "word", "change", (-1, 0), label="change")}


def main(
    out: Path = Path("results/traced_words"),
    runs: Path = Path("runs/traced_words"),
    prompts: int = 30,
    dtype: str = "float32",
    quick: bool = False,
) -> None:
    """Draw the prompts and write the tables, the figure and the page.

    Args:
        out: the folder of results.
        runs: the folder of the run.
        prompts: how many.
        dtype: the type of the weights.
        quick: three prompts and two steps, to try the command; it all goes to runs/.../quick.
    """
    out, runs = folders(out, runs, quick)
    asked = experiment(3, dtype, 2) if quick else experiment(prompts, dtype)
    answers = draw(asked, runs / "emoji")
    drawn = pd.DataFrame([settings_of(runs / "emoji")])
    write_study(out, {"drawn": drawn, **tabulate(answers)}, page, figures)


if __name__ == "__main__":
    tyro.cli(main)
