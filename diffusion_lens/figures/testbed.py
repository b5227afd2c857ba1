"""The evaluation of the embedded models: what is drawn right at which layer."""

import pandas as pd
from matplotlib.figure import Figure

from diffusion_lens.figures.curves import draw_curves

__all__ = ["LINES", "draw_evaluation"]

# rows of the table of rates as lines of the figure: (group, check) -> name
LINES = {
    ("seen", "place"): "place",
    ("seen", "object"): "object",
    ("seen", "colour"): "colour",
    ("seen", "count"): "count",
    ("seen", "relation"): "relation",
    ("common names", "name"): "common names",
    ("rare names", "name"): "rare names",
    ("synonyms of objects", "object"): "unknown nouns",
}


def draw_evaluation(rates: pd.DataFrame) -> Figure:
    """Draw the share of right answers by depth, one panel by encoder.

    Colour and count are of objects that are there, the relation of pairs that are; "unknown nouns" are
    objects asked for by a word that no training caption holds.

    Args:
        rates: of `testbed.evaluate.rates`, by encoder, group, layer and check, at several layers.
    """
    last = rates.groupby("encoder")["layer"].transform("max")
    names = [LINES.get(key, "") for key in zip(rates["group"], rates["check"], strict=True)]
    table = rates.assign(what=names, depth=rates["layer"] / last)
    table = table[table["what"] != ""]
    table = table.sort_values("what", key=lambda names: names.map(list(LINES.values()).index))
    return draw_curves(
        table, line="what", panel="encoder", x="depth", band=None, label="right, as the oracle sees it"
    )
