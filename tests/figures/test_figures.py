from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from diffusion_lens.analysis.all_pairs import all_pairs
from diffusion_lens.analysis.curves import curves, published_curves
from diffusion_lens.analysis.summary import summary
from diffusion_lens.errors import InputError
from diffusion_lens.figures.curves import draw_curves
from diffusion_lens.figures.forest import draw_forest, pages_of
from diffusion_lens.figures.heatmap import draw_heatmap, draw_tokens, heatmap_data
from diffusion_lens.figures.style import line_style, save, style
from tests.analysis.simulate import FAST, RISING, as_table, images


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    both = images(np.random.default_rng(0), np.concatenate([RISING, RISING * 0.4]), prompts=20)
    parts = [as_table(both[..., :6]), as_table(both[..., 6:], check="relation-0", kind="relation")]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def made(table) -> pd.DataFrame:
    return curves(table, resampling=FAST)


def test_lines_show_the_numbers_of_the_table(made):
    axis = draw_curves(made, line="kind").axes[0]
    drawn = [line for line in axis.lines if len(line.get_xdata())]
    assert len(drawn) == 2 and [line.get_label() for line in drawn] == ["object", "relation"]
    for line, (_, part) in zip(drawn, made.groupby("kind"), strict=True):
        assert line.get_ydata() == pytest.approx(part["rate"].to_numpy())
        assert line.get_xdata() == pytest.approx(part["layer"].to_numpy(), abs=0.15)
    low, high = axis.get_ylim()
    assert low < 0 and high > 1  # a line at 0 or 100 % is whole


def test_intervals_end_at_zero_and_one(made):
    outside = made.assign(low=-0.2, high=1.2, band_low=-0.3, band_high=1.3)
    axis = draw_curves(outside).axes[0]
    for drawn in axis.collections:
        ends = np.concatenate([path.vertices[:, 1] for path in drawn.get_paths()])
        assert ends.min() >= 0 and ends.max() <= 1


def test_titles_say_how_many_prompts(made):
    assert draw_curves(made).axes[0].get_title() == "n = 20"
    fewer = made.assign(prompts=np.where(made["layer"] == 0, 12, 20))
    assert draw_curves(fewer).axes[0].get_title() == "n = 12 to 20"


def test_many_lines_all_differ_within_a_panel():
    looks = [tuple(line_style(number).values()) for number in range(64)]
    assert len(set(looks)) == 64
    rows = [{"kind": f"check {n}", "layer": layer, "rate": n / 20} for n in range(18) for layer in (0, 1)]
    axis = draw_curves(pd.DataFrame(rows)).axes[0]
    drawn = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in axis.lines}
    assert len(drawn) == 18
    assert [text.get_text() for text in axis.texts] == [f"check {n}" for n in range(18)]


def test_each_line_is_named_at_its_end_and_no_names_overlap():
    ends = {"one": 0.5, "two": 0.5, "three": 0.51, "four": 0.98, "five": 1.0, "six": 1.0, "seven": 0.0}
    rows = [
        {"kind": name, "layer": layer, "rate": layer * rate}
        for name, rate in ends.items()
        for layer in (0, 1)
    ]
    figure = draw_curves(pd.DataFrame(rows), chance=0.5)
    FigureCanvasAgg(figure).draw()
    (axis,) = figure.axes
    texts = sorted(axis.texts, key=lambda text: text.get_window_extent().y0)
    leading = axis.collections[-1].get_segments()  # from the lines' ends to the names
    starts = (axis.transAxes - axis.transData).transform([segment[0] for segment in leading])
    for line in axis.lines[: len(ends)]:
        (text,) = [text for text in texts if text.get_text() == line.get_label()]
        assert text.get_color() == line.get_color()
        assert starts[axis.texts.index(text)] == pytest.approx(line.get_xydata()[-1])
        assert leading[axis.texts.index(text)][1] == pytest.approx(text.get_position())
    names = [text.get_text() for text in texts]
    assert len(names) == len(ends) + 1 and "chance" in names
    assert names[0] == "seven" and names[4:6] == ["three", "four"]
    boxes = [text.get_window_extent() for text in texts]
    assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(boxes))
    page = figure.bbox
    assert all(page.x0 <= box.x0 and box.x1 <= page.x1 and box.y1 <= page.y1 for box in boxes)


def test_lines_differ_without_colour(made):
    lines = [line for line in draw_curves(made).axes[0].lines if len(line.get_xdata())]
    assert len({line.get_marker() for line in lines}) == len({line.get_linestyle() for line in lines}) == 2


def test_panels_share_their_axes_and_lines_their_colours(table):
    two = pd.concat([table, table[table["kind"] == "relation"].assign(encoder="text_encoder_2")])
    figure = draw_curves(curves(two, resampling=FAST), panel="encoder", x="depth")
    first, second = figure.axes[:2]
    colour = {line.get_label(): line.get_color() for line in first.lines}
    assert all(colour[line.get_label()] == line.get_color() for line in second.lines)
    assert first.get_title() == "text_encoder, n = 20" and first.get_ylim() == second.get_ylim()


def test_the_lowest_panels_name_the_layers_of_all_where_these_are_the_same(made):
    panels = [made.assign(encoder=name) for name in "abcde"]

    def named(table):
        axes = draw_curves(table, panel="encoder").axes
        return [axis.get_title()[0] for axis in axes if axis.xaxis.get_tick_params()["labelbottom"]]

    assert named(pd.concat(panels)) == ["c", "d", "e"]  # below the third there is no panel
    panels[0] = panels[0][panels[0]["layer"] < 5]
    assert named(pd.concat(panels)) == ["a", "b", "c", "d", "e"]


def test_curves_given_different_conditions_never_share_a_figure(table, made):
    given = curves(table, condition="final-correct", resampling=FAST)
    with pytest.raises(InputError, match="never share a figure"):
        draw_curves(pd.concat([made, given]))
    assert "given right" in draw_curves(given).get_supylabel()
    published = published_curves(table, ["kind"])
    lines = draw_curves(published, band=None).axes[0].lines
    for line, (_, part) in zip(lines, published.groupby("kind"), strict=False):
        assert line.get_ydata() == pytest.approx(part["rate"].to_numpy())


def test_nothing_to_draw_is_said(made):
    for draw in (
        lambda: draw_curves(made[:0]),
        lambda: draw_heatmap(made[:0], row="kind"),
        lambda: draw_forest(made[:0], name="kind", value="rate"),
    ):
        with pytest.raises(InputError, match="nothing to draw"):
            draw()


def test_one_prompt_is_drawn_without_intervals():
    one = curves(as_table(images(np.random.default_rng(0), RISING, prompts=1)))
    assert not draw_curves(one).axes[0].collections


def test_heat_maps_hold_the_numbers(made):
    grid = heatmap_data(made, row="kind")
    assert list(grid.index) == ["object", "relation"] and list(grid.columns) == list(range(6))
    assert grid.loc["object"].to_numpy() == pytest.approx(made[made["kind"] == "object"]["rate"].to_numpy())
    texts = [text.get_text() for text in draw_heatmap(made, row="kind").axes[0].texts]
    assert texts[:6] == [f"{100 * rate:.0f}" for rate in grid.loc["object"]]
    with pytest.raises(InputError, match="several curves"):
        heatmap_data(made, row="scorer")


def test_models_of_unequal_depth_have_columns_of_their_own(made):
    both = pd.concat([made.assign(run="one"), made[made["layer"] % 2 == 1].assign(run="other")])
    figure = draw_heatmap(both, row="kind", panel="run")
    shown = {axis.get_title(): axis for axis in figure.axes if axis.get_title()}
    assert [len(axis.get_xticks()) for axis in shown.values()] == [6, 3]
    assert [len(axis.texts) for axis in shown.values()] == [12, 6]  # no cell is empty


def test_forests_show_numbers_and_zero(table):
    rows = summary(table, resampling=FAST)
    axis = draw_forest(rows, name=["scorer", "kind"], value="area", low="area_low", high="area_high").axes[
        0
    ]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["oracle, object", "oracle, relation"]
    assert axis.lines[0].get_xdata() == pytest.approx(rows["area"].to_numpy())
    pairs = all_pairs(table, "kind", resampling=FAST)
    axis = draw_forest(pairs, name="first_group", value="difference", zero=True).axes[0]
    zero, points = axis.lines
    assert list(zero.get_xdata()) == [0, 0]
    assert points.get_xdata() == pytest.approx(pairs["difference"].to_numpy())
    assert "20" in [text.get_text() for text in axis.texts]


def test_long_lists_break_into_pages_of_equal_length():
    parts = pages_of(pd.DataFrame({"a": range(86)}), 36)
    assert [len(part) for part in parts] == [29, 29, 28]
    assert pd.concat(parts)["a"].tolist() == list(range(86))


def test_tokens_keep_their_order():
    values = pd.DataFrame([[0.0, 1.0], [2.0, np.nan]], index=["a", "$fox"], columns=[0, 6])
    axis = draw_tokens(values, label="norm").axes[0]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["a", "$fox"]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["0", "6"]
    assert axis.collections[0].get_array().filled(-1).ravel().tolist() == [0, 1, 2, -1]


def test_files_are_the_same_each_time_and_letters_are_letters(tmp_path, made):
    for name in ("a", "b"):
        first = made.assign(kind=made["kind"] + " of $5 & <b>")
        files = save(draw_curves(first), tmp_path / name)
    assert [file.name for file in files] == ["b.png", "b.pdf"]
    for ending in (".png", ".pdf"):
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 600
    assert b"/Type3" not in (tmp_path / "a.pdf").read_bytes()
    with pytest.raises(InputError, match="leave the ending out"):
        save(draw_curves(made), tmp_path / "a.png")


@pytest.mark.parametrize("rows", [1, 8])
def test_the_label_of_a_colour_bar_is_no_longer_than_the_figure(rows):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    made = pd.DataFrame({"kind": map(str, range(rows)), "layer": 0, "rate": 0.5})
    values = pd.DataFrame({0: np.arange(rows) / 9}, index=[f"word {row}" for row in range(rows)])
    label = "the share of the difference between the two prompts that comes back"
    for figure in (draw_heatmap(made, row="kind"), draw_tokens(values, label=label, title="a fox " * 20)):
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw_without_rendering()
        box = figure.axes[-1].yaxis.label.get_window_extent(renderer)
        assert box.y0 >= 0 and box.y1 <= figure.bbox.height and box.x1 <= figure.bbox.width


def test_letters_that_no_font_has_are_no_warning(tmp_path):
    values = pd.DataFrame({0: [0.0, 1.0]}, index=["a $x$", "\u72ac"])
    files = save(draw_tokens(values, label="effect", title="\u72ac \U0001f436 $x$"), tmp_path / "a")
    assert all(file.stat().st_size for file in files)


def test_the_users_settings_stay():
    before = mpl.rcParams["font.size"]
    with style():
        assert mpl.rcParams["font.size"] == 8
    assert mpl.rcParams["font.size"] == before
