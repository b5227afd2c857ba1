"""Latent inversion on the embedded model: what R reads, and what is made of it."""

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from diffusion_lens import DiffusionLens
from diffusion_lens.errors import InputError, OutputError, PromptError, UnknownModelError
from diffusion_lens.learning import editing
from diffusion_lens.learning.captioning import nearest_captions, write_captions
from diffusion_lens.learning.cycle import cycle_by_layer, measure_cycle, ranks
from diffusion_lens.learning.latent_inversion import LatentInversion, relative_error
from diffusion_lens.learning.refining import refine
from diffusion_lens.testbed.captions import imagine, parse
from diffusion_lens.testbed.scenes import render

cli = import_module("diffusion_lens.cli.latent")  # the package has a function of that name
SCENES = (
    "a blue car",
    "a dog at night",
    "a big purple tree on grass",
    "two cats",
    "a house to the left of a green horse",
)


def picture(caption: str) -> Image.Image:
    """A scene that a caption is true of."""
    stated = parse(caption)
    assert stated is not None
    return Image.fromarray(render(imagine(stated, 0)))


def nearest(inversion: LatentInversion, state: torch.Tensor, captions: list[str]) -> str:
    """The caption whose conditioning a state is nearest to."""
    return captions[int((inversion.encode(captions) - state).square().mean((1, 2)).argmin())]


def test_the_text_latent_is_the_pipelines_own(inversion: LatentInversion, emoji: DiffusionLens) -> None:
    states = inversion.encode(["a blue car", "a dog", "a blue car"])
    assert torch.equal(states[0], states[2])
    drawn = inversion.draw(states[:1], [3], steps=2)[0][0]
    assert drawn == emoji("a blue car", "native", 3, steps=2, progress=False).image("native", 3)


def test_an_image_that_overflowed_is_missing(inversion: LatentInversion) -> None:
    states = inversion.encode(["a blue car", "a dog"])
    states[0] = torch.nan
    (lost, lost_too), (dog, other) = inversion.draw(states, [0, 1], steps=1)
    assert lost is None and lost_too is None
    assert dog is not None and other is not None and dog != other


def test_images_are_read_as_what_they_show(inversion: LatentInversion) -> None:
    found, true = inversion.invert([picture(text) for text in SCENES]), inversion.encode(SCENES)
    assert (relative_error(found, true, inversion.mean) < 0.85).all()
    assert ranks(found, true, range(len(SCENES))) == [1] * len(SCENES)
    assert relative_error(inversion.mean[None], true[:1], inversion.mean).item() == pytest.approx(1)
    # of any size
    large = picture(SCENES[0]).resize((256, 256), Image.Resampling.NEAREST)
    assert torch.allclose(inversion.invert([large])[0], found[0], atol=1e-3)


def test_phrasing_does_not_count(inversion: LatentInversion) -> None:
    candidates = ["a green horse to the right of a house", "a horse above a house", "a dog at night"]
    best = nearest_captions(inversion, [picture(SCENES[4])], candidates, top=2)[0]
    assert best[0].text == candidates[0] and best[0].error < best[1].error
    with pytest.raises(PromptError, match="No caption to choose from"):
        nearest_captions(inversion, [picture(SCENES[0])], [])


def test_captions_are_written(inversion: LatentInversion) -> None:
    captions = write_captions(inversion, [picture(SCENES[0]), picture(SCENES[1])])
    assert [one.text for one in captions] == list(SCENES[:2])
    assert all(0 < one.error < 0.85 for one in captions)


def test_an_edit_changes_the_colour_and_keeps_the_rest(inversion: LatentInversion) -> None:
    before, after = "a blue car at night", "a red car at night"
    found = inversion.invert([picture(before)])[0]
    state = editing.shift(inversion, picture(before), before, after)
    others = [before, after, "a red car", "a red dog at night", "a red car on grass"]
    assert nearest(inversion, state, others) == after
    assert torch.allclose(editing.shift(inversion, picture(before), before, before), found, atol=1e-5)
    # the second token after the start is the colour's
    swapped = editing.swap(inversion, picture(before), before, after)
    assert torch.equal(swapped[2], inversion.encode(after)[0, 2])
    assert torch.equal(swapped[[0, 1, *range(3, 20)]], found[[0, 1, *range(3, 20)]])


def test_words_are_changed_or_refused(inversion: LatentInversion) -> None:
    assert editing.change_words("a blue car", [("blue", "red"), ("car", "dog")]) == "a red dog"
    with pytest.raises(PromptError, match="no word 'lue' in 'a blue car'"):
        editing.change_words("a blue car", [("lue", "red")])
    with pytest.raises(PromptError, match="as many words"):
        editing.swap(inversion, picture("a blue car"), "a blue car", "a car")


def test_one_picture_is_enough_for_a_subject(inversion: LatentInversion) -> None:
    state = editing.personalise(inversion, picture("a blue car"), "{} at night")
    others = [
        "a car at night",
        "a blue car at night",
        "a blue car",
        "a blue dog at night",
        "a red car at night",
    ]
    assert nearest(inversion, state, others) == "a blue car at night"
    assert editing.read_initialiser(inversion, [picture("a blue car")]) == "blue car"
    for prompt, subject, message in (
        ("a car", None, "once"),
        ("{} and {}", None, "once"),
        ("{} on grass", "a dog", "does not hold"),
    ):
        with pytest.raises(PromptError, match=message):
            editing.personalise(inversion, picture("a blue car"), prompt, subject)


def test_the_right_picture_closes_the_cycle_and_gradients_reach_it(inversion: LatentInversion) -> None:
    latents = inversion.latents([picture("a blue car")]).requires_grad_()
    right, wrong = (
        relative_error(inversion.inverter(latents), inversion.encode(text), inversion.mean).mean()
        for text in ("a blue car", "two fish")
    )
    assert right < 0.85 < wrong
    right.backward()
    assert latents.grad is not None and latents.grad.abs().max() > 0
    assert all(weight.grad is None for weight in inversion.inverter.parameters())


def test_the_cycle_is_measured_by_layer(inversion: LatentInversion) -> None:
    table = measure_cycle(inversion, ["a blue car", "a dog at night"], [0, "native"], [0, 1], steps=3)
    assert len(table) == 8 and set(table["rank"]) <= {1, 2} and set(table["candidates"]) == {2}
    assert (table["error"] > 0).all()


def test_a_cycle_of_missing_images_alone_has_missing_values() -> None:
    broken = LatentInversion.from_pretrained("emoji")
    broken.pipe.unet.conv_out.bias.data.fill_(torch.nan)
    table = measure_cycle(broken, ["a blue car", "a dog at night"], steps=2)
    assert len(table) == 2 and table[["error", "rank"]].isna().all(axis=None)


def test_missing_images_are_not_counted_as_far_off() -> None:
    measured = pd.DataFrame(
        {"layer": [0, 0, 0, 6], "error": [0.5, 0.7, np.nan, np.nan], "rank": [1, 2, np.nan, np.nan]}
    )
    found = cycle_by_layer(measured.assign(site=measured["layer"].astype(str), candidates=3))
    assert found["first"][0] == 0.5 and found["error"][0] == pytest.approx(0.6)
    assert found.loc[1, ["first", "error"]].isna().all() and set(found["candidates"]) == {3}


def test_refining_lowers_the_denoisers_error_and_leaves_the_model(inversion: LatentInversion) -> None:
    processors = dict(inversion.pipe.unet.attn_processors)
    before, after = refine(inversion, [picture("a blue car")], "mean", steps=(0, 6), lr=0.03)
    assert torch.equal(before.states[0], inversion.mean)
    assert after.errors.item() < before.errors.item()
    # R's guess is a better start than knowing nothing
    assert refine(inversion, [picture("a blue car")], steps=(0,))[0].errors.item() < before.errors.item()
    assert dict(inversion.pipe.unet.attn_processors) == processors
    assert all(weight.requires_grad for weight in inversion.pipe.unet.parameters())
    with pytest.raises(InputError, match="no start"):
        refine(inversion, [picture("a blue car")], "nowhere")


def test_an_inverter_belongs_to_its_model(inversion: LatentInversion, tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match=r"no inverter in .*emoji-clip"):
        LatentInversion.from_pretrained("emoji-clip")
    with pytest.raises(InputError, match=r"of another model: .* 20 tokens of 384"):
        LatentInversion(DiffusionLens.from_pretrained("emoji-clip"), inversion.inverter)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"broken")
    with pytest.raises(UnknownModelError, match="can't be read"):
        LatentInversion.from_pretrained("emoji", tmp_path)


# The command line


@pytest.fixture
def car(tmp_path: Path) -> Iterator[Path]:
    """A file of a blue car."""
    path = tmp_path / "car.png"
    picture("a blue car").save(path)
    yield path


def test_verbs(
    car: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    inversion: LatentInversion,
) -> None:
    monkeypatch.setattr(cli, "_load", lambda model, inverter: inversion)
    monkeypatch.setattr(inversion.lens, "defaults", replace(inversion.lens.defaults, steps=2))
    cli.caption((car,))
    cli.edit(car, ("blue=red",), car.with_name("edit.png"), refine_steps=1)
    own = car.with_name("own.png")
    cli.personalise(car, ("{} at night", "{} on grass"), own, refine_steps=1, seeds=(0, 1))
    cli.redraw((car,), car.with_name("again.png"), refine_steps=1)
    sites = ("6.head.3", "6")
    cli.cycle(("a blue car", "a dog"), car.with_name("cycle.csv"), layers=sites)
    other = car.parent / "other"
    other.mkdir()
    picture("a dog").save(other / car.name)
    cli.redraw((car, other / car.name), car.with_name("both.png"))
    with Image.open(car.with_name("again.png")) as one, Image.open(car.with_name("both.png")) as both:
        assert both.height > 1.5 * one.height  # a row of each, though their files have one name
    said = capsys.readouterr().out
    assert "a blue car" in said and "target  a red car" in said
    read_back = pd.read_csv(car.with_name("cycle.csv"), dtype={"site": str})
    means = read_back.groupby("site")["error"].mean()
    assert len(read_back) == 4 and means["6.head.3"] > means["6"]
    for site in sites:  # what a head adds is no part of the mean of its layer
        assert f"layer {site}: error {means[site]:.2f}, nearest of 2" in said
    for name in ("edit", "own", "again"):
        with Image.open(car.with_name(f"{name}.png")) as sheet:
            assert sheet.width > 300


def test_bad_input_is_reported_before_anything_is_loaded(car: Path, inversion: LatentInversion) -> None:
    out = car.with_name("out.png")
    (car.with_name("empty.txt")).write_text("\n")
    for call, message in (
        (lambda: cli.caption(()), "No image"),
        (lambda: cli.caption((car,), car.with_name("empty.txt")), "holds no captions"),
        (lambda: cli.caption((car,), top=0), "--top is 0"),
        (lambda: cli.caption((car.with_name("none.png"),)), "There is no image .*none.png. Check its path"),
        (lambda: cli.edit(car, ("blue",), out), "no change of words"),
        (lambda: cli.edit(car, ("blue=red",), car.with_name("out.txt")), "names no image"),
        (lambda: cli.personalise(car, (), out), "No prompt"),
        (lambda: cli.redraw((), out), "No image"),
        (lambda: cli.cycle(("a dog",), out), "two or more"),
    ):
        with pytest.raises(InputError, match=message):
            call()
    with pytest.raises(OutputError, match="exists"):
        cli.edit(car, ("blue=red",), car)
    with pytest.raises(InputError, match=r"can't be read as an image"):
        cli.redraw((car.with_name("empty.txt"),), out)
