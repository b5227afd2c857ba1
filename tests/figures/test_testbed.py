"""The figure of an examination."""

import pandas as pd
from diffusion_lens.figures.examination import LINES, draw_examination


def test_draws_each_encoder_at_its_own_depth() -> None:
    rows = [
        {"encoder": encoder, "group": group, "layer": layer, "check": check, "rate": layer / last,
         "low": 0.0, "high": 1.0}
        for encoder, last in (("minilm", 6), ("clip", 12))
        for layer in range(last + 1)
        for group, check in [*LINES, ("synonyms", "size")]
    ]  # fmt: skip
    figure = draw_examination(pd.DataFrame(rows))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["minilm", "clip"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == list(LINES.values())
    for axes in figure.axes:
        drawn = [line for line in axes.get_lines() if len(line.get_xdata()) > 1]
        assert len(drawn) == len(LINES)
