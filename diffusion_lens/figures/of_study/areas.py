"""Areas under the layer curves side by side."""

from collections.abc import Iterator
from functools import partial

from diffusion_lens.figures.forest import draw_forest, pages_of
from diffusion_lens.figures.of_study.parts import enough, keys_of, telling, without_baselines
from diffusion_lens.figures.registry import Draw, StudyFigure, Tables


def _plan(tables: Tables) -> Iterator[tuple[str, Draw]]:
    if "summary" not in tables:
        return
    table = enough(without_baselines(tables["summary"]))
    table = table[table["area"].notna()]
    # short lists in one figure, long ones by run and scorer
    groups = [("", table)] if len(table) <= 36 else list(table.groupby(["run", "scorer"]))
    for parts, one in groups:
        if one.empty:
            continue
        names = telling(one, keys_of(one))
        pages = pages_of(one)
        for number, page in enumerate(pages):
            title = "-".join(str(part) for part in parts if str(part))
            forest = partial(
                draw_forest,
                page,
                name=names,
                value="area",
                low="area_low",
                high="area_high",
                label="area under the layer curve",
            )
            yield (
                "-".join(part for part in (title, str(number + 1) if len(pages) > 1 else "") if part),
                forest,
            )


FIGURE = StudyFigure(
    "areas",
    40,
    "The area under each layer curve, the mean rate over depth: deep or slow knowledge has a small "
    "area. Bars: intervals over prompts; n: prompts.",
    _plan,
)
