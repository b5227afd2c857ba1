"""The figure of the evaluation of the embedded models."""

import pandas as pd
import pytest

from diffusion_lens.figures.testbed import LINES, draw_evaluation


def test_draws_each_encoder_at_its_own_depth() -> None:
    rows = [
        {
            "encoder": encoder,
            "group": group,
            "layer": layer,
            "check": check,
            # each line and layer has a rate of its own
            "rate": layer / last * (0.1 + 0.1 * place),
            "low": 0.0,
            "high": 1.0,
        }
        for encoder, last in (("minilm", 6), ("clip", 12))
        for layer in range(last + 1)
        for place, (group, check) in enumerate([*LINES, ("synonyms of sizes", "size")])
    ]
    figure = draw_evaluation(pd.DataFrame(rows))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["minilm", "clip"]
    for axes in figure.axes:
        assert {text.get_text() for text in axes.texts} == set(LINES.values())
        drawn = [line for line in axes.get_lines() if len(line.get_xdata()) > 1]
        last = 6 if axes.get_title() == "minilm" else 12
        rates = {line.get_label(): line.get_ydata() for line in drawn}
        assert list(rates) == list(LINES.values())
        for place, name in enumerate(LINES.values()):
            expected = [layer / last * (0.1 + 0.1 * place) for layer in range(last + 1)]
            assert rates[name] == pytest.approx(expected)
