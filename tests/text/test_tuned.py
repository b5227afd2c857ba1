"""The tuned readout: exact where the truth is affine, and the identity at the native layer."""

import numpy as np
import pytest
import torch

from diffusion_lens.errors import InputError, LayerError
from diffusion_lens.text.fit_tuned import _Sums, fit_tuned
from diffusion_lens.text.readouts import parse_readout
from diffusion_lens.text.tuned import TunedFile

DRAW = {"steps": 1, "guidance": 1.0, "progress": False}
COLOURS, NAMES = ("red", "blue", "green", "pink"), ("fox", "car", "dog")
CAPTIONS = [f"a {colour} {name}" for colour in COLOURS for name in NAMES]
BAD = [("tuned", "needs a file"), ("tuned:absent", "can't be read"), ("final:x", "no readout")]


@pytest.fixture(scope="module")
def fitted(emoji, tmp_path_factory):
    """A file of maps of the embedded model."""
    path = tmp_path_factory.mktemp("tuned") / "maps.safetensors"
    fit_tuned(emoji.reader(), CAPTIONS).save(path)
    return path


def test_an_affine_truth_is_found():
    torch.manual_seed(0)
    state, weight, bias = torch.randn(400, 6), torch.randn(3, 6), torch.randn(3)
    sums = _Sums()
    for part in state.split(37):
        sums.add(part, part @ weight.T + bias)
    found = sums.solve(1e-9)
    torch.testing.assert_close(found[0], weight, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1], bias, atol=1e-5, rtol=1e-4)


def test_the_maps_come_nearer_than_the_norm_alone(fitted):
    maps = TunedFile.load(fitted).encoders["text_encoder"]
    assert maps.layers == tuple(range(7)) and list(maps.weight) == [6]
    assert all(row["tuned"] < row["final"] for row in maps.errors[:6])
    assert maps.errors[6]["tuned"] == maps.errors[6]["final"] == 0


def test_the_native_layer_is_as_it_was_and_others_are_mapped(emoji, fitted):
    how = {"readout": f"tuned:{fitted}", **DRAW}
    tuned, plain = emoji("a red fox", [3, 6], **how), emoji("a red fox", [3, 6], **DRAW)
    assert np.array_equal(tuned.image(6), plain.image(6))
    assert not np.array_equal(tuned.image(3), plain.image(3))
    assert tuned.table["identical"].tolist() == [False, True]
    assert set(tuned.table["cell"]).isdisjoint(plain.table["cell"])
    (written,) = set(tuned.table["readout"])
    assert parse_readout(written) == parse_readout(f"tuned:{fitted}") and "#" in written


def test_several_native_layers_have_maps_each(tiny_lens, tmp_path):
    lens = tiny_lens("flux2-klein")
    reader = lens.reader(lens.settings().sampler.options)
    maps = fit_tuned(reader, CAPTIONS)
    maps.save(tmp_path / "maps.safetensors")
    for name, taps in lens.plan(**lens.settings().sampler.options).taps.items():
        assert sorted(maps.encoders[name].weight) == sorted(set(taps))
    table = lens("a red fox", 1, readout=f"tuned:{tmp_path / 'maps.safetensors'}", **DRAW).table
    assert table["missing"].isna().all()


def test_what_does_not_fit_is_refused(emoji, tiny_lens, fitted, tmp_path):
    with pytest.raises(InputError, match="Fit it again with this model"):
        tiny_lens("sd")("a red fox", 1, readout=f"tuned:{fitted}", **DRAW)
    with pytest.raises(LayerError, match=r"no map from 3\.attn"):
        emoji("a red fox", "3.attn", readout=f"tuned:{fitted}", **DRAW)
    other = tmp_path / "other.safetensors"
    other.write_bytes(fitted.read_bytes()[:-40])
    with pytest.raises(InputError, match="no whole file"):
        emoji("a red fox", 3, readout=f"tuned:{other}", **DRAW)
    digest = parse_readout(f"tuned:{fitted}").digest
    with pytest.raises(InputError, match="its digest is"):
        emoji("a red fox", 3, readout=f"tuned:{other}#{digest}", **DRAW)
    for written, words in BAD:
        with pytest.raises(InputError, match=words):
            parse_readout(written)
    with pytest.raises(InputError, match="at least 10 captions"):
        fit_tuned(emoji.reader(), CAPTIONS[:5])
    with pytest.raises(InputError, match="must be above 0"):
        fit_tuned(emoji.reader(), CAPTIONS, ridge=0.0)
