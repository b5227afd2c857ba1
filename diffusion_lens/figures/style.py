"""How figures look: sized for a column of a paper, and told apart without colour vision."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusion_lens.errors import InputError
from diffusion_lens.figures.fonts import font_families, narrow_fonts
from diffusion_lens.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    *("COLOURS", "COLUMN", "DASHES", "MARKERS", "PAGE"),
    *("Rendered", "line_style", "render", "save", "style"),
]

# inches: one column and the full width of the usual two-column page
COLUMN, PAGE = 3.4, 7.0
# Okabe & Ito (2008), "Color Universal Design": told apart with any colour vision; yellow, too pale for
# lines on paper, gives way to grey
COLOURS: tuple[str, ...] = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#808080",
)
# and by shape, for black-and-white print
MARKERS: tuple[str, ...] = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[str, ...] = ("-", "--", "-.", ":")
_PIXELS_PER_INCH = 200
# of zlib, 0 to 9: a tenth larger than at its usual 6, in two thirds of the time
_PNG_LEVEL = 3
_RC: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "figure.dpi": 150,
    "savefig.dpi": _PIXELS_PER_INCH,
    "figure.constrained_layout.use": True,
    # letters stay letters in pdf; prompts may hold "$", which is no mathematics
    "pdf.fonttype": 42,
    "text.parse_math": False,
    # at this size letters need no fitting to pixels, and stand as they do in the pdf
    "text.hinting": "no_hinting",
    "svg.fonttype": "none",
}


def line_style(number: int) -> dict[str, Any]:
    """Colour, marker and dash of a line; no two of the first 64 look the same.

    The first eight differ in colour and in marker; later rounds pair the same colours with other markers
    and dashes.
    """
    turn = number // len(COLOURS)
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[(number + turn) % len(MARKERS)],
        "linestyle": DASHES[(number + turn) % len(DASHES)],
    }


@contextmanager
def style() -> Iterator[None]:
    """Draw within in the package's style, and leave the user's own settings as they were."""
    import matplotlib

    # matplotlib falls back by letter, from one family to the next
    with matplotlib.rc_context({**_RC, "font.family": list(font_families())}):
        yield


@dataclass(frozen=True)
class Rendered:
    """A figure as the bytes of its files.

    Attributes:
        png: its pixels.
        pdf: its lines and letters.
    """

    png: bytes
    pdf: bytes

    def write(self, path: Path) -> list[Path]:
        """Write both files.

        Args:
            path: without the ending.

        Returns:
            The files written, the .png first.

        Raises:
            OutputError: one can't be written.
        """
        written = []
        for ending, content in ((".png", self.png), (".pdf", self.pdf)):
            written.append(path.with_name(path.name + ending))
            write_whole(written[-1], lambda file, content=content: file.write(content))  # type: ignore[misc]
        return written


def render(figure: "Figure") -> Rendered:
    """Draw a figure as .png and .pdf, the same bytes each time; its parts then stay in their places."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    png, pdf = io.BytesIO(), io.BytesIO()
    with style():
        _lay_out(figure)
        shown_at = figure.get_dpi()
        FigureCanvasPdf(figure).print_pdf(pdf, metadata={"CreationDate": None, "Producer": None})
        figure.set_dpi(_PIXELS_PER_INCH)
        options = {"compress_level": _PNG_LEVEL}
        FigureCanvasAgg(figure).print_png(png, metadata={"Software": None}, pil_kwargs=options)
        figure.set_dpi(shown_at)
    return Rendered(png.getvalue(), pdf.getvalue())


def save(figure: "Figure", path: Path) -> list[Path]:
    """Write a figure as .png and .pdf, as `render` draws it.

    Args:
        figure: what to write.
        path: without the ending.

    Returns:
        The files written.

    Raises:
        InputError: the path has an ending of its own.
        OutputError: it can't be written.
    """
    if path.suffix in (".png", ".pdf"):
        raise InputError(f"{path}: leave the ending out; a figure is written as .png and as .pdf.")
    return render(figure).write(path)


def _lay_out(figure: "Figure") -> None:
    """Find the places of all parts once for all files: that takes as long as to draw."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            # matplotlib measures all ticks twice more for the place of a label that isn't there
            if not axis.get_label_text():
                axis.set_label_coords(0.5, 0.5)
    narrow_fonts(figure)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")
        narrow_fonts(figure)  # of ticks, which now have their texts
