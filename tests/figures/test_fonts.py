"""The small font of figures has the letters of the whole one, which writes the others."""

import re

import pandas as pd
import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from diffusion_lens.figures.fonts import font_families
from diffusion_lens.figures.heatmap import draw_tokens
from diffusion_lens.figures.style import save


@pytest.mark.parametrize("weight", ["normal", "bold"])
@pytest.mark.parametrize(
    "text", ["To AVATAR, Words: 12 %", "\u2212\u201cWolke\u201d \u2026", "d\u00e9j\u00e0 Vu"]
)
def test_texts_are_as_wide_as_in_the_whole_font(text, weight):
    sizes = (
        text_to_path.get_text_width_height_descent(
            text, FontProperties(family=family, weight=weight), ismath=False
        )
        for family in font_families()[:2]
    )
    assert next(sizes) == pytest.approx(next(sizes), abs=0.05)


def test_other_letters_are_of_the_whole_font(tmp_path):
    for name, token, fonts in (
        ("a", "a fox", {"DejaVuSansLatin"}),
        ("b", "\u03b1", {"DejaVuSansLatin", "DejaVuSans"}),
    ):
        _, file = save(draw_tokens(pd.DataFrame({0: [1.0]}, index=[token]), label="norm"), tmp_path / name)
        named = re.findall(rb"/BaseFont /[A-Z]{6}\+([\w-]+)", file.read_bytes())
        assert {one.decode() for one in named} == fonts
