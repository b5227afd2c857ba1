"""Models that are one file: loaded with the configs of a folder, or told how to go on."""

import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion_lens import DiffusionLens
from diffusion_lens.errors import (
    InputError,
    UnknownModelError,
    UnsafeCheckpointError,
    UnsupportedPipelineError,
)
from diffusion_lens.models.load import load_pipeline
from tests.conftest import build_lens, needs, tiny_sampler

# diffusers' names, and those that Stable Diffusion was published with; of two resolutions of one layer each
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.resnets.1": "middle_block.2",
    "mid_block.attentions.0": "middle_block.1",
}
VAE = {
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0": "mid.attn_1",
    "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "downsamplers.0": "downsample",
    "upsamplers.0": "upsample",
    "resnets": "block",
    "down_blocks": "down",
    "up_blocks.0": "up.1",
    "up_blocks.1": "up.0",
}


def renamed(name: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        name = re.sub(rf"(^|\.){re.escape(old)}(?=\.)", rf"\1{new}", name)
    return name


def as_published(name: str) -> str:
    """The published name of a weight of the denoiser."""
    found = re.match(
        r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", name
    )
    if found is None:
        return renamed(renamed(name, UNET), RESNET if "resnets" in name else {})
    way, block, kind, layer, rest = found.groups()
    last = kind.endswith("samplers")
    number = 2 * int(block) + (1 if last else int(layer))
    place = f"input_blocks.{number + 1}" if way == "down" else f"output_blocks.{number}"
    if kind == "downsamplers":
        return f"{place}.0.{renamed(rest, {'conv': 'op'})}"
    part = {"resnets": 0, "attentions": 1, "upsamplers": 2}[kind]
    return f"{place}.{part}.{renamed(rest, RESNET) if kind == 'resnets' else rest}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Stable Diffusion 1 as a folder, and beside it as the one file of the published layout."""
    place = tmp_path_factory.mktemp("models")
    pipe = build_lens("sd").pipeline
    pipe.save_pretrained(place / "sd")
    parts = {
        "model.diffusion_model.": {as_published(key): one for key, one in pipe.unet.state_dict().items()},
        "first_stage_model.": {renamed(key, VAE): one for key, one in pipe.vae.state_dict().items()},
        "cond_stage_model.transformer.text_model.": pipe.text_encoder.state_dict(),
    }
    weights = {
        f"{head}{key}": one.contiguous() for head, part in parts.items() for key, one in part.items()
    }
    save_file(weights, place / "model.safetensors")
    return place


@needs("diffusers", "0.40")
def test_it_draws_what_the_folder_draws(folder, tmp_path):
    configs = shutil.copytree(folder / "sd", tmp_path / "sd")
    for weights in configs.rglob("*.safetensors"):
        weights.unlink()
    one = DiffusionLens.from_pretrained(folder / "model.safetensors", config=str(configs))
    other = DiffusionLens.from_pretrained(folder / "sd")
    one.defaults = other.defaults = tiny_sampler("sd")
    made = one("a fox", [1], progress=False), other("a fox", [1], progress=False)
    assert np.array_equal(made[0].image(1), made[1].image(1))
    assert made[0].table["model"][0] == str(folder / "model.safetensors")


def test_a_file_without_named_configs_says_whose_it_needs(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UnknownModelError, match=r"needs the configs of stable-diffusion-v1-5/.*config="):
        load_pipeline(folder / "model.safetensors")
    save_file({"<cat>": torch.zeros(1, 32)}, tmp_path / "cat.safetensors")
    with pytest.raises(UnsupportedPipelineError, match="of no model that diffusers knows: it holds <cat>"):
        load_pipeline(tmp_path / "cat.safetensors")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("x.gguf", UnsupportedPipelineError, r"is GGUF.*DiffusionLens\(pipe\)"),
        ("x.ckpt", UnsafeCheckpointError, r"is a pickle, which can run any code.*allow_pickle=True"),
        ("x.png", UnsupportedPipelineError, r"is a file, and no checkpoint"),
        ("x.safetensors", UnsupportedPipelineError, r"is no whole safetensors file"),
    ],
)
def test_files_that_are_no_model(tmp_path, name, error, message):
    (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(error, match=message):
        load_pipeline(tmp_path / name)


def test_an_adapter_a_cut_file_and_a_missing_part(folder, tmp_path):
    weights = load_file(folder / "model.safetensors")
    save_file(
        {f"lora_{name}": one for name, one in list(weights.items())[:3]}, tmp_path / "lora.safetensors"
    )
    with pytest.raises(
        UnsupportedPipelineError, match=r"is a LoRA, which changes a model.*load_lora_weights"
    ):
        load_pipeline(tmp_path / "lora.safetensors")
    configs = shutil.copytree(folder / "sd", tmp_path / "sd")
    shutil.rmtree(configs / "text_encoder")
    save_file(
        {name: one for name, one in weights.items() if "cond_" not in name}, tmp_path / "x.safetensors"
    )
    with pytest.raises(
        UnsupportedPipelineError, match=r"has no text_encoder that fits.*text_encoder=CLIPText"
    ):
        load_pipeline(tmp_path / "x.safetensors", config=str(configs))


def test_options_that_are_for_another_kind_of_model(folder):
    with pytest.raises(InputError, match="config is for a model that is one file"):
        load_pipeline(folder / "sd", config=str(folder / "sd"))
    with pytest.raises(InputError, match="There is no option 'device_map' for loading this model"):
        load_pipeline(folder / "model.safetensors", config=str(folder / "sd"), device_map="cpu")
    with pytest.raises(InputError, match="device_map places the parts itself"):
        load_pipeline(folder / "sd", device_map="balanced", offload="model")


def test_a_class_that_is_never_one_file(folder, tmp_path):
    configs = shutil.copytree(folder / "sd", tmp_path / "sd")
    index = configs / "model_index.json"
    index.write_text(index.read_text().replace('"StableDiffusionPipeline"', '"KolorsPipeline"'))
    with pytest.raises(UnsupportedPipelineError, match="diffusers loads no KolorsPipeline from one file"):
        load_pipeline(folder / "model.safetensors", config=str(configs))


def test_pickles_beside_the_configs_are_refused(folder, tmp_path):
    configs = shutil.copytree(folder / "sd", tmp_path / "sd")
    (configs / "text_encoder" / "model.safetensors").rename(configs / "text_encoder" / "pytorch_model.bin")
    with pytest.raises(UnsafeCheckpointError, match=r"pytorch_model.bin is a pickle"):
        load_pipeline(folder / "model.safetensors", config=str(configs))
