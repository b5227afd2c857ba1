"""The figures of a study: each kind is found, drawn from the tables, and shows their numbers."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from diffusion_lens.analysis.analyse import analyse
from diffusion_lens.analysis.correction import METHOD_WORDS, METHODS, corrected_curves
from diffusion_lens.analysis.curves import curves
from diffusion_lens.analysis.declared import Contrast
from diffusion_lens.analysis.findings import findings
from diffusion_lens.analysis.formats import readable
from diffusion_lens.figures.of_study.order import draw_order
from diffusion_lens.figures.registry import draw_figures, study_figures
from diffusion_lens.figures.study import draw_study, start_drawing
from tests.analysis.simulate import FAST, RISING, as_table, images


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    both = images(np.random.default_rng(0), np.concatenate([RISING, RISING * 0.4]), prompts=12)
    parts = [as_table(both[..., :6]), as_table(both[..., 6:], check="object-1")]
    one = pd.concat(parts, ignore_index=True).assign(run="a model")
    return analyse(
        pd.concat([one, one.assign(run="b/c")], ignore_index=True),
        planned=[Contrast("run", "a model", "b/c")],
        resampling=FAST,
    ).tables


def test_kinds_have_names_of_their_own_and_captions():
    kinds = study_figures()
    assert len({kind.name for kind in kinds}) == len(kinds) >= 10
    assert all(kind.caption.endswith(".") for kind in kinds)
    assert [kind.place for kind in kinds] == sorted(kind.place for kind in kinds)


def test_a_study_is_drawn_once_and_names_are_no_paths(tmp_path, tables):
    drawn = draw_study(tables, tmp_path)
    names = [one.path.name for one in drawn]
    assert len(set(names)) == len(names)
    assert {
        "curves-a_model-oracle.png",
        "curves-b_c-oracle.png",
        "models-oracle.png",
        "areas.png",
        "order-a_model-oracle.png",
        "planned.png",
        "heatmap.png",
    } <= set(names)
    for one in drawn:
        assert one.path.exists() and one.path.with_suffix(".pdf").exists()


def test_figures_of_names_that_differ_in_punctuation_or_capitals_are_files_of_their_own(tmp_path):
    runs = ("a b", "a/b", "A b")
    one = as_table(images(np.random.default_rng(0), RISING, prompts=6))
    table = pd.concat([one.assign(run=name) for name in runs], ignore_index=True)
    drawn = draw_study({"curves": curves(table, resampling=FAST)}, tmp_path)
    paths = {part.path for part in drawn}
    assert len({path.name.casefold() for path in paths}) == len(drawn) >= len(runs)
    assert paths == set(tmp_path.glob("*.png"))
    assert {one.path.stem for one in drawn if one.title == "curves-a/b-oracle"} <= {
        f"curves-a_b-oracle{number}" for number in ("", "-2", "-3")
    }


def test_distances_of_sets_are_drawn_as_their_table_has_them():
    layers, kid = [0, 3, 6], [0.3, 0.1, -0.01]
    one = {"encoder": "text_encoder", "layer": layers, "kid": kid, "kid_low": 0.0, "kid_high": 0.5}
    one |= {"features": "clip", "reference": "layer 9"}
    table = pd.concat([pd.DataFrame({"run": name, **one}) for name in ("one", "two")], ignore_index=True)
    (figure,) = [
        figure for kind, _, figure in draw_figures({"set_scores": table}) if kind.name == "set_scores"
    ]
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.texts] == ["one", "two"]
    assert axis.lines[0].get_xydata().tolist() == [list(pair) for pair in zip(layers, kid, strict=True)]
    assert not [one for one in draw_figures({"set_scores": table[:1]}) if one[0].name == "set_scores"]
    photos = table.assign(reference="photos")
    both = pd.concat([table, photos, table.assign(features="dinov2")], ignore_index=True)
    drawn = [one for one in draw_figures({"set_scores": both}) if one[0].name == "set_scores"]
    assert [part for _, part, _ in drawn] == ["clip", "dinov2"]  # whose distances do not compare
    (axis,) = drawn[0][2].axes
    named = [f"{run}, {reference}" for run in ("one", "two") for reference in ("layer 9", "photos")]
    assert sorted(text.get_text() for text in axis.texts) == named and len(axis.lines) == 4 + 1


def test_figures_name_kinds_as_readers_know_them():
    both = images(np.random.default_rng(0), np.concatenate([RISING, RISING * 0.4]), prompts=12)
    named = {"check": "a", "kind": "global"}, {"check": "b", "kind": "attribute"}
    parts = [as_table(both[..., :6], **named[0]), as_table(both[..., 6:], **named[1])]
    one = pd.concat(parts, ignore_index=True)
    table = pd.concat([one, one.assign(run="other")], ignore_index=True)
    tables = analyse(table, planned=[Contrast("kind", "global", "attribute")], resampling=FAST).tables
    said: dict[str, str] = {}
    for kind, _, figure in draw_figures(tables):
        texts = " ".join(text.get_text() for text in figure.findobj(Text))
        said[kind.name] = said.get(kind.name, "") + texts
    for name in ("curves", "areas", "order", "planned", "models", "heatmap"):
        assert "place" in said[name] and "colour or size" in said[name], name
        assert "global" not in said[name] and "attribute" not in said[name], name


def test_figures_and_tables_to_read_name_methods_as_readers_know_them():
    values = images(np.random.default_rng(0), RISING, prompts=12)
    judged = [as_table(values, scorer=name) for name in ("vqa", "human")]
    table = corrected_curves(pd.concat(judged, ignore_index=True), "vqa", resampling=FAST).assign(
        scorer="vqa"
    )
    ((_, _, figure),) = draw_figures({"correction": table})
    (axis,) = figure.axes
    assert {text.get_text() for text in axis.texts} == set(METHOD_WORDS.values())
    assert set(readable(table)["method"]) == set(METHOD_WORDS.values())
    assert not set(METHOD_WORDS.values()) & set(METHODS)


def test_one_layer_alone_is_drawn_as_dots_and_never_as_a_curve():
    both = images(np.random.default_rng(0), np.concatenate([RISING, RISING * 0.4]), prompts=12)
    parts = [as_table(both[..., 5:6]), as_table(both[..., 11:], check="b", kind="attribute")]
    one = pd.concat(parts, ignore_index=True)
    shuffled = one.assign(scorer="oracle: shuffled", baseline="shuffled", label=False)
    table = pd.concat([one, one.assign(run="other"), shuffled], ignore_index=True)
    found = analyse(table, planned=[Contrast("kind", "object", "attribute")], resampling=FAST)
    drawn = {f"{kind.name}-{part}": figure for kind, part, figure in draw_figures(found.tables)}
    assert set(drawn) == {"one_layer-oracle", "planned-one_layer"}
    rates = found.tables["curves"].query("scorer == 'oracle' and kind == 'object'")["rate"]
    axes = {axis.get_title(): axis for axis in drawn["one_layer-oracle"].axes}
    dots, control = axes["object, n = 12"].lines
    assert dots.get_xdata() == pytest.approx(rates.to_numpy()) and control.get_xdata()[0] == 0
    page = findings(found.tables, "study")
    assert "## Failures" not in page and page.count("(layer 0)") == 4


def test_several_processes_write_the_same_bytes_while_tables_are_made(tmp_path, tables):
    few = {name: tables[name] for name in ("planned", "summary")}
    one = draw_study(few, tmp_path / "1")
    with start_drawing(2) as drawing:
        drawing.begin("planned", few["planned"])
        drawing.begin("summary", few["summary"])
        assert not (tmp_path / "2").exists()
        two = drawing.write(few, tmp_path / "2")
    assert [drawn.title for drawn in one] == [drawn.title for drawn in two] == ["areas", "planned"]
    for alone, shared in zip(one, two, strict=True):
        for ending in (".png", ".pdf"):
            files = (drawn.path.with_suffix(ending) for drawn in (alone, shared))
            assert len({file.read_bytes() for file in files}) == 1


def test_too_few_prompts_are_not_drawn(tmp_path, tables):
    few = {name: table.assign(prompts=3) for name, table in tables.items() if "prompts" in table}
    assert draw_study(few, tmp_path) == []


def test_bars_of_order_are_shares_of_the_pairs_in_which_both_emerge(tables):
    row = tables["order"].iloc[:1]
    shares = row[["first_earlier", "tie", "second_earlier"]].to_numpy(dtype=float)[0]
    widths = [patch.get_width() for patch in draw_order(row, []).axes[0].patches]
    assert widths == pytest.approx(shares / shares.sum())


def test_more_panels_than_fit_a_page_go_to_further_pages(tables):
    one = tables["curves"].query("run == 'a model'")
    panels = [f"category {number:02}" for number in range(30)]
    many = pd.concat([one.assign(category=name) for name in panels], ignore_index=True)
    many = pd.concat([many, many.assign(kind="relation")], ignore_index=True)
    pages = {part: figure for kind, part, figure in draw_figures({"curves": many}) if kind.name == "curves"}
    assert list(pages) == [f"a model-oracle-{number}" for number in (1, 2, 3)]
    shown = [[axis.get_title() for axis in figure.axes] for figure in pages.values()]
    assert list(map(len, shown)) == [12, 12, 6]
    assert [title.split(",")[0].split("\n")[0] for page in shown for title in page] == panels
