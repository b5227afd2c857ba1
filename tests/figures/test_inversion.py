"""The figure of learned words is drawn from its tables."""

import numpy as np
import pandas as pd
import pytest

from diffusion_lens.errors import InputError
from diffusion_lens.figures.inversion import draw_words
from diffusion_lens.learning.study import summarise


def test_words_captions_and_the_grid_are_drawn():
    rng = np.random.default_rng(0)
    rows = [
        {"concept": f"c{index}", "way": way, "measure": measure, "value": rng.random()}
        for index in range(5)
        for way in ("word", "short", "long")
        for measure in ("image", "text", "edit")
    ]
    grid = pd.DataFrame(
        {"concept": "c0", "rate": rate, "vectors": vectors, "measure": measure, "value": rate * vectors}
        for rate in (0.01, 0.1)
        for vectors in (1, 2)
        for measure in ("image", "text", "edit")
    )
    left, right = draw_words(summarise(pd.DataFrame(rows)), grid).axes
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["long", "short", "word"]
    assert len(right.lines) == 2 and len(right.texts) == 4
    with pytest.raises(InputError, match="no rows"):
        draw_words(pd.DataFrame(), grid)
