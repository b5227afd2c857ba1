"""The fonts of figures: DejaVu Sans, its Latin letters from a small file, others from the whole font."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion_lens.lens.fonts import fallback_fonts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["font_families", "narrow_fonts"]

_LATIN = "DejaVu Sans Latin"
_FOLDER = Path(__file__).parent


@cache
def font_families() -> tuple[str, ...]:
    """The families in which matplotlib looks for a letter, one after the other; see SOURCE.md on the first.

    It is made known to matplotlib.
    """
    from matplotlib.font_manager import fontManager

    for file in sorted(_FOLDER.glob("*.ttf")):
        fontManager.addfont(file)
    return (_LATIN, "DejaVu Sans", *fallback_fonts())


def narrow_fonts(figure: "Figure") -> None:
    """Let texts of Latin letters alone have the first family alone.

    matplotlib looks for each family of each text several times, which takes a third of the time to draw a
    heat map.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        written = text.get_text()
        if written and _letters().issuperset(written) and text.get_fontfamily() == list(font_families()):
            text.set_fontfamily(_LATIN)


@cache
def _letters() -> frozenset[str]:
    from matplotlib.font_manager import get_font

    return frozenset(map(chr, get_font(_FOLDER / "DejaVuSansLatin.ttf").get_charmap())) | {"\n"}
