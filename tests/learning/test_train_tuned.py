"""Maps of a tuned readout, trained through the denoiser's loss: they alone change, and for the better."""

import pytest
import torch

from diffusion_lens.errors import InputError, UnsupportedPipelineError
from diffusion_lens.learning.train_tuned import (
    captioned_scenes,
    denoising_losses,
    read_captioned,
    train_tuned,
)
from diffusion_lens.text.fit_tuned import fit_tuned
from diffusion_lens.text.tuned import TunedFile

ENCODER, NATIVE = "text_encoder", 6


@pytest.fixture(scope="module")
def seen(emoji):
    """Ten scenes, as `emoji` reads them; two are held out."""
    texts, scenes = captioned_scenes(10)
    return read_captioned(emoji.reader(), scenes, texts)


@pytest.fixture(scope="module")
def trained(emoji, seen):
    """Maps that miss the native states by far, and those that were trained on from them."""
    fitted = fit_tuned(emoji.reader(), captioned_scenes(10)[0])
    bias = fitted.encoders[ENCODER].bias[NATIVE]
    bias[:NATIVE] += 2.0
    return fitted, train_tuned(fitted, seen, steps=8, batch=6, lr=1e-3)


def test_the_native_map_stays_and_all_others_and_nothing_else_change(emoji, trained):
    weights = {name: value.clone() for name, value in emoji.pipeline.unet.state_dict().items()}
    before, after = (one.encoders[ENCODER] for one in trained)
    for row, layer in enumerate(after.layers):
        same = torch.equal(before.weight[NATIVE][row], after.weight[NATIVE][row])
        assert same == (layer == NATIVE), layer
    assert not any(value.requires_grad for value in after.weight.values())
    found = emoji.pipeline.unet.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in weights.items())


def test_the_loss_of_scenes_that_were_held_out_falls(seen, trained):
    errors = trained[1].encoders[ENCODER].errors
    assert all(row["loss"] < row["loss_fitted"] for row in errors[:NATIVE])
    losses = denoising_losses(seen, {"none": None, "maps": trained[1].encoders[ENCODER]})
    assert losses["none"].shape == losses["maps"].shape == (7, len(seen.held_out)) == (7, 2)
    torch.testing.assert_close(losses["none"][NATIVE], losses["maps"][NATIVE])


def test_the_file_keeps_the_errors_and_is_read_as_a_readout(emoji, trained, tmp_path):
    path = tmp_path / "maps.safetensors"
    trained[1].save(path)
    found = TunedFile.load(path)
    rows = found.encoders[ENCODER].errors
    assert found.steps == 8 and len(rows) == 7
    assert rows[NATIVE]["loss"] == rows[NATIVE]["loss_fitted"] and rows[NATIVE]["tuned"] == 0
    table = emoji("a red fox", 3, readout=f"tuned:{path}", steps=1, guidance=1.0, progress=False).table
    assert table["missing"].isna().all()


def test_what_can_not_be_trained_is_refused(emoji, tiny_lens, seen, trained):
    texts, scenes = captioned_scenes(10)
    with pytest.raises(InputError, match="given were 10 images and 9 captions"):
        read_captioned(emoji.reader(), scenes, texts[:9])
    sdxl = tiny_lens("sdxl")
    with pytest.raises(InputError, match="reads more than one layer of one text encoder"):
        read_captioned(sdxl.reader(), scenes, texts)
    with pytest.raises(UnsupportedPipelineError):
        read_captioned(tiny_lens("pixart-alpha").reader(), scenes, texts)
    with pytest.raises(InputError, match="lr is 0"):
        train_tuned(trained[0], seen, lr=0.0)
