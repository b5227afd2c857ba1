"""`Browser`: the pages of one run: strips with filters, curves of what is filtered, and one image."""

import io
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from typing import Any

from PIL import Image
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from diffusion_lens.analysis.columns import whole_prompts_apart
from diffusion_lens.analysis.curves import curves
from diffusion_lens.analysis.statistics import Resampling
from diffusion_lens.errors import DiffusionLensError, RunError
from diffusion_lens.lens.thumbnails import thumbnail
from diffusion_lens.pages.recipe import command_of, python_of
from diffusion_lens.pages.run_filter import ANSWERS, END, Filter, Found, select
from diffusion_lens.pages.run_index import RunIndex, Strip
from diffusion_lens.pages.run_parts import whole_layers
from diffusion_lens.pages.sections import Panel, panels
from diffusion_lens.pages.verdicts import Verdicts
from diffusion_lens.pages.views import FilmCell, FilmStrip, FilmView
from diffusion_lens.scoring import table as scores
from diffusion_lens.scoring.baselines import is_baseline

__all__ = ["Browser"]

STRIPS = 30
QUICK = Resampling(resamples=1000)  # a page is waited for; a report and `analyze` take more
FOREVER = "private, max-age=31536000, immutable"
Page = Callable[..., HTMLResponse]


class Browser:
    """One run.

    Args:
        index: the run.
        slug: its name in addresses.
    """

    def __init__(self, index: RunIndex, slug: str) -> None:
        self.index, self.slug = index, slug
        self.verdicts = Verdicts(index)
        self.root = f"/run/{slug}"
        self._thumbnail = lru_cache(maxsize=4096)(self._make_thumbnail)
        self._panels = lru_cache(maxsize=32)(self._make_panels)

    def routes(self, page: Page, shared: Mapping[str, Any]) -> list[Route]:
        """The addresses of the run.

        Args:
            page: renders a template.
            shared: what all templates are given.
        """

        def images(request: Request) -> Response:
            asked, found = self._found(request)
            pages = max(1, -(-len(found.strips) // STRIPS))
            start = (min(asked.page, pages) - 1) * STRIPS
            shown = found.strips[start : start + STRIPS]
            return page(
                "run.html",
                **shared,
                **self._frame(asked, found),
                tab="images",
                pages=pages,
                film=self._film(shown),
                damaged=self._damage(shown),
                first=start + 1,
            )

        def curves_page(request: Request) -> Response:
            asked, found = self._found(request)
            cells = frozenset(cell for strip in found.strips for cell in strip.cells.values())
            drawn, why = self._panels(cells)
            return page(
                "run.html",
                **shared,
                **self._frame(asked, found),
                tab="curves",
                damaged=[],
                panels=drawn,
                why=why,
            )

        def one(request: Request) -> Response:
            return page(
                "cell.html",
                **shared,
                here=self.root,
                browser=self,
                **self.describe(request.path_params["cell"]),
            )

        def as_json(request: Request) -> Response:
            found = self.describe(request.path_params["cell"])
            rows = [{"name": name, "value": value} for name, value in found["row"].items()]
            return JSONResponse({**found, "row": rows}, headers={"Cache-Control": "no-cache"})

        cell = self.root + "/cell/{cell:path}"
        return [
            Route(self.root, images),
            Route(self.root + "/curves", curves_page),
            Route(self.root + "/image/{cell:path}.webp", self._small),
            Route(self.root + "/image/{cell:path}.png", self._whole),
            Route(cell + ".json", as_json),
            Route(cell, one),
        ]

    @cached_property
    def strips(self) -> list[Strip]:
        """All strips of the run."""
        return self.index.strips()

    @cached_property
    def choices(self) -> dict[str, list[str]]:
        """The values of each column of the user's that has few enough to choose from."""
        found = {}
        for name in self.index.user_columns:
            values = sorted({str(value) for value in self.index.table[name].dropna()})
            if 1 < len(values) <= 200:
                found[name] = values
        return found

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Width and height of the first image that can be read; 1 x 1 where none can."""
        for cell in self.index.table["cell"]:
            content = self.index.image(cell)
            try:
                if content is not None:
                    return Image.open(io.BytesIO(content)).size
            except (OSError, SyntaxError, ValueError):
                continue
        return (1, 1)

    def describe(self, cell: str) -> dict[str, Any]:
        """All that is known of one image.

        Raises:
            RunError: there is no such image.
        """
        row = self.index.row(cell)
        strip = next(one for one in self.strips if cell in one.cells.values())
        return {
            "cell": cell,
            "column": next(name for name, one in strip.cells.items() if one == cell),
            "strip": [{"column": name, "cell": one} for name, one in strip.cells.items()],
            "row": {name: value for name, value in row.items() if value is not None},
            "missing": row["missing"] or self.index.damage(cell),
            "answers": self.verdicts.of(cell),
            "command": command_of(row),
            "python": python_of(row),
            "address": f"{self.root}/cell/{cell}",
            "source": f"{self.root}/image/{cell}.png",
        }

    def _frame(self, asked: Filter, found: Found) -> dict[str, Any]:
        return {
            "here": self.root,
            "browser": self,
            "index": self.index,
            "asked": asked,
            "found": found,
            "questions": self.verdicts.questions,
            "answers": ANSWERS,
            "end": END,
            "layers": whole_layers(self.index.columns),
        }

    def _found(self, request: Request) -> tuple[Filter, Found]:
        asked = Filter.read(request.query_params.multi_items(), self.index, self.verdicts.questions)
        return asked, select(self.index, self.strips, self.verdicts, asked)

    def _film(self, strips: tuple[Strip, ...]) -> FilmView:
        reasons = self.index.failed
        rows = []
        for strip in strips:
            cells = []
            for name in self.index.columns:
                cell = strip.cells.get(name)
                if cell is not None and self.index.damage(cell):
                    cells.append(FilmCell(cell, None, "damaged; see the top of the page"))
                    continue
                if cell is None or cell in reasons:
                    cells.append(FilmCell(cell, None, reasons.get(cell or "", "not drawn")))
                    continue
                source = f"{self.root}/image/{cell}.webp"
                cells.append(
                    FilmCell(cell, source, "", self.verdicts.whole(cell), f"{self.root}/cell/{cell}")
                )
            rows.append(FilmStrip(str(strip.key["prompt"]), strip.detail, tuple(cells)))
        width, height = self.shape
        return FilmView(tuple(self.index.columns), tuple(rows), width / height, max(width, height) <= 96)

    def _damage(self, strips: tuple[Strip, ...]) -> list[str]:
        """What is wrong with the parts that hold the images of some strips."""
        found = (self.index.damage(cell) for strip in strips for cell in strip.cells.values())
        return list(dict.fromkeys(one for one in found if one))

    def _make_panels(self, cells: frozenset[str]) -> tuple[list[Panel], str]:
        """Curves of some of the images; or why there are none."""
        try:
            table = scores.read(self.index.url)
        except DiffusionLensError as error:
            return [], str(error)
        if "cell" not in table:
            return [], "The scores do not say which image they are of."
        table = table[table["cell"].isin(list(cells)) & ~is_baseline(table["scorer"])]
        if table.empty:
            return [], "No image of this selection is scored."
        made = curves(whole_prompts_apart(table), ("run", "scorer", "encoder", "kind"), resampling=QUICK)
        return panels({"curves": made}), ""

    def _small(self, request: Request) -> Response:
        return _image(self._thumbnail(request.path_params["cell"]), "image/webp")

    def _whole(self, request: Request) -> Response:
        content = self.index.image(request.path_params["cell"])
        kind = "image/png" if content is None or content.startswith(b"\x89PNG") else "image/webp"
        return _image(content, kind)

    def _make_thumbnail(self, cell: str) -> bytes | None:
        content = self.index.image(cell)
        try:
            return None if content is None else thumbnail(content, side=192)
        except (OSError, SyntaxError, ValueError) as error:
            raise RunError(f"The image {cell} can't be read: {error}.") from error


def _image(content: bytes | None, kind: str) -> Response:
    if content is None:
        return JSONResponse({"problem": "There is no such image."}, 404)
    return Response(content, media_type=kind, headers={"Cache-Control": FOREVER})
