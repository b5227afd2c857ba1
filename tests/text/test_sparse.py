"""Sparse features: a planted dictionary is found, a planted word is detected, and others are refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from diffusion_lens.analysis.feature_words import feature_words
from diffusion_lens.errors import InputError, LayerError
from diffusion_lens.lens.features import draw_features
from diffusion_lens.text.fit_sparse import CaptionStates, fit_sparse, read_captions
from diffusion_lens.text.reading import Reading
from diffusion_lens.text.sites import Site
from diffusion_lens.text.sparse import SparseFeatures, keep_largest
from tests.command_line import run

COLOURS, NAMES = ("red", "blue", "green", "pink"), ("fox", "car", "dog", "hat", "cat")
ENDS = ("now", "here", "there", "again", "today")
CAPTIONS = [f"a {colour} {name} {end}" for end in ENDS for name in NAMES for colour in COLOURS]


def planted(count: int = 4000, width: int = 24, words: int = 32, k: int = 2):
    """States that are sums of a few directions of a dictionary, each state a caption of its own."""
    draw = torch.Generator().manual_seed(1)
    dictionary = torch.nn.functional.normalize(torch.randn(words, width, generator=draw), dim=-1)
    chosen = torch.rand(count, words, generator=draw).topk(k).indices
    strength = torch.zeros(count, words).scatter(1, chosen, 1 + torch.rand(count, k, generator=draw))
    names = [f"w{chr(97 + i % 26)}{'x' * (i // 26)}" for i in range(words)]
    captions = tuple(f"{number} {' '.join(names[i] for i in row)} " for number, row in enumerate(chosen))
    own = torch.arange(count)
    states = 5 + 3 * strength @ dictionary
    return CaptionStates("text_encoder", "f", 3, captions, states, own, torch.ones_like(own)), dictionary


@pytest.fixture(scope="module")
def fitted() -> tuple[CaptionStates, torch.Tensor, SparseFeatures]:
    read, dictionary = planted()
    return read, dictionary, fit_sparse(read, 40, 2, steps=800, lr=1e-2)


def test_the_largest_values_above_zero_are_kept():
    values = torch.tensor([[3.0, -1.0, 2.0, 5.0], [-1.0, -2.0, 0.5, -3.0]])
    assert keep_largest(values, 2).tolist() == [[3.0, 0.0, 0.0, 5.0], [0.0, 0.0, 0.5, 0.0]]


def test_a_planted_dictionary_is_found_and_the_error_falls(fitted):
    read, dictionary, found = fitted
    nearest = (dictionary @ found.decode.T).amax(1)
    assert (nearest > 0.95).float().mean() > 0.9, nearest
    assert found.error < 0.1 < fit_sparse(read, 40, 2, steps=20).error
    assert ((found.activations(read.states) > 0).sum(-1) <= 2).all()
    torch.testing.assert_close(found.decode.norm(dim=-1), torch.ones(40))


def test_a_feature_of_a_planted_word_detects_it(fitted):
    read, dictionary, found = fitted
    table = feature_words(
        read.of_captions(found.activations(read.states)).numpy(), read.captions, read.held_out.numpy()
    ).set_index("feature")
    index = int((found.decode @ dictionary[0]).argmax())
    row = table.loc[index]
    assert row["word"] == "wa" and row["precision"] > 0.9 and row["recall"] > 0.9
    assert row["best_with_word"] == 3 and row["best_captions"].count("wa ") == 3
    with pytest.raises(InputError, match="No word is in 9000 of the captions"):
        feature_words(np.ones((4000, 1)), read.captions, read.held_out.numpy(), least=9000)


def test_a_direction_adds_its_own_feature_at_its_typical_strength(fitted):
    _, _, found = fitted
    one = int(found.typical.argmax())
    vector = found.direction(one).vector("text_encoder", "f", 3)
    active = found.activations(found.centre + vector)
    assert active.argmax() == one and active[one] == pytest.approx(float(found.typical[one]), rel=0.3)
    with pytest.raises(InputError, match="There is no feature 40; features are 0 to 39"):
        found.direction(40)


def test_a_file_gives_the_same_features_and_what_does_not_fit_is_refused(fitted, tiny_lens, tmp_path):
    read, _, found = fitted
    found.save(tmp_path / "features.safetensors")
    again = SparseFeatures.load(tmp_path / "features.safetensors")
    assert torch.equal(again.activations(read.states), found.activations(read.states))
    assert (again.layer, again.k, again.error) == (3, 2, found.error)
    (tmp_path / "cut").write_bytes((tmp_path / "features.safetensors").read_bytes()[:-9])
    for path in ("cut", "absent"):
        with pytest.raises(InputError, match="file of sparse features"):
            SparseFeatures.load(tmp_path / path)
    with pytest.raises(InputError, match=r"fingerprint f\), and not of text_encoder"):
        draw_features(tiny_lens("sd"), again, read, [0], tmp_path)
    with pytest.raises(InputError, match="can't be told from the 3200 states"):
        fit_sparse(read, 4000)
    with pytest.raises(InputError, match="can't be"):
        fit_sparse(read, 4, 5)
    few = replace(read, captions=("a", "b", "c", "d"), caption=read.caption % 4)
    with pytest.raises(InputError, match="Every 5th caption is held out for the error, and there are 4"):
        fit_sparse(few, 4, 2)
    with pytest.raises(LayerError, match="one whole layer"):
        read_captions(tiny_lens("sd").reader(), CAPTIONS[:5], "all")


@pytest.mark.parametrize("family", ["sd", "sdxl", "qwen-image"])
def test_states_of_a_captions_words_are_read_in_every_kind_of_encoder(tiny_lens, family):
    lens = tiny_lens(family)
    read = read_captions(lens.reader(), CAPTIONS[:3], 1)
    states = lens.encode(CAPTIONS[1], Reading(read.encoder, Site.parse("1")))[read.encoder]
    own = read.caption == 1
    assert torch.equal(read.states[own], states.layer(1)[0, read.place[own]].float())


def test_the_command_writes_words_images_and_directions(new_lens, tmp_path):
    new_lens("sd").pipeline.save_pretrained(tmp_path / "sd")
    (tmp_path / "captions.txt").write_text("\n".join(CAPTIONS))
    small = ("--captions", "captions.txt", "--number", "32", "--k", "4", "--fit-steps", "200")
    few = ("--model", "sd", "--steps", "1", "--guidance", "1", "--height", "16", "--width", "16")
    asked = ("features", "found", *small, *few, "--draw", "1", "--strength", "500", "--on", "a red dog")
    done = run(*asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    words = pd.read_csv(tmp_path / "found" / "features.csv")
    assert set(words["word"]) <= {*COLOURS, *NAMES, "now", "here"} and words["f1"].between(0, 1).all()
    assert "Off distribution: " in done.stderr
    (direction,) = (tmp_path / "found").glob("feature-*.safetensors")
    assert np.asarray(Image.open(tmp_path / "found" / "grid.png")).std() > 0
    change = f"steer({direction}, 5)"
    show = ("show", "a red dog", "--layers", "native", "--intervene", change, "--out", "s.png")
    steered = run(*show, *few, cwd=tmp_path)
    assert steered.returncode == 0, steered.stderr
    for wrong, message in (
        ((), "exists. Choose another path"),
        (("--overwrite", "--draw", "-1"), "-1 features can't be drawn"),
        (("--overwrite", "--layer", "3.attn"), "one whole layer"),
    ):
        refused = run(*asked, *wrong, cwd=tmp_path)
        assert refused.returncode == 2 and message in " ".join(refused.stderr.split()), refused.stderr
    for other in ("features.csv", "features.safetensors", "grid.png", "drawn.csv"):
        (tmp_path / "found" / other).unlink()
    refused = run(*asked, cwd=tmp_path)
    assert refused.returncode == 2 and f"{direction.name} exists" in " ".join(refused.stderr.split())
    assert direction.exists()
