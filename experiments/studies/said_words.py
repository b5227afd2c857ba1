"""Draw and say: the layer at which a word is drawn against that at which the same states say it.

    python -m experiments.studies.said_words

Objects, colours, words that the denoiser never saw (synonyms, which say and draw what they stand for) and
invented names, in two models. A layer says a word if it is among the five that the vocabulary head of the
encoder gives the state of any token ("head": SmolLM2 alone has one; it names the next token), or among the
five nearest of a list of everyday words ("nearest"); a colour has to be said by another state than that of
its own word. The control is the word of the next prompt of the group. Each prompt has noise of its own, the
same at all its layers.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tyro
from matplotlib.figure import Figure

from diffusion_lens.analysis.markdown import markdown, number, p_value
from diffusion_lens.analysis.significance import holm, sign_flip_test
from diffusion_lens.analysis.statistics import mean_interval
from diffusion_lens.lens import DiffusionLens, say_layers
from diffusion_lens.runs.experiment import Experiment
from diffusion_lens.testbed.captions import with_article
from diffusion_lens.testbed.scenes import ENTITIES, ENTITY_NAMES, OBJECTS, colour_held_out
from diffusion_lens.testbed.sprites import COLOURS
from diffusion_lens.testbed.synonyms import SYNONYMS
from diffusion_lens.text import SaidBy
from experiments.studies.drawn import ALL, draw, settings_of
from experiments.studies.pages import Tables, drawn_table, estimates, folders, write_study
from experiments.studies.points import draw_points
from experiments.studies.tables import in_order, kept, shares

__all__ = ["MODELS", "Asked", "asked_words", "figures", "page", "tabulate"]

# of each model: the layers, and how its states are said
MODELS: dict[str, tuple[list[str], tuple[SaidBy, ...]]] = {
    "emoji": (["all"], ("nearest",)),
    "emoji-llm": (["0:15:3"], ("head", "nearest")),
}
GROUPS = ("object", "colour", "synonym", "name")
DRAWN, OTHER = "drawn", "another's word"
WAYS = (DRAWN, "head", "nearest", f"head, {OTHER}", f"nearest, {OTHER}")


@dataclass(frozen=True)
class Asked:
    """A prompt, the word that is to be said and drawn, the check that asks for it, and its group."""

    prompt: str
    word: str
    check: str
    group: str


def asked_words(count: int) -> list[Asked]:
    """So many prompts of each group, at most."""
    rng = np.random.default_rng(6)
    objects = [Asked(f"a photo of {with_article(name)}", name, "object-0", "object") for name in OBJECTS]
    colours = []
    for name in OBJECTS:
        colour = str(rng.choice([one for one in COLOURS if not colour_held_out(name, one)]))
        colours.append(Asked(with_article(f"{colour} {name}"), colour, "attribute-0", "colour"))
    synonyms = {
        one.target: Asked(f"a photo of {with_article(one.phrase)}", one.target, "object-0", "synonym")
        for one in SYNONYMS
        if one.kind == "object"
    }
    names = [Asked(f"a photo of {one}", ENTITIES[one][0], "object-0", "name") for one in ENTITY_NAMES]
    return [one for group in (objects, colours, list(synonyms.values()), names) for one in group[:count]]


def say(lens: DiffusionLens, asked: list[Asked], layers: list[str], by: SaidBy) -> pd.DataFrame:
    """Whether each layer says each prompt's word, and that of the next prompt of its group."""
    table = say_layers(lens, [one.prompt for one in asked], layers, by=by)
    own = {one.prompt: one.word if one.group == "colour" else "" for one in asked}
    table = table[table["token"].str.strip().str.lower() != table["prompt"].map(own)]
    said = table.groupby(["prompt", "layer"])["said"].agg(", ".join).str.lower().str.split(", ")
    rows: list[tuple[str, str, int, str, float]] = []
    for group in dict.fromkeys(one.group for one in asked):
        here = [one for one in asked if one.group == group]
        for one, after in zip(here, [*here[1:], here[0]], strict=True):
            for layer, words in said[one.prompt].items():
                rows.append((one.prompt, group, layer, by, float(one.word in words)))
                if after.word != one.word:
                    rows.append((one.prompt, group, layer, f"{by}, {OTHER}", float(after.word in words)))
    return pd.DataFrame(rows, columns=["prompt_id", "group", "layer", "way", "right"])


def look(model: str, asked: list[Asked], runs: Path, dtype: str, steps: int | None) -> pd.DataFrame:
    """What a model draws and says of each prompt at each layer."""
    layers, ways = MODELS[model]
    data = {
        "model": model,
        "prompts": [one.prompt for one in asked],
        "layers": layers,
        "noise": "own",
        "machine": {"dtype": dtype},
        "sampler": {} if steps is None else {"steps": steps},
    }
    answers = draw(Experiment.from_dict(data), runs / model)
    wanted = pd.DataFrame(
        [(one.prompt, one.check, one.group) for one in asked], columns=["prompt_id", "check", "group"]
    )
    drawn = answers[answers["of"] == ALL].merge(wanted, on=["prompt_id", "check"])
    parts = [drawn.assign(way=DRAWN)]
    lens = DiffusionLens.from_pretrained(model)
    for by in ways:
        parts.append(
            kept(
                runs / f"{model}-{by}-{len(asked)}.parquet",
                lambda by=by: say(lens, asked, layers, by),  # type: ignore[misc]
            )
        )
    columns = ["prompt_id", "group", "layer", "way", "right"]
    return pd.concat(parts, ignore_index=True)[columns].assign(model=model)


def tabulate(found: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rates by layer, and the first layers at which words are said and drawn.

    Args:
        found: of `look`, of all models.
    """
    rates = shares(found, ["model", "group", "way", "layer"])
    layers = sorted(set(rates["layer"]))
    rows = []
    for (model, group), part in found.groupby(["model", "group"], sort=False):
        last = int(part["layer"].max())
        hit = part[part["right"] == 1].groupby(["prompt_id", "way"])["layer"].min().unstack("way")
        hit = hit.reindex(index=part["prompt_id"].unique(), columns=WAYS)
        for way in ("head", "nearest"):
            if way not in set(part["way"]):
                continue
            both = hit[[DRAWN, way]].dropna()
            # in shares of the encoder's depth; only words that are both said and drawn have a lead
            lead = ((both[DRAWN] - both[way]) / last).to_numpy(dtype=float)
            mean, low, high = mean_interval(lead) if len(lead) > 2 else (np.nan,) * 3
            rows.append(
                {
                    "model": model,
                    "group": group,
                    "way": way,
                    "words": len(hit),
                    "said_first": int((both[way] < both[DRAWN]).sum()),
                    "same_layer": int((both[way] == both[DRAWN]).sum()),
                    "drawn_first": int((both[way] > both[DRAWN]).sum()),
                    "only_said": int((hit[way].notna() & hit[DRAWN].isna()).sum()),
                    "only_drawn": int((hit[way].isna() & hit[DRAWN].notna()).sum()),
                    "neither": int((hit[way].isna() & hit[DRAWN].isna()).sum()),
                    "lead": mean,
                    "low": low,
                    "high": high,
                    "p": sign_flip_test(lead),
                }
            )
    first = pd.DataFrame(rows)
    return {
        "rates": in_order(rates, layer=layers, way=WAYS, group=GROUPS, model=list(MODELS)),
        "first": first.assign(p_holm=holm(first["p"].to_numpy(dtype=float))),
    }


def page(tables: Tables) -> str:
    """The findings, of the tables alone."""
    lines = [
        "# said_words: drawn against said",
        "",
        "**Question:** does a layer say a word before it draws it? Synonyms say and draw what they stand "
        "for (a puppy: dog); an invented name the object that it stands for.",
        "",
        *drawn_table(tables["drawn"]),
        "",
        "said by head: among the five most likely words of the encoder's own vocabulary head at any token "
        "of the prompt; nearest: among the five nearest of a list of everyday words. A colour has to be "
        "said by another state than that of its own word. Another's word is the control: how often the "
        "word of another prompt is said. Intervals are of 95 % and over prompts.",
        "",
        "## First layers",
        "",
        "Counts of words. The lead is the first layer at which a word is drawn less the first at which it "
        "is said, as a share of the encoder's depth, over words that are both at some layer: above zero, "
        "it is said earlier. p by sign flips of words, adjusted over this table (Holm).",
        "",
        *_first(tables["first"]),
        "",
        "![Rates by layer](figures/rates.png)",
        "",
        "## Rates by layer",
    ]
    for model, part in tables["rates"].groupby("model", sort=False):
        lines += ["", f"### {model}", "", *estimates(part, ["group", "way"], "layer")]
    return "\n".join(lines) + "\n"


def _first(first: pd.DataFrame) -> list[str]:
    counts = ["said_first", "same_layer", "drawn_first", "only_said", "only_drawn", "neither"]
    rows = [
        [
            *(line["model"], line["group"], line["way"], line["words"]),
            *(line[name] for name in counts),
            number(line["lead"], line["low"], line["high"], "{:+.2f}"),
            p_value(line["p_holm"]),
        ]
        for line in first.to_dict("records")
    ]
    heads = [
        "model",
        "group",
        "said by",
        "words",
        *(name.replace("_", " ") for name in counts),
        "lead",
        "p",
    ]
    return markdown(heads, rows)


def figures(tables: Tables) -> dict[str, Figure]:
    """Rates by layer, a panel by model and group, a line a way."""
    rates = tables["rates"]
    shown = rates[rates["way"].isin(WAYS[:3])]
    shown = shown.assign(panel=shown["model"] + ": " + shown["group"])
    return {"rates": draw_points(shown, "panel", "layer", "way", label="words", apart_axes=True)}


def main(
    out: Path = Path("results/said_words"),
    runs: Path = Path("runs/said_words"),
    count: int = 12,
    dtype: str = "float32",
    quick: bool = False,
) -> None:
    """Draw and say the words, and write the tables, the figure and the page.

    Args:
        out: the folder of results.
        runs: a folder for a run of each model, and for what it says.
        count: words of each group.
        dtype: the type of the weights.
        quick: three words of each group and two steps, to try the command; it all goes to runs/.../quick.
    """
    out, runs = folders(out, runs, quick)
    asked = asked_words(3 if quick else count)
    parts = [look(model, asked, runs, dtype, 2 if quick else None) for model in MODELS]
    drawn = pd.DataFrame([settings_of(runs / model) for model in MODELS])
    write_study(out, {"drawn": drawn, **tabulate(pd.concat(parts, ignore_index=True))}, page, figures)


if __name__ == "__main__":
    tyro.cli(main)
