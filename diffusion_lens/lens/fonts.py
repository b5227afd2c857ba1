"""Fonts for labels drawn into images, and their lines: prompts are written in any script."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from PIL import ImageFont

__all__ = ["Font", "fallback_fonts", "find_font", "wrap"]

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
# fonts of systems that hold Chinese, Japanese and Korean, in the order of preference
_WIDE = (
    "Noto Sans CJK",
    "Source Han Sans",
    "PingFang",
    "Hiragino",
    "Microsoft YaHei",
    "WenQuanYi",
    "Droid Sans Fallback",
)


def find_font(text: str, size: int) -> Font:
    """A font that can write a text: Pillow's own, matplotlib's DejaVu, or one of the system.

    Args:
        text: what is to be written.
        size: in pixels.

    Returns:
        The first font that has every letter; where none has, the first of those that have most, with boxes
        for the letters it lacks.
    """
    plain = ImageFont.load_default(size)
    if all(ord(letter) < 0x250 for letter in text):
        return plain
    import matplotlib  # a fifth of a second that Latin letters don't need

    dejavu = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    wanted = set(map(ord, text.replace("\n", "")))
    fonts = (dejavu, *_system_fonts())
    whole = next((path for path in fonts if _letters(path) >= wanted), None)
    path = whole or max(fonts, key=lambda one: len(_letters(one) & wanted))
    return ImageFont.truetype(str(path), size)


@cache
def fallback_fonts() -> tuple[str, ...]:
    """The names of fonts, of those that are here, by which matplotlib writes letters that its own lacks.

    Those of the system for Chinese, Japanese and Korean; and at last one that has a box for each letter,
    which newer versions of matplotlib bring.
    """
    from matplotlib import font_manager

    names = sorted({entry.name for entry in font_manager.fontManager.ttflist})
    return tuple(name for start in (*_WIDE, "Last Resort") for name in names if name.startswith(start))


def wrap(text: str, width: float, measure: Callable[[str], float]) -> list[str]:
    """A text in lines that are no wider than allowed.

    Lines are broken between words, and within a word that is wider than a line: Chinese and Japanese have
    no spaces.

    Args:
        text: the text.
        width: of a line, in the unit of `measure`; a line holds one letter at least.
        measure: how wide a line is.
    """
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and measure(longer) <= width:
            lines[-1] = longer
            continue
        rest = word
        while measure(rest) > width and len(rest) > 1:
            fits = bisect_right(range(1, len(rest)), width, key=lambda count: measure(rest[:count]))
            lines.append(rest[: max(1, fits)])
            rest = rest[max(1, fits) :]
        lines.append(rest)
    return lines


def _system_fonts() -> Iterator[Path]:
    from matplotlib import font_manager

    # "Last Resort" has a box for each letter
    found = {
        entry.name: Path(entry.fname)
        for entry in font_manager.fontManager.ttflist
        if not entry.name.startswith("Last Resort")
    }
    ranked = sorted(
        found,
        key=lambda name: next((i for i, wide in enumerate(_WIDE) if name.startswith(wide)), len(_WIDE)),
    )
    for name in ranked:
        yield found[name]


@cache
def _letters(path: Path) -> frozenset[int]:
    """The letters that a font has."""
    from matplotlib import font_manager

    try:
        return frozenset(font_manager.get_font(str(path)).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
