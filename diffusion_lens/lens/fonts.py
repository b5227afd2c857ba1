"""Fonts for labels drawn into images: prompts are written in any script."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from PIL import ImageFont

__all__ = ["Font", "find_font"]

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
