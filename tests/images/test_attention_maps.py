"""Attention maps of any denoiser: what they are is known, and recording them changes nothing."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import SD3Transformer2DModel
from PIL import Image

from diffusion_lens.anatomy.attention import record_attention
from diffusion_lens.errors import InputError, PromptError, UnsupportedPipelineError
from diffusion_lens.images.sampler import Sampler, count_calls
from diffusion_lens.lens import WordAttention
from diffusion_lens.lens.attention import check_word
from tests.command_line import run

PROMPT = "a red fox"
CROSS = ("sd", "sana")
JOINT = ("sd3", "flux", "qwen-image")


def draw(lens, **options):
    return lens(PROMPT, "native", 0, progress=False, **options)


@pytest.mark.parametrize("family", [*CROSS, *JOINT])
def test_shares_add_up_and_the_images_are_the_same(tiny_lens, family):
    result = draw(tiny_lens(family))
    every, fox, rest = (result.attention(tokens) for tokens in ("all", "fox", "word:a;red;special;pads"))
    assert fox.maps.keys() == every.maps.keys()
    for name, maps in every.maps.items():
        assert maps.shape[0] == 1 and maps.shape[2] == maps.shape[3] and maps.shape[1] >= 2
        torch.testing.assert_close(fox.maps[name] + rest.maps[name], maps)
        whole = maps.mean()
        assert torch.isclose(whole, torch.tensor(1.0)) if family in CROSS else 0 < whole < 1
    assert np.array_equal(fox.rows["image"][0], result.table["image"][0])
    assert fox.nbytes == sum(maps.numel() * 4 for maps in fox.maps.values())


@pytest.mark.parametrize("family", ["sd", "sd3", "qwen-image"])
def test_the_negative_prompt_is_not_in_the_maps(tiny_lens, family):
    lens = tiny_lens(family)
    guided, plain = draw(lens, guidance=4.0, negative_prompt="a dog"), draw(lens, guidance=1.0)
    one, other = guided.attention("fox"), plain.attention("fox")
    for name, maps in one.maps.items():  # both begin with the same noise
        assert maps.shape == other.maps[name].shape
        torch.testing.assert_close(maps[:, 0], other.maps[name][:, 0])


@pytest.mark.parametrize("family", ["sd", "sd3", "flux"])
def test_two_words_of_one_state_are_read_alike(tiny_lens, family):
    lens = tiny_lens(family)
    changed = {}
    for name, states in draw(lens).states.items():
        places = lens.reader().places_of(states)
        values = states.states.clone()
        values[..., places.select("red"), :] = values[..., places.select("fox"), :]
        changed[name] = replace(states, states=values)
    same = draw(lens, states=changed)
    first = next(iter(same.attention("fox").maps))
    red, fox, a = (same.attention(word).maps[first][:, 0] for word in ("red", "fox", "word:a"))
    torch.testing.assert_close(red, fox)
    assert not torch.allclose(red, a, rtol=1e-3)


def test_they_are_those_of_the_layers_own_scores(tiny_lens):
    lens = tiny_lens("sd")
    result = draw(lens)
    fox = result.attention("fox")
    place = lens.reader().places_of(result.states["text_encoder"]).select("fox")
    with record_attention(lens.pipeline.unet) as record:
        draw(lens)
    for name, maps in fox.maps.items():
        for step, heat in enumerate(maps[0]):
            torch.testing.assert_close(heat, record.maps[name][step][-1, place].sum(0))


def test_maps_are_chosen_by_step_and_block_and_drawn(tiny_lens):
    result = tiny_lens("sd")(PROMPT, [0, "native"], [0, 1], progress=False)
    found: WordAttention = result.attention("fox", layers=["native"])
    assert found.rows["seed"].tolist() == [0, 1] and set(found.rows["native"]) == {True}
    table = found.table
    assert set(table["step"]) == {0, 1} and set(table["block"]) == set(found.maps)
    assert table["share"].between(0, 1).all() and (table["peak"] >= 1).all()
    mid = found.mean(steps=[1], blocks=["mid_block"])
    (name,) = (one for one in found.maps if one.startswith("mid_block"))
    torch.testing.assert_close(mid, found.maps[name][:, 1])
    assert found.grid().height > found.grid(cell=40).height
    for wrong, message in (
        ({"steps": [2]}, r"Steps \[2\] .* takes 0 to 1"),
        ({"steps": []}, "takes 0 to 1"),
        ({"blocks": ["mid"]}, "'mid' or within it"),
        ({"blocks": ["mid_block", "nosuch"]}, "'nosuch' or within it"),
    ):
        with pytest.raises(InputError, match=message):
            found.mean(**wrong)


@pytest.mark.parametrize(
    ("family", "scheduler", "calls"),
    [("sd", None, 4), ("sd", "PNDM", 13), ("sd", "HeunDiscreteScheduler", 7), ("flux", None, 4)],
)
def test_how_often_a_scheduler_asks_is_known_before_anything_is_drawn(tiny_lens, family, scheduler, calls):
    lens = tiny_lens(family)
    how = {"steps": 4, "scheduler": scheduler, "height": 16, "width": 16}
    assert count_calls(lens.pipeline, lens.settings(Sampler(**how)).sampler) == calls
    assert {one.shape[1] for one in draw(lens, **how).attention("fox").maps.values()} == {calls}
    check_word(lens, PROMPT, "fox", sampler=Sampler(**how), steps=[calls - 1])
    with pytest.raises(InputError, match=rf"takes 0 to {calls - 1}\."):
        check_word(lens, PROMPT, "fox", sampler=Sampler(**how), steps=[calls])


def test_a_change_is_recorded_at_each_of_several_layers(tiny_lens):
    result = tiny_lens("sd")(PROMPT, [0, "native"], 0, interventions=["keep(fox)"], progress=False)
    images = result.attention("fox").rows["image"]
    assert all(np.array_equal(*pair) for pair in zip(images, result.table["image"], strict=True))


def test_parts_of_a_block_have_maps_of_their_own(tiny_lens):
    result = tiny_lens("sd")(PROMPT, ["2.attn", "2.mlp", 2, "native"], progress=False)
    found = result.attention("fox")
    assert found.rows["site"].tolist() == result.table["site"].tolist()
    assert found.table.groupby("site").size().nunique() == 1 and found.table["site"].nunique() == 4
    alone = result.attention("fox", layers=["2.mlp"])
    assert alone.rows["site"].tolist() == ["2.mlp"]
    assert found.grid().width > 3 * alone.grid().width / 2  # a column for each
    assert result.attention("fox", layers=[2]).rows["site"].tolist() == ["2"]
    deepest = int(result.table.loc[result.table["native"], "layer"].iloc[0])
    assert result.attention("fox", layers=[deepest]).rows["native"].tolist() == [True]


def test_an_attention_among_image_places_is_no_reading_of_the_text(new_lens):
    lens = new_lens("sd3")
    config = {name: value for name, value in lens.pipeline.transformer.config.items() if name[0] != "_"}
    # Stable Diffusion 3.5 medium: some blocks have a second attention, of the image to itself
    lens.pipeline.transformer = SD3Transformer2DModel(**{**config, "dual_attention_layers": (0,)}).eval()
    found = draw(lens, height=96, width=96).attention("fox")
    assert set(found.maps) == {"transformer_blocks.0.attn", "transformer_blocks.1.attn"}


def test_what_has_no_maps_is_refused(tiny_lens, new_lens, tmp_path):
    with pytest.raises(UnsupportedPipelineError, match="its processors are ZSingleStreamAttnProcessor"):
        draw(tiny_lens("z-image")).attention("fox")
    result = draw(tiny_lens("sd"))
    with pytest.raises(PromptError, match="does not hold 'dog'"):
        result.attention("dog")
    with pytest.raises(InputError, match="holds no image of"):
        result.attention("fox", layers=[7])
    limited = tiny_lens("sd")(PROMPT, 0, 0, interventions=["only(0)"], progress=False)
    with pytest.raises(InputError, match=r"Maps of images under only\(0\)"):
        limited.attention("fox")
    with pytest.raises(InputError, match="gone, or it was read from a file"):
        type(result).load(result.save(tmp_path)).attention("fox")
    sliced = new_lens("sd")
    sliced.pipeline.enable_attention_slicing(1)
    with pytest.raises(UnsupportedPipelineError, match="its processors are SlicedAttnProcessor"):
        draw(sliced).attention("fox")


def test_the_command_writes_a_picture_and_its_table(new_lens, tmp_path):
    new_lens("sd").pipeline.save_pretrained(tmp_path / "sd")
    few = ("--model", "sd", "--steps", "2", "--guidance", "1", "--height", "16", "--width", "16")
    asked = ("attention", PROMPT, "--word", "fox", "--layers", "0", "native", *few)
    done = run(*asked, "--at", "1", "--out", "fox.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "fox.csv")
    assert set(table["step"]) == {0, 1} and set(table["seed"]) == {0} and table["share"].between(0, 1).all()
    assert table.groupby("native").size().nunique() == 1
    assert np.asarray(Image.open(tmp_path / "fox.png")).std() > 0
    for wrong, message in (
        (("--out", "fox.png"), "fox.png exists"),
        (("--out", "fox.pdf"), "names no image"),
        (("--word", "dog"), "does not hold 'dog'"),
        (("--at", "9"), "takes 0 to 1"),
        (("--blocks", "head"), "'head' or within it"),
    ):
        refused = run(*asked, *wrong, cwd=tmp_path)
        assert refused.returncode == 2 and message in " ".join(refused.stderr.split()), (wrong, refused)
        assert "Drawing" not in refused.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fox.csv", "fox.png", "sd"]
