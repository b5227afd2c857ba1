"""Causal patching over layer and token: where the encoder holds what belongs to what.

    python -m experiments.studies.patched_words

Each pair of prompts differs in one thing: in "colour", the first object's colour ("a red fox above a blue
car" against "a green fox above a blue car"); in "swapped colours", which object has which of two, so that
one token can bring back half of what is asked; in "order", whether the first object is above or below. The
state of one token of the clean prompt is put into the encoder's pass over the corrupted one, the later
blocks run on, and the oracle answers what the clean prompt states and the corrupted one does not
(`diffusion-lens patch`). Each pair has noise of its own, the same in all its images.
"""

from pathlib import Path

import pandas as pd
import tyro
from matplotlib.figure import Figure

from diffusion_lens.analysis.markdown import markdown, number, p_value
from diffusion_lens.analysis.patch_effects import patch_effects
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.digest_parts import digest_part
from diffusion_lens.scoring import patch_prompts
from diffusion_lens.testbed.scenes import colour_held_out
from diffusion_lens.testbed.sprites import COLOURS
from experiments.studies.bound import WORDS, Bound, bound_prompts
from experiments.studies.heat import draw_grids
from experiments.studies.pages import Tables, drawn_table, folders, write_study
from experiments.studies.tables import kept, shares

__all__ = ["FAMILIES", "figures", "page", "pairs_of", "tabulate"]

FAMILIES = ("colour", "swapped colours", "order")
LAYERS = (0, 2, 4, 6)


def pairs_of(family: str, count: int) -> list[tuple[str, str]]:
    """Clean and corrupted prompts that differ in one thing."""
    found = ((one, _corrupted(family, one)) for one in bound_prompts(5 * count))
    shown = [
        (clean.prompt, corrupted.prompt)
        for clean, corrupted in found
        if not any(map(colour_held_out, corrupted.names, corrupted.colours))
    ]
    return shown[:count]


def _corrupted(family: str, one: Bound) -> Bound:
    if family == "swapped colours":
        return one.with_colours_swapped()
    if family == "order":
        return one.turned_round()
    other = next(
        colour
        for colour in COLOURS
        if colour not in one.colours and not colour_held_out(one.names[0], colour)
    )
    return Bound(one.names, (other, one.colours[1]), one.where)


def patch(lens: DiffusionLens, family: str, count: int, folder: Path) -> pd.DataFrame:
    """The table of `patch_prompts` for all pairs of a family; each pair is kept once it is drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = digest_part(lens.pipeline.unet)[:8]
    parts = []
    for number_, pair in enumerate(pairs_of(family, count)):

        def run(pair: tuple[str, str] = pair, seed: int = number_) -> pd.DataFrame:
            return patch_prompts(lens, [pair], LAYERS, seed).table

        path = folder / f"{family.replace(' ', '-')}-{number_}-{weights}.parquet"
        parts.append(kept(path, run).assign(pair=number_))
    return pd.concat(parts, ignore_index=True)


def tabulate(patched: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Effects of each token and layer, and what the unpatched prompts draw.

    Args:
        patched: tables of `patch`, with the column `family`.
    """
    effects, ends = [], []
    for family, part in patched.groupby("family", sort=False):
        found = patch_effects(part, "place")
        effects.append(found.assign(family=family, token=_names(found["place"])))
        plain = part.drop_duplicates("pair")
        for name in ("right_clean", "right_corrupted"):
            rates = plain.assign(family=family, prompt=name.removeprefix("right_"))
            ends.append(shares(rates, ["family", "prompt"], "pair", name))
    columns = ["family", "place", "token", "layer", "effect", "low", "high", "share", "p", "p_bh"]
    whole = pd.concat(effects, ignore_index=True)
    return {
        "effects": whole[[*columns, "units", "images"]],
        "unpatched": pd.concat(ends, ignore_index=True),
    }


def _names(places: pd.Series) -> list[str]:
    known = WORDS | {"#0": "start", "#8": "end"}
    return [known[one] for one in places]


def page(tables: Tables) -> str:
    """The findings, of the tables alone."""
    effects = tables["effects"]
    lines = [
        "# patched_words: which token holds it at which layer",
        "",
        "**Question:** at which layer and token does the encoder hold a colour, and the order of "
        'two objects? Prompts such as "a red fox above a blue car".',
        "",
        *drawn_table(tables["drawn"]),
        "",
        "The effect is the rate of right images under the patch less that of the corrupted prompt: 0 where "
        "the state carries nothing of what differs. Units are pairs of prompts, intervals t intervals over "
        "pairs, and p (sign flips of whole pairs) is adjusted over the whole grid of its family "
        "(Benjamini-Hochberg). An effect that is printed in bold has an adjusted p below 0.05. At layer 0 "
        "only the words that differ have another state, so that nothing else can have an effect there; at "
        "the last layer no block runs after the patch. Where all pairs agree, there is no t interval.",
        "",
        "![Effects by token and layer](figures/effects.png)",
        "",
    ]
    for family, part in effects.groupby("family", sort=False):
        ends = tables["unpatched"].query("family == @family").set_index("prompt")
        clean, corrupted = (
            number(*ends.loc[name, ["rate", "low", "high"]]) for name in ("clean", "corrupted")
        )
        best = part.sort_values("effect", ascending=False).groupby("layer", sort=True).head(1)
        lines += [
            f"## {str(family).capitalize()}",
            "",
            f"What is asked is right in {clean} of the clean prompts' images and in {corrupted} of the "
            "corrupted ones'. The token with the largest effect at each layer: "
            + "; ".join(
                f"layer {line['layer']}: {line['token']}, "
                f"{number(line['effect'], line['low'], line['high'], '{:+.2f}')} "
                f"(p {p_value(line['p_bh'])})"
                for line in best.sort_values("layer").to_dict("records")
            )
            + ".",
            "",
            *_grid(part),
            "",
        ]
    return "\n".join(lines)


def _grid(part: pd.DataFrame) -> list[str]:
    layers = sorted(part["layer"].unique())
    rows = []
    for token, line in part.groupby("token", sort=False):
        by_layer = line.set_index("layer")
        rows.append([token, *(_cell(by_layer.loc[layer]) for layer in layers)])
    return markdown(["token", *(f"layer {layer}" for layer in layers)], rows)


def _cell(line: pd.Series) -> str:
    if line["images"] == 0:
        return "the same state"
    text = number(line["effect"], line["low"], line["high"], "{:+.2f}")
    return f"**{text}**" if line["p_bh"] < 0.05 else text


def figures(tables: Tables) -> dict[str, Figure]:
    """A heat map of effects for each family."""
    drawn = draw_grids(tables["effects"], "family", "token", "effect", (0, 1), label="effect")
    return {"effects": drawn}


def main(
    out: Path = Path("results/patched_words"),
    runs: Path = Path("runs/patched_words"),
    pairs: int = 12,
    dtype: str = "float32",
    quick: bool = False,
) -> None:
    """Patch all pairs and write the tables, the figure and the page.

    Args:
        out: the folder of results.
        runs: a folder for a table of each pair.
        pairs: pairs of each family.
        dtype: the type of the weights.
        quick: three pairs and two steps, to try the command; it all goes to runs/.../quick.
    """
    out, runs = folders(out, runs, quick)
    from diffusion_lens.images.sampler import Sampler

    lens = DiffusionLens.from_pretrained("emoji", dtype=dtype, batch_size=64)
    if quick:
        lens.defaults, pairs = Sampler(steps=2, guidance=1.0), 3
    found = pd.concat(
        [patch(lens, family, pairs, runs).assign(family=family) for family in FAMILIES], ignore_index=True
    )
    drawn = {
        "model": "emoji",
        "families": len(FAMILIES),
        "pairs": pairs,
        "seeds": 1,
        "images": int(found["drawn"].sum()) + 2 * pairs * len(FAMILIES),
        "steps": lens.defaults.steps,
        "guidance": lens.defaults.guidance,
        "dtype": dtype,
    }
    write_study(out, {"drawn": pd.DataFrame([drawn]), **tabulate(found)}, page, figures)


if __name__ == "__main__":
    tyro.cli(main)
