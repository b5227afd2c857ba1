"""Causal patching: known answers of the ends, what is drawn and encoded, and the command."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from diffusion_lens.analysis.patch_effects import effect_grid, patch_effects
from diffusion_lens.checks.checks import Judgement
from diffusion_lens.cli.patch import read_pairs
from diffusion_lens.errors import CheckError, InputError, LayerError
from diffusion_lens.scoring.judge_images import asked_of, checks_of_pairs
from diffusion_lens.scoring.patching import patch_prompts
from diffusion_lens.scoring.scorer import Scorer
from tests.command_line import run

CLEAN, CORRUPTED = "a red car", "a blue car"


class Redness(Scorer):
    """Calls a check of a colour met where an image is more red than blue, and any other check met."""

    name, kinds, version = "redness", frozenset({"object", "attribute"}), "1"

    def score(self, requests):
        red = [
            np.asarray(one.image)[..., 0].mean() > np.asarray(one.image)[..., 2].mean() for one in requests
        ]
        return [
            [Judgement(check.id, label=bool(is_red) or check.kind == "object") for check in one.checks]
            for one, is_red in zip(requests, red, strict=True)
        ]


@pytest.fixture
def passes(emoji):
    """How often the text encoder has run, while the test does."""
    seen = Counter()
    (encoder,) = emoji.conditioner.encoders.values()
    handle = encoder.blocks[0].register_forward_hook(lambda *_: seen.update(["pass"]))
    yield seen
    handle.remove()


def test_a_part_of_a_block_is_not_patched_as_its_layer(emoji, passes):
    with pytest.raises(LayerError, match=r"6\.head\.3 is a part of a block, and whole .* are patched"):
        patch_prompts(emoji, [(CLEAN, CORRUPTED)], [0, "6.head.3"], scorer=Redness())
    assert not passes


def test_all_tokens_patched_at_the_last_layer_give_the_clean_image(emoji, passes):
    patched = patch_prompts(
        emoji,
        [(CLEAN, CORRUPTED)],
        6,
        [0, 1],
        tokens=["all", "#2", 2],  # of which two are one
        scorer=Redness(),
        steps=1,
        guidance=1.0,
    )
    images = patched.result.table.set_index("cell")["image"]
    plain = patched.result.table.set_index(["prompt", "seed"])["image"]
    for row in patched.table[patched.table["place"] == "all"].itertuples():
        assert np.array_equal(images[row.cell], plain[CLEAN, row.seed])
        assert row.restored == 1 and row.right == row.right_clean
    assert not patched.result.table.iloc[4:]["identical"].any()
    # each prompt once, the clean one once more as the source, and one pass for each of two patches
    assert passes["pass"] == 2 + 1 + 2


def test_where_both_prompts_have_one_state_nothing_is_encoded_or_drawn_again(emoji, passes):
    patched = patch_prompts(emoji, [(CLEAN, CORRUPTED)], 0, 0, scorer=Redness(), steps=1, guidance=1.0)
    table = patched.table.set_index("token")
    # at the embedding the two differ in one word alone
    assert list(table.index) == ["[CLS]", "a", "red / blue", "car", "[SEP]", "pads"]
    assert list(table["role"]) == ["start", "before", "changed", "after", "end", "pads"]
    assert list(table.index[table["drawn"]]) == ["red / blue"]
    assert len(patched.result.table) == 3 and passes["pass"] == 2 + 1 + 1
    same = table[~table["drawn"]]
    assert (same["restored"] == 0).all() and same["cell"].nunique() == 1
    # patched at the embedding, the word that differs makes the corrupted prompt the clean one
    assert table.loc["red / blue", "restored"] == pytest.approx(1, abs=0.01)
    assert patched.checks == (("attribute-0",),)  # that there is a car, both state
    assert patched.grid().height > patched.grid().width


def test_what_can_not_be_patched_is_refused(emoji):
    with pytest.raises(InputError, match=r"as 5 tokens and .* as 6"):
        patch_prompts(emoji, [(CLEAN, "a big blue car")], 0, steps=1)
    with pytest.raises(InputError, match="are both"):
        patch_prompts(emoji, [(CLEAN, CLEAN)], 0, steps=1)
    with pytest.raises(CheckError, match="states too"):
        patch_prompts(emoji, [("a car", "a red car")], 0, steps=1)
    with pytest.raises(CheckError, match=r"no check 'colour'. Its checks are: object-0, attribute-0"):
        patch_prompts(emoji, [(CLEAN, CORRUPTED)], 0, checks=["colour"], steps=1)
    with pytest.raises(InputError, match=r"at positions .* Give tokens that stand at the same"):
        patch_prompts(emoji, [("a red car", "car of red")], 0, tokens=["car"], steps=1)


def test_checks_of_the_clean_prompt_alone_are_enough(caplog):
    """As a file of checks has them; of the corrupted prompt, what its words state is left out."""
    made = asked_of(CLEAN)
    given = [made, replace(made, prompt="a red <car>", prompt_id="other")]
    pairs = [(CLEAN, CORRUPTED), ("a red <car>", "a blue <car>")]
    assert [[check.id for check in one] for one in checks_of_pairs(pairs, given)] == [
        ["attribute-0"],
        ["object-0", "attribute-0"],  # nothing tells what "a blue <car>" states
    ]
    assert not caplog.records


def _made(units: int, unit: str) -> pd.DataFrame:
    """A table in which one token brings everything back and another one nothing."""
    rows = [
        {"pair": 0, "seed": 0, unit: number, "place": place, "token": place, "role": role, "layer": layer}
        | {"right": right, "right_clean": 1.0, "right_corrupted": 0.0, "restored": right, "drawn": True}
        for number in range(units)
        for place, role, right in (("#1", "changed", 1.0), ("#2", "after", 0.0))
        for layer in (0, 1)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("unit", ["pair", "seed"])
def test_effects_are_over_pairs_or_else_over_seeds(unit):
    found = patch_effects(_made(8, unit), correction="holm")
    changed, after = (found[found["place"] == place] for place in ("#1", "#2"))
    assert (changed[["effect", "share"]] == 1).all(axis=None) and (after["effect"] == 0).all()
    assert (found["units"] == 8).all()
    # of 2^8 patterns of signs two are as far; Holm multiplies the four tests of the grid
    assert changed["p"].tolist() == [2 / 256] * 2 and changed["p_holm"].max() == 4 * 2 / 256
    assert (after["p_holm"] == 1).all()
    grid, label = effect_grid(found)
    assert grid.to_numpy().tolist() == [[1, 1], [0, 0]] and "share" in label


def test_an_effect_is_a_share_of_what_the_clean_prompt_has_over_the_corrupted_one():
    table = _made(4, "pair")
    table["right_clean"], table["right_corrupted"] = 0.75, 0.25
    table["right"] = table["pair"].map({0: 0.25, 1: 0.25, 2: 0.75, 3: 0.75})
    found = patch_effects(table)
    assert found["effect"].tolist() == pytest.approx([0.25] * 4)
    assert found["share"].tolist() == pytest.approx([0.5] * 4)
    assert (found["low"] < 0.25).all() and (found["high"] > 0.25).all()
    table["right_clean"] = 0.25  # no better than the corrupted prompt: there is nothing to bring back
    assert patch_effects(table)["share"].isna().all()


def test_an_image_that_was_not_judged_is_no_part_of_a_share():
    table = _made(4, "pair")
    more = table.assign(seed=1, right=np.nan, right_clean=1.0)
    table["right_clean"], table["right"] = 0.5, 0.5
    assert patch_effects(pd.concat([table, more]))["share"].tolist() == pytest.approx([1.0] * 4)


def test_pairs_of_unequal_length_are_joined_by_role():
    table = _made(2, "pair")
    table.loc[table["pair"] == 1, "place"] = table["place"].map({"#1": "#2", "#2": "#3"})
    found = patch_effects(table)
    assert found["role"].tolist() == ["changed", "changed", "after", "after"]
    with pytest.raises(InputError, match="group them by role"):
        patch_effects(table, "place")


def test_the_command_writes_effects_a_figure_and_images(tmp_path):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("clean,corrupted\na red car,a blue car\n", encoding="utf-8-sig")  # as Excel does
    done = run(
        *("patch", "--pairs", str(pairs), "--layers", "0", "--steps", "1", "--guidance", "1"),
        *("--out", str(tmp_path / "p")),
    )
    assert done.returncode == 0 and "no p value can be below 1" in done.stderr
    assert len(pd.read_csv(tmp_path / "p/effects.csv")) == 6
    assert {one.name for one in (tmp_path / "p").iterdir()} == {
        *("effects.csv", "heatmap.png", "cells.csv", "images.parquet", "grid.png")
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("clean,corrupted\na,\n", "Row 1 .* lacks"),
        ("one,two\na,b\n", "it has one, two"),
        ("clean\n", "no pair"),
    ],
)
def test_pairs_that_can_not_be_read_are_refused(tmp_path, content, message):
    path = tmp_path / "pairs.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_pairs((), path)
    with pytest.raises(InputError, match="both given"):
        read_pairs(("a",), path)
    with pytest.raises(InputError, match="given: 1"):
        read_pairs(("a",), None)
