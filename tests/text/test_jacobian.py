"""The Jacobian lens: it is the mean derivative, and a published one is read without running code."""

import pytest
import torch

from diffusion_lens.errors import EncoderError, InputError, LayerError
from diffusion_lens.lens.words import say_layers
from diffusion_lens.text.fit_jacobian import fit_jacobian
from diffusion_lens.text.state_maps import StateMaps
from tests.conftest import build_lens

CAPTIONS = ["a red fox", "a blue car", "two dogs", "a cat", "a pig"]  # the fifth is held out
NAME = "text_encoder"


@pytest.fixture(scope="module")
def lens():
    """A tiny pipeline whose text encoder is a language model, with its head."""
    built = build_lens("z-image")
    built.conditioner.encoders[NAME].module.config.tie_word_embeddings = True
    return built


@pytest.fixture(scope="module")
def fitted(lens, tmp_path_factory):
    """A file of its Jacobian lens."""
    path = tmp_path_factory.mktemp("jacobian") / "lens.safetensors"
    fit_jacobian(lens.reader(), CAPTIONS).save(path)
    return path


def save(path, matrices, **more):
    """A file as the package jlens writes it."""
    torch.save({"J": matrices, "n_prompts": 1, "source_layers": sorted(matrices), **more}, path)
    return path


def test_a_map_is_the_mean_change_of_the_last_layer(lens, fitted):
    reader, encoder = lens.reader(), lens.conditioner.encoders[NAME]
    maps = StateMaps.load(fitted, encoder)
    layer, step = 1, 0.01
    torch.manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(len(maps.bias[0])), dim=0)

    def last(text, edits=None):
        seen = lens.conditioner.capture(text, {NAME: [encoder.depth]}, reader.options, edits=edits)[NAME]
        return seen, encoder.batch_first(seen.states[encoder.depth])[0]

    changed, count = torch.zeros_like(direction), 0
    for text in CAPTIONS[:4]:
        seen, before = last(text)
        ids = seen.input_ids[0].tolist()
        own = list(reader.find_places(NAME, text, ids, [True] * len(ids)).content())
        for token in own:

            def move(state, at, _, token=token):
                moved = state.clone()
                if at == layer:
                    moved[:, token] += step * direction
                return moved

            changed += (last(text, {NAME: {"": move}})[1] - before)[own].sum(0) / step
            count += 1
    torch.testing.assert_close(maps.weight[layer] @ direction, changed / count, atol=0.02, rtol=0.05)
    assert torch.equal(maps.weight[encoder.depth], torch.eye(len(direction)))


def test_states_are_said_through_maps(lens, fitted, tmp_path):
    encoder = lens.conditioner.encoders[NAME]
    asked = {"layers": [1, encoder.depth], "tokens": "fox", "k": 3}
    plain = say_layers(lens, "a red fox", **asked)
    through = say_layers(lens, "a red fox", through=fitted, **asked)
    assert plain["said"].iloc[1] == through["said"].iloc[1], "at the last layer there is nothing to map"
    assert plain["scores"].iloc[0] != through["scores"].iloc[0]
    assert set(through["by"]) == {"head through lens.safetensors"}
    width = encoder.module.get_input_embeddings().weight.shape[-1]
    same = save(tmp_path / "same.pt", {block: torch.eye(width) for block in range(encoder.depth - 1)})
    said = say_layers(lens, "a red fox", through=same, **{**asked, "layers": [1]})
    assert said["said"].tolist() == plain["said"].tolist()[:1], "block 0 gives layer 1"


class Code:
    """What a pickle may run when it is read."""

    def __reduce__(self):
        return print, ("ran",)


def test_what_does_not_fit_is_refused(lens, emoji, fitted, tmp_path, capsys):
    encoder = lens.conditioner.encoders[NAME]
    width = encoder.module.get_input_embeddings().weight.shape[-1]
    asked = {"layers": [0], "tokens": "fox"}
    one = save(tmp_path / "one.pt", {1: torch.eye(width)})
    with pytest.raises(LayerError, match=r"no map from 0; it has layers \[2\]"):
        say_layers(lens, "a red fox", through=one, **asked)
    for matrices in ({0: torch.eye(width + 1)}, {encoder.depth: torch.eye(width)}):
        other = save(tmp_path / f"{len(matrices[min(matrices)])}-{min(matrices)}.pt", matrices)
        with pytest.raises(InputError, match="Give the lens of this encoder"):
            StateMaps.load(other, encoder)
    save(
        tmp_path / "one.pt", {0: torch.eye(width), 1: torch.eye(width)}
    )  # fitted anew, under the same name
    assert sorted(StateMaps.load(one, encoder).weight) == [1, 2]
    evil = save(tmp_path / "evil.pt", {1: torch.eye(width)}, more=Code())
    with pytest.raises(InputError, match="more than tensors and numbers"):
        StateMaps.load(evil, encoder)
    assert "ran" not in capsys.readouterr().out
    with pytest.raises(InputError, match="no file of a published Jacobian lens"):
        StateMaps.load(tmp_path / "absent.pt", encoder)
    with pytest.raises(InputError, match="Leave the maps out"):
        say_layers(lens, "a red fox", through=fitted, by="nearest", **asked)
    with pytest.raises(EncoderError, match="no vocabulary head"):
        say_layers(emoji, "a red fox", through=fitted, **asked)
    with pytest.raises(EncoderError, match="has a vocabulary head"):
        fit_jacobian(emoji.reader(), CAPTIONS)
    with pytest.raises(InputError, match="at least 5 captions"):
        fit_jacobian(lens.reader(), CAPTIONS[:2])
