"""Weights in eight bits: how exact they are, and that they load as what they were."""

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from diffusion_lens.errors import InputError
from diffusion_lens.models.int8 import dequantize, is_quantized, load_denoiser, quantize
from diffusion_lens.testbed.export import store_in_eight_bits

WEIGHTS = {
    "conv.weight": torch.randn(8, 4, 3, 3, generator=torch.manual_seed(0)),
    "linear.weight": torch.randn(16, 64) * torch.logspace(-3, 1, 16)[:, None],
    "norm.bias": torch.tensor([1.0, -0.5, 0.0]),
}


def test_every_weight_is_within_half_a_step_of_its_row() -> None:
    found = dequantize(quantize(WEIGHTS))
    assert found.keys() == WEIGHTS.keys()
    for name in ("conv.weight", "linear.weight"):
        rows, error = WEIGHTS[name].flatten(1), (found[name] - WEIGHTS[name]).flatten(1)
        steps = rows.abs().amax(1) / 127
        # the scale itself is rounded to float16, at most 127 steps of 2^-11 of it
        assert (error.abs().amax(1) <= steps * (0.5 + 127 * 2**-11) + 1e-7).all()
        assert error.norm() / rows.norm() < 0.01
    assert torch.equal(found["norm.bias"], WEIGHTS["norm.bias"])


def test_rows_of_zeros_stay_zero_and_bytes_are_halved() -> None:
    stored = quantize({"w": torch.zeros(2, 3), "v": torch.randn(256, 256)})
    assert torch.equal(dequantize(stored)["w"], torch.zeros(2, 3))
    assert sum(value.nbytes for value in stored.values()) < 0.52 * 2 * (2 * 3 + 256 * 256) + 64


def denoiser(folder: Path) -> UNet2DConditionModel:
    """A tiny denoiser, saved in half precision."""
    torch.manual_seed(0)
    model = UNet2DConditionModel(
        sample_size=4,
        in_channels=2,
        out_channels=2,
        block_out_channels=(32,),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        cross_attention_dim=8,
        attention_head_dim=4,
    )
    model.half().save_pretrained(folder)
    return model.float()


def test_a_denoiser_loads_from_either_form(tmp_path: Path) -> None:
    model = denoiser(tmp_path / "half")
    store_in_eight_bits(tmp_path / "half", tmp_path / "small")
    assert is_quantized(load_file(tmp_path / "small" / "diffusion_pytorch_model.safetensors"))
    for folder, most in (("half", 0.0), ("small", 0.02)):
        found = load_denoiser(tmp_path / folder, torch.float32)
        assert found.config.attention_head_dim == 4 and not found.training
        for name, weight in model.state_dict().items():
            error = (found.state_dict()[name] - weight).norm() / weight.norm().clamp_min(1e-6)
            assert error <= most
    assert load_denoiser(tmp_path / "small", torch.bfloat16).dtype == torch.bfloat16


def test_plain_diffusers_takes_no_integers_for_weights(tmp_path: Path) -> None:
    denoiser(tmp_path / "half")
    store_in_eight_bits(tmp_path / "half", tmp_path / "small")
    stored = load_file(tmp_path / "small" / "diffusion_pytorch_model.safetensors")
    names = UNet2DConditionModel.from_config(
        UNet2DConditionModel.load_config(tmp_path / "small")
    ).state_dict()
    assert not [name for name, value in stored.items() if name in names and not value.is_floating_point()]
    with pytest.raises(InputError, match="stored in eight bits already"):
        store_in_eight_bits(tmp_path / "small", tmp_path / "smaller")
