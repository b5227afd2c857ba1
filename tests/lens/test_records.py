"""A record can't be false: what changed an image is named in its row, and `identical` follows from it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion_lens import Sampler
from diffusion_lens.images import Approximations, approximate
from diffusion_lens.text.interventions import Keep


def row(result):
    return result.table.iloc[-1]


def pixels(result):
    return np.asarray(row(result)["image"]).tobytes()


FAST = {"steps": 2, "progress": False}


@pytest.fixture(scope="module")
def states(emoji):
    return emoji.encode(["a red fox", "a blue car"])


def test_untouched_states_are_not_edits(emoji, states):
    plain, again = emoji("a red fox", "native", **FAST), emoji("a red fox", "native", states=states, **FAST)
    assert row(again)["identical"] and row(again)["edits"] == ""
    assert pixels(plain) == pixels(again) and row(plain)["cell"] == row(again)["cell"]


@pytest.mark.parametrize("way", ["replaced", "in place", "joined"])
def test_states_changed_by_hand_are_named_and_never_identical(emoji, states, way):
    own = states["text_encoder"]
    changed = own.states.clone()
    changed[:, 0] = own.states[:, 1]
    if way == "in place":
        edited = replace(own, states=own.states.clone())
        edited.states[:, 0] = own.states[:, 1]
    else:
        edited = replace(own, states=changed)
    if way == "joined":
        edited = type(own).join([edited[0], edited[1]])
    result = emoji("a red fox", "native", states={"text_encoder": edited}, **FAST)
    found = row(result)
    assert not found["identical"]
    assert found["edits"].startswith("edited(text_encoder ")
    assert found["cell"] != row(emoji("a red fox", "native", **FAST))["cell"]
    assert pixels(result) == pixels(emoji("a blue car", "native", **FAST)), "the states are the car's"
    untouched = row(emoji("a blue car", "native", states={"text_encoder": edited}, **FAST))
    assert untouched["identical"], "the car's own states were not changed"


def test_approximations_on_a_live_lens_are_named_and_never_identical(new_lens):
    lens = new_lens("sd")
    before = row(lens("a red fox", "native", progress=False))
    approximate(lens.denoiser, Approximations(guided=0.5))
    after = row(lens("a red fox", "native", progress=False))
    assert before["identical"] and before["approximations"] == ""
    assert not after["identical"] and after["approximations"] == "guided=0.5"
    assert before["cell"] != after["cell"]


def test_an_intervention_is_named_and_never_identical(emoji):
    plain, kept = (
        emoji("a red fox", ["native"], interventions=changes, **FAST) for changes in ((), (Keep("fox"),))
    )
    assert row(plain)["identical"] and row(plain)["interventions"] == ""
    assert not row(kept)["identical"] and row(kept)["interventions"] == "keep(fox)"
    assert row(plain)["cell"] != row(kept)["cell"] and pixels(plain) != pixels(kept)


def test_edits_are_read_back_from_a_file(emoji, states, tmp_path):
    from diffusion_lens import LayerStates

    own = states["text_encoder"]
    edited = replace(own, states=own.states * 1.01)
    edited.save(tmp_path / "states.safetensors")
    again = LayerStates.load(tmp_path / "states.safetensors")
    assert again.edits(0) == edited.edits(0) != "" and own.edits(0) == ""


@pytest.mark.parametrize("kind", [torch.full, np.full])
def test_options_are_recorded_by_their_content(new_lens, kind):
    """Two arrays of many numbers look alike in text, and an image as text is its place in memory."""

    def recorded(value, option):
        options = {"cross_attention_kwargs": {"mask": option(value)}}
        sampler = Sampler(steps=1, options=options)
        return new_lens("sd").settings(sampler).columns()["options"]

    for option in (lambda value: kind((3, 64, 64), value), lambda value: Image.new("L", (8, 8), value)):
        assert recorded(1, option) == recorded(1, option) != recorded(2, option)
