"""What the denoiser uses of what the text encoder computes, for each embedded model and a control.

    python -m experiments.studies.denoiser_uses
    python -m experiments.studies.denoiser_uses --control FOLDER/control

Draws `experiments/denoiser_uses.toml` with each model: the whole conditioning, and what is left of it
without context, without order, the padding alone, one word alone, the mean of all layers. The control is
a denoiser on an untrained text encoder (`diffusion-lens testbed train --recipe control --folder FOLDER`),
whose states know their word and its place and nothing of the other words.

Two papers claim opposite things of other models. `verdicts` says by a rule, for each model and kind of
check, which of them the rates bear out; nothing on the page is judged by hand.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import tyro
from matplotlib.figure import Figure

from diffusion_lens.analysis.markdown import markdown, number, p_value
from diffusion_lens.analysis.significance import benjamini_hochberg, holm
from diffusion_lens.runs.experiment import Experiment
from diffusion_lens.runs.experiment_files import load_experiments
from experiments.studies.drawn import draw, of_kinds, settings_of
from experiments.studies.pages import (
    INTERVALS,
    Tables,
    drawn_table,
    enough,
    estimates,
    folders,
    write_study,
)
from experiments.studies.points import draw_points
from experiments.studies.tables import changes, in_order, shares

__all__ = ["CONTROL", "EXPERIMENT", "MODELS", "WAYS", "figures", "page", "tabulate", "verdicts"]

EXPERIMENT = Path("experiments/denoiser_uses.toml")
MODELS = ("emoji", "emoji-clip", "emoji-llm")
CONTROL = "control"
FULL, ALONE, PLACED = "all of it", "words alone", "words and places alone"
# what is left of the conditioning, as the experiment writes it
WAYS = {
    "": FULL,
    "contextless()": "words without context",
    "contextless() + pads(prompt only)": ALONE,
    "contextless(order=true) + pads(prompt only)": PLACED,
    "shuffle()": "words' states exchanged",
    "average()": "mean of all layers",
    "keep(last)": "last word alone",
    "pads(pads only)": "padding alone",
}
KINDS = {"object": "object", "global": "place", "attribute": "colour", "order": "order"}
LARGE = 0.10  # a change inside of it is called none
NEEDED, SPARED, TOLD_NOT = "needed", "not needed", "not told"


def tabulate(answers: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rates, changes from the whole conditioning, and what follows for the words' context.

    Args:
        answers: as `drawn.draw` gives them, with the column `model`.
    """
    here = of_kinds(answers, KINDS)
    here = here.assign(left=here["interventions"].map(WAYS))
    by = ["model", "kind"]
    moved = _sorted(changes(here, by, "left", FULL))
    return {
        "rates": _sorted(shares(here, [*by, "left"])),
        "changes": moved.assign(p_bh=benjamini_hochberg(moved["p"].to_numpy(dtype=float))),
        "context": verdicts(moved[moved["left"].isin([ALONE, PLACED])]),
    }


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    named = [name for name in (*MODELS, CONTROL) if name in set(table["model"])]
    return in_order(table, kind=list(KINDS.values()), left=list(WAYS.values()), model=named)


def verdicts(moved: pd.DataFrame) -> pd.DataFrame:
    """Whether the denoiser needs the words' context, by model, kind of check and what is left.

    It is needed where the rate falls without it (p < 0.05 after Holm's correction over the table) and not
    needed where the whole interval of the change lies within a tenth of the images on either side; else it
    is not told. Where no prompt changed there is no spread, and changes up to 3 / prompts are not excluded.

    Args:
        moved: the changes of the rates without context, as `tables.changes` gives them.
    """
    p = holm(moved["p"].to_numpy(dtype=float))
    still = (moved["change"] == 0) & moved["low"].isna()
    none = (moved["low"] > -LARGE) & (moved["high"] < LARGE) | still & (3 / moved["units"] < LARGE)
    falls = (moved["change"] < 0) & (p < 0.05) & ~none
    context = np.select([falls, none], [NEEDED, SPARED], TOLD_NOT)
    return moved.assign(p_holm=p, context=context).reset_index(drop=True)


def page(tables: Tables) -> str:
    """The findings, of the tables alone."""
    rates, context = enough(tables["rates"]), enough(tables["context"])
    lines = [
        "# denoiser_uses: what the denoiser uses of the text encoder's work",
        "",
        "**Claim to test:** the denoiser uses the words in their context: without context, order or all "
        "but one word it draws less of the scene.",
        "",
        *drawn_table(tables["drawn"]),
        "",
        "The states of the native layer are changed before they are drawn. Without context, each word has "
        "its mean state over sentences that say nothing of the other words. Start, end and padding then "
        f'still know the prompt; of "{ALONE}" they are those of the empty prompt. Of "{PLACED}" each word '
        "stands as far from the beginning of its sentences as in the prompt, so that it knows where it "
        "stood. The rate of objects and places is of all images, that of colours and orders of the images "
        "in which they can be asked. " + INTERVALS,
        "",
        "![Rates by what is left of the conditioning](figures/rates.png)",
        "",
        "## Two papers",
        "",
        *_papers(context, rates),
        "",
        *_context(context),
        "",
        f"Needed: the rate falls, p < 0.05 after Holm's correction over this table. Not needed: the whole "
        f"interval of the change is within {LARGE:.2f} of zero, or no prompt changed and there are more "
        f"than {3 / LARGE:.0f} of them. Not told: neither.",
        "",
        "## Rates by what is left",
        "",
        *estimates(rates, ["model", "left"], "kind"),
        "",
        "## Changes from the whole conditioning",
        "",
        "On the same prompts and noise; p (adjusted over this table, Benjamini-Hochberg) is in "
        "`tables/changes.csv`.",
        "",
        *estimates(tables["changes"], ["model", "left"], "kind", "change", "{:+.2f}"),
    ]
    return "\n".join(lines) + "\n"


def _papers(context: pd.DataFrame, rates: pd.DataFrame) -> list[str]:
    """What the verdicts say to either claim, a paragraph each, and what the control does."""
    told = context[(context["left"] == PLACED) & (context["model"] != CONTROL)]
    first = {NEEDED: "contradicted", SPARED: "borne out", TOLD_NOT: "left open"}
    second = {NEEDED: "borne out", SPARED: "contradicted", TOLD_NOT: "left open"}
    bound = told[told["kind"].isin(["colour", "order"])]
    lines = [
        '"Text-to-Image Models Need Less from Text Encoders Than You Think" (2606.03715) says that word '
        "meanings without context, and the words' order, guide a denoiser as well as the whole "
        f"conditioning. Here that is {_told(told, first)}.",
        "",
        '"CLIP is all you need for human-like semantics in Stable Diffusion" (2511.08075) says that what '
        "an image means is computed in the text encoder, not in the denoiser. Here, of what belongs to "
        f"what, that is {_told(bound, second)}.",
    ]
    control = rates[(rates["model"] == CONTROL) & (rates["left"] == FULL) & (rates["kind"] == "order")]
    for line in control.to_dict("records"):
        able = "composes" if line["low"] > 0.5 else "does not compose" if line["high"] < 0.6 else None
        rate = number(line["rate"], line["low"], line["high"])
        said = (
            f"its denoiser {able} it by itself" if able else "whether its denoiser composes it is not told"
        )
        lines += [
            "",
            f"The control's encoder computes no context. Of the objects that it draws, the order is right "
            f"in {rate} (chance: 0.50): {said}.",
        ]
    return lines


def _told(context: pd.DataFrame, words: Mapping[str, str]) -> str:
    """The verdicts in words, each with the kinds of checks and the models that it is of."""
    parts = []
    for verdict, word in words.items():
        of = context[context["context"] == verdict].groupby("kind", sort=False)["model"]
        listed = "; ".join(f"{kind} ({', '.join(models)})" for kind, models in of)
        parts += [f"{word} for {listed}"] if listed else []
    return ", and ".join(parts) or "left open: too few prompts were drawn"


def _context(context: pd.DataFrame) -> list[str]:
    rows = [
        [
            *(line["model"], line["kind"], line["left"]),
            number(line["change"], line["low"], line["high"], "{:+.2f}"),
            *(p_value(line["p_holm"]), line["units"], line["context"]),
        ]
        for line in context.to_dict("records")
    ]
    return markdown(["model", "kind", "left", "change", "p (Holm)", "prompts", "context"], rows)


def figures(tables: Tables) -> dict[str, Figure]:
    """The rates of each kind by what is left, a mark a model."""
    drawn = draw_points(
        enough(tables["rates"]), "kind", "left", "model", label="right images", joined=False
    )
    return {"rates": drawn}


def experiment(model: str, dtype: str, quick: bool) -> Experiment:
    """What is drawn with a model."""
    data, base = load_experiments([EXPERIMENT])
    assert base == EXPERIMENT.parent
    data |= {"model": model, "machine": {"dtype": dtype}}
    if quick:
        data["prompts"] = {"captions": {**data["prompts"]["captions"], "count": 3}}
        data["sampler"] = {**data["sampler"], "steps": 2}
    return Experiment.from_dict(data)


def main(
    out: Path = Path("results/denoiser_uses"),
    runs: Path = Path("runs/denoiser_uses"),
    control: Path | None = None,
    models: Annotated[Sequence[str], tyro.conf.arg(metavar="MODEL [MODEL ...]")] = MODELS,
    dtype: str = "float32",
    quick: bool = False,
) -> None:
    """Draw the experiment with each model and write its tables, figure and page.

    Args:
        out: the folder of results.
        runs: the folder of the runs, one a model.
        control: a folder of `testbed train --recipe control`, or `--encoder random`; left out, there is
            no control.
        models: the embedded models.
        dtype: the type of the weights.
        quick: three prompts and two steps, to try the command; it all goes to runs/.../quick.
    """
    out, runs = folders(out, runs, quick)
    asked = {name: experiment(name, dtype, quick) for name in models}
    if control is not None:
        asked[CONTROL] = experiment(str(control), dtype, quick)
    answers = [draw(one, runs / name).assign(model=name) for name, one in asked.items()]
    drawn = [{**settings_of(runs / name), "model": name} for name in asked]
    tables = {"drawn": pd.DataFrame(drawn), **tabulate(pd.concat(answers, ignore_index=True))}
    write_study(out, tables, page, figures)


if __name__ == "__main__":
    tyro.cli(main)
