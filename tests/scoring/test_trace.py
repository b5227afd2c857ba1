"""Tracing words: the table, the heat map and the command."""

import pandas as pd
import pytest

from diffusion_lens.errors import InputError, PromptError
from diffusion_lens.figures.heatmap import draw_tokens
from diffusion_lens.scoring.trace import trace

LAYERS = [0, 6]


@pytest.mark.parametrize("mode", ["drop", "keep"])
def test_each_word_is_judged_at_each_layer(emoji, mode):
    traced = trace(emoji, "a red car", LAYERS, mode=mode, steps=4)
    table = traced.table
    assert table[["word", "layer"]].to_numpy().tolist() == [
        [word, layer] for word in ("a", "red", "car") for layer in LAYERS
    ]
    assert len(traced.result.table) == (1 + 3) * len(LAYERS)
    assert table["change"].between(0, 1).all() and (table["change"] > 0).any()
    assert set(table["cell"]) < set(traced.result.table["cell"])
    known = table.dropna(subset=["right", "right_whole"])
    effect = known["right_whole"] - known["right"] if mode == "drop" else known["right"]
    assert known["effect"].tolist() == effect.tolist()
    # without its word the colour is gone and the car is there; so it is where the car's word stands alone
    at_the_end = table[table["layer"] == 6].set_index("word")["right"]
    assert at_the_end["red" if mode == "drop" else "car"] == 0.5
    assert traced.heatmap().shape == (3, 2) and list(traced.heatmap().index) == ["a", "red", "car"]
    assert traced.grid().height > traced.grid().width  # four rows and two columns
    assert draw_tokens(traced.heatmap(), label=mode).axes


def test_parts_of_a_block_are_traced_beside_its_layer(emoji):
    sites = [3, "3.attn", "native+6.mlp", 6]
    traced = trace(emoji, "a red car", sites, steps=1)
    alone = trace(emoji, "a red car", "3.attn", steps=1)
    order = list(traced.table["site"].unique())
    assert sorted(order) == ["3", "3.attn", "6", "native+6.mlp"]
    # what each holds is what it holds when it is traced by itself
    part = traced.table[traced.table["site"] == "3.attn"]
    assert part["cell"].tolist() == alone.table["cell"].tolist()
    assert part["change"].tolist() == pytest.approx(alone.table["change"].tolist(), abs=1e-3)
    heat = traced.heatmap()
    assert list(heat.columns) == [int(one) if one.isdecimal() else one for one in order]
    assert (
        heat.shape == (3, 4) and traced.grid().height == trace(emoji, "a red car", 6, steps=1).grid().height
    )


def test_a_word_that_stands_twice_is_traced_at_each_of_its_places(emoji):
    table = trace(emoji, "a red car and a red fox", 6, steps=1).table
    assert table["word"].tolist() == ["a", "red", "car", "and", "a", "red", "fox"]
    assert table["position"].tolist() == list(range(7))
    assert table["cell"].is_unique and len(set(table["change"])) == 7


def test_a_prompt_that_is_no_scene_is_traced_by_what_changes(emoji):
    traced = trace(emoji, "quantum economics", 6, steps=1)
    assert traced.table["right"].isna().all() and traced.table["effect"].isna().all()
    assert traced.heatmap().notna().all(axis=None)


def test_a_prompt_is_encoded_once_and_a_word_that_is_cut_off_refused_at_once(emoji, caplog):
    trace(emoji, "a <b> fox", 6, steps=1)
    assert len([one for one in caplog.messages if "is read as plain text" in one]) == 1
    drawn = []
    with emoji.conditioner.pipe.unet.register_forward_hook(lambda *_: drawn.append(1)):
        with pytest.raises(PromptError, match=r"word#18 'red' .* was cut off"):
            trace(emoji, 20 * "red " + "fox", 6, steps=1)
    assert len(drawn) == 1  # the whole prompt


def test_what_can_not_be_traced_is_refused(emoji, untyped):
    with pytest.raises(InputError, match="no word"):
        trace(emoji, " ")
    with pytest.raises(InputError, match="Allowed: drop, keep"):
        trace(emoji, "a car", mode="swap")


def test_the_command_writes_images_numbers_and_a_figure(tmp_path):
    from tests.command_line import run

    done = run("trace", "a red car", "--layers", "6", "--steps", "2", "--out", str(tmp_path / "t"))
    assert "judged nothing" not in done.stderr
    other = run("trace", "unreal car", "--layers", "6", "--steps", "1", "--out", str(tmp_path / "u"))
    assert "judged nothing" in other.stderr
    assert pd.read_csv(tmp_path / "t/trace.csv")["word"].tolist() == ["a", "red", "car"]
    assert {one.name for one in (tmp_path / "t").iterdir()} == {
        "grid.png",
        "images.parquet",
        "trace.csv",
        "heatmap.png",
    }
