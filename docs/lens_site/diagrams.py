"""Diagrams of what no embedded model has: a pooled output, and slots."""

import io

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

from diffusion_lens.figures import COLOURS, use_style

__all__ = ["draw_pooled", "draw_slots"]

_PLAIN, _INK = "#eeeeee", "#1a1a1a"


class _Board:
    """Boxes and arrows on one axis."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width, height))
        self.axis = self.figure.add_axes((0, 0, 1, 1))
        self.axis.set(xlim=(0, width), ylim=(0, height))
        self.axis.axis("off")

    def box(self, x: float, y: float, text: str, colour: str = _PLAIN, width: float = 1.1) -> None:
        """A rounded box whose left lower corner is at x, y."""
        box = FancyBboxPatch((x, y), width, 0.36, "round,pad=0.02,rounding_size=0.06", fc=colour, ec="none")
        self.axis.add_patch(box)
        ink = _INK if colour == _PLAIN else "white"
        self.axis.text(x + width / 2, y + 0.18, text, ha="center", va="center", fontsize=8, color=ink)

    def arrow(self, start: tuple[float, float], end: tuple[float, float], colour: str = "#666666") -> None:
        """An arrow from one point to another."""
        self.axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=colour))

    def note(self, x: float, y: float, text: str) -> None:
        """Words beside a box."""
        self.axis.text(x, y, text, fontsize=7.5, va="center", color=_INK)

    def image(self) -> Image.Image:
        """The drawing, at two pixels a point."""
        file = io.BytesIO()
        self.figure.savefig(file, format="png", dpi=160)
        return Image.open(file).convert("RGB")


def _encoder(board: _Board, drawn: int) -> None:
    """Four layers above each other, the one that is drawn in colour."""
    names = ["layer 0 (embedding)", "layer 1", "layer 2", "layer 3"]
    for place, name in enumerate(names):
        board.box(0.15, 0.15 + 0.55 * place, name, COLOURS[0] if place == drawn else _PLAIN, 1.5)
        if place:
            board.arrow((0.9, 0.55 * place - 0.02), (0.9, 0.15 + 0.55 * place - 0.02))


def draw_pooled() -> Image.Image:
    """The hidden states come from the layer drawn; the pooled vector from one of three places."""
    with use_style():
        board = _Board(6.4, 2.4)
        _encoder(board, drawn=1)
        board.box(4.9, 0.7, "denoiser", width=1.2)
        board.arrow((1.7, 0.88), (4.86, 0.88), COLOURS[0])
        board.note(2.0, 0.74, "hidden states of the layer drawn, one a token")
        board.box(2.2, 1.8, "pooled", COLOURS[1], 0.8)
        board.arrow((1.7, 1.98), (2.16, 1.98), COLOURS[1])
        board.arrow((3.04, 1.98), (5.4, 1.12), COLOURS[1])
        board.note(3.2, 2.16, "one vector for the whole prompt:")
        board.note(4.15, 1.82, "hold: of the full encoder")
        board.note(4.75, 1.6, "layer: of the layer drawn")
        board.note(5.1, 1.38, "empty: of no prompt")
        return board.image()


def draw_slots() -> Image.Image:
    """A pipeline that reads layers 1, 2 and 3 gets the layer drawn in one of them, or in all."""
    with use_style():
        board = _Board(6.4, 2.4)
        _encoder(board, drawn=0)
        for place in range(3):
            y = 0.70 + 0.55 * place
            board.box(2.5, y, f"slot {place}", COLOURS[0] if place == 1 else _PLAIN, 0.8)
            if place != 1:
                board.arrow((1.7, y + 0.18), (2.46, y + 0.18))
            board.arrow((3.34, y + 0.18), (4.86, 1.43))
        board.arrow((1.7, 0.33), (2.46, 1.40), COLOURS[0])
        board.box(4.9, 1.25, "denoiser", width=1.2)
        board.note(2.5, 0.28, 'slots=1: layer 0 stands in slot 1 alone; slots="all": in every slot')
        return board.image()
