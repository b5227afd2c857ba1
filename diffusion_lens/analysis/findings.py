"""`findings`: what the tables of an analysis say, as a page of numbers with their intervals and meaning.

The page is made of the tables alone, so that it can't say more than they do, and is made again by the same
command when the data change.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import pandas as pd

from diffusion_lens.analysis import findings_tables as parts
from diffusion_lens.analysis.curves import FEW_PROMPTS, LEAST_PROMPTS
from diffusion_lens.analysis.findings_labels import labels
from diffusion_lens.analysis.findings_left_out import judges, missing, too_few
from diffusion_lens.analysis.markdown import markdown, no_html

__all__ = ["Shown", "Source", "findings"]

# what each part of the page means, in plain sentences
_RATES = (
    "The rate is the share of images that are right, counted over all images: a check is wrong where "
    "one that it depends on is wrong (a colour where there is no object). The area is the mean rate "
    "over depth, from the embedding to the last layer: the later something is right, the smaller it is. "
    "The layer of half is where a rising fit of the curve reaches half of its last rate; \u2264 says "
    "that it is there at the first layer already, so that the number is an upper bound. Shuffled is the "
    "rate at the last layer when the checks of another prompt are asked: what is right by chance."
)
_CONDITIONAL = (
    "These rates are of the images in which the check can be asked, because what it depends on is "
    "there. They are on another scale than the rates above, and are never compared with them. At each "
    "layer they are of other prompts; the fixed set holds the prompts that can be asked from one layer "
    "on at every later one. Chance is how often blind guessing is right, where that is known: a relation's "
    "axis (beside, or above one another) and its order are each right in half of the guesses."
)
_ASKED_FIGURES = ("conditional", "one_layer-where_asked")
_CONSTANCY = (
    "Does a check that depends on others change from layer to layer, once it can be asked? If what is "
    "right at the last layer was right at the earlier ones, and what is wrong was wrong, then it never "
    "changed, and nothing shows that it is composed late. It takes shape late only where the first of "
    "these rates is well below 1."
)
_ORDER = (
    "Of each pair on the same image series: the share in which both emerge and the one, or the other, "
    "is there at an earlier layer. The lead is the first less the second; what never emerges is neither "
    "early nor late. Two definitions stand side by side, since they can disagree: a check has emerged "
    "where it is right for the first time, or from where on it stays right. A check that can only be "
    "asked where others are right would come after them by construction; so only series count in which "
    "both can be asked at every layer (left out: not asked)."
)
_PLANNED = (
    "Decided on before anything was drawn. Like is compared with like: the same kind of check and the "
    "same question, and, where both sides are of the same prompts, the same prompts at each layer. p "
    "inverts the interval: before it is adjusted for all planned comparisons (Holm), it is below 0.05 "
    "exactly where the interval of 95 % leaves zero out. Detectable is the smallest true difference that "
    "so many prompts would have shown with a chance of 80 %: a difference that is not found may still be "
    "of that size."
)
_TRENDS = (
    "The rank correlation (Spearman's) of a number of the prompts with the area under each prompt's "
    "curve; all layers are in `tables/trends.csv`."
)
_EXPLORATORY = (
    "Nobody planned these: all pairs of curves that differ in one column, by area, with p adjusted for "
    "the share of false findings (Benjamini-Hochberg). They are a source of questions for a new study "
    "and no evidence. The five smallest p are shown; all are in `tables/contrasts.csv`."
)
_BINDING = (
    "Are all parts of a prompt right together as often as if they were independent? The product "
    "multiplies the rates of the parts over prompts; it is too low where some prompts are easier than "
    "others, so a gap above zero needs the second one: within prompts, the parts are taken from images "
    "of different seeds, so there have to be as many seeds as parts. With fewer there is no such number, "
    "and the first gap says nothing about binding."
)
_FAILURES = (
    "Of all images, those that are wrong at the last layer; of these, the share that was right at an "
    "earlier layer; and the share of all that is right, wrong and right again."
)
_JUDGES = (
    "Agreement of the scorers where both answered: the share of equal answers, Cohen's kappa and "
    "Krippendorff's alpha (1 for perfect agreement, 0 for chance), and how often the second finds what "
    "the first calls right (sensitivity) and wrong (specificity)."
)
_SETS = (
    "How far the images of a layer, as a set, are from a set of reference images, by the vectors of one "
    "network: KID is 0 on average for two sets of one kind, and FID is too large for few images. No "
    "rates, and not comparable with numbers of other networks."
)
_MEASURES = (
    "Similarities between images: no rates and no probabilities. `to-final` is to the image of the last "
    "layer, `to-previous` to that of the layer before."
)


@dataclass(frozen=True)
class Source:
    """A run that the scores are of, as its manifest says.

    Attributes:
        run: its name.
        model: the model.
        claim: what the experiment is to answer.
        prompts: how many.
        seeds: which.
        settings: sampler settings.
        dtype: the type that images were computed in.
        undrawn: images that are not drawn yet.
        reading: how all of its layers are read; what differs names the run in the tables.
    """

    run: str
    model: str
    claim: str
    prompts: int
    seeds: tuple[int, ...]
    settings: Mapping[str, object]
    dtype: str
    undrawn: int = 0
    reading: str = ""


@dataclass(frozen=True)
class Shown:
    """A figure of the page.

    Attributes:
        path: from the page to the figure.
        title: its name.
        caption: what it shows.
    """

    path: str
    title: str
    caption: str


def findings(
    tables: Mapping[str, pd.DataFrame],
    title: str,
    sources: Sequence[Source] = (),
    *,
    notes: Sequence[str] = (),
    figures: Sequence[Shown] = (),
) -> str:
    """A page in Markdown.

    Args:
        tables: of `analysis.analyse.analyse`.
        title: its heading.
        sources: the runs, if the scores are of runs.
        notes: what was left out and why.
        figures: the figures to show, the first of each kind; the others are listed.
    """
    lines = [f"# {no_html(title)}", ""]
    for claim in dict.fromkeys(source.claim for source in sources if source.claim):
        lines += [f"**Claim to test:** {no_html(claim)}", ""]
    lines += [*_runs(sources), *_seeds(sources)]
    for heading, meaning, found, kinds in (
        ("The published labels", "", labels(tables), ()),
        ("Compared, as decided on before", _PLANNED, parts.planned(tables), ("planned",)),
        ("Trends, as decided on before", _TRENDS, parts.trends(tables), ()),
        ("Rates by layer", _RATES, parts.rates(tables), ("curves", "one_layer", "areas", "models")),
        ("Where a check can be asked", _CONDITIONAL, parts.conditional(tables), _ASKED_FIGURES),
        ("Does it change?", _CONSTANCY, parts.constancy(tables), ()),
        ("What comes first", _ORDER, parts.order(tables), ("order",)),
        ("Parts and wholes", _BINDING, parts.binding(tables), ()),
        ("Failures", _FAILURES, parts.failures(tables), ("given_final",)),
        ("Similarity", _MEASURES, parts.measures(tables), ("more",)),
        ("Sets of images", _SETS, parts.set_scores(tables), ("set_scores",)),
        ("Scorers", _JUDGES, judges(tables), ()),
        ("Exploratory", _EXPLORATORY, parts.exploratory(tables), ()),
        ("Missing answers", "", missing(tables), ()),
    ):
        if found:
            lines += [f"## {heading}", "", *([meaning, ""] if meaning else []), *found, ""]
            lines += _figures(figures, kinds)
    lines += _index(figures)
    lines += _left_out([*notes, *too_few(tables)])
    lines += [
        "## How to read the intervals",
        "",
        "Intervals are over prompts, of 95 % unless `analysis.json` says otherwise: Wilson's interval "
        "at the effective number of prompts, and differences put together from the intervals of their "
        "two sides; the p of a difference inverts its interval, so that the two never disagree. A trend's "
        "p is of permutations of prompts, another method than its interval's. A rate of 0 or 1 has an "
        "interval too: it is as uncertain as its number of prompts says. All layers of a seed start from "
        "the same noise; so do all prompts, unless the experiment gives "
        f"each noise of its own. Numbers of fewer than {FEW_PROMPTS} prompts are marked with *; of fewer "
        f"than {LEAST_PROMPTS}, they are in `tables/` and not here.",
    ]
    return "\n".join(lines) + "\n"


def _runs(sources: Iterable[Source]) -> list[str]:
    names = ["run", "model", "reading", "prompts", "seeds", "steps", "guidance", "dtype", "not drawn yet"]
    rows = [
        [
            *(one.run, f"`{one.model}`", one.reading, one.prompts, len(one.seeds)),
            *(one.settings.get("steps"), one.settings.get("guidance"), one.dtype, one.undrawn or "none"),
        ]
        for one in sources
    ]
    return [*markdown(names, rows), ""] if rows else []


def _seeds(sources: Sequence[Source]) -> list[str]:
    if sources and max(len(one.seeds) for one in sources) < 2:
        return [
            "**One seed only.** Every number below is of one noise; other seeds may differ from it.",
            "",
        ]
    return []


def _figures(figures: Sequence[Shown], kinds: Sequence[str]) -> list[str]:
    lines = []
    for kind in kinds:
        found = [one for one in figures if one.title == kind or one.title.startswith(f"{kind}-")]
        if found:
            lines += [f"!{_link(found[0])}", "", f"*{no_html(found[0].caption)}*", ""]
    return lines


def _index(figures: Sequence[Shown]) -> list[str]:
    if not figures:
        return []
    rows = [f"- {_link(one)}" for one in figures]
    return ["## All figures", "", "Each is there as .png and .pdf.", "", *rows, ""]


def _link(figure: Shown) -> str:
    return f"[{no_html(figure.title)}]({quote(figure.path)})"


def _left_out(notes: Sequence[str]) -> list[str]:
    told = [note for note in notes if not note.endswith("there is nothing to report")]
    return ["## Left out, and why", "", *(f"- {no_html(note)}" for note in told), ""] if told else []
