"""One door: embedded names, folders, hub ids; what is unsafe or unknown is refused in one message."""

import json
import shutil

import gguf
import numpy as np
import pytest
import torch

from diffusion_lens import DiffusionLens, examine
from diffusion_lens.errors import (
    InputError,
    UnknownModelError,
    UnsafeCheckpointError,
    UnsupportedPipelineError,
)
from diffusion_lens.models import embedded_encoders
from diffusion_lens.models.digest_parts import digest_module
from diffusion_lens.models.embedded import find_minilm
from diffusion_lens.models.load import load_pipeline
from tests.conftest import build_lens, tiny_sampler


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "sd"
    build_lens("sd").pipeline.save_pretrained(folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "sd")


def test_the_embedded_model_passes_every_self_check(emoji):
    checks = examine(emoji)
    assert [f"{one.name}: {one.found} {one.error}" for one in checks if not one.passed] == []


def test_a_missing_encoder_of_the_embedded_model_is_one_message(monkeypatch, tmp_path):
    monkeypatch.setattr(embedded_encoders, "_MINILM_DISTRIBUTION", "not-installed")
    monkeypatch.setattr(embedded_encoders, "_MINILM_HUB", str(tmp_path / "nowhere" / "at" / "all"))
    with pytest.raises(UnknownModelError, match=r"pip install 'diffusion-lens\[emoji\]'"):
        embedded_encoders.find_minilm.__wrapped__()


def test_the_embedded_encoder_is_the_pretrained_one_and_is_checked():
    assert (find_minilm() / "vocab.txt").is_file()


def test_a_folder_is_the_live_pipeline_it_was_saved_from(saved, tiny_lens):
    lens = DiffusionLens.from_pretrained(saved)
    lens.defaults = tiny_sampler("sd")
    one = lens("a fox", [1], progress=False)
    other = tiny_lens("sd")("a fox", [1], progress=False)
    assert np.array_equal(one.image(1), other.image(1))
    assert one.table["model"][0] == str(saved)
    assert next(lens.pipeline.unet.parameters()).dtype == torch.float32


def test_the_dtype_can_be_chosen(saved):
    pipe = load_pipeline(saved, dtype="bfloat16")
    assert pipe.unet.dtype == pipe.text_encoder.dtype == torch.bfloat16
    with pytest.raises(InputError, match=r"'int3' is no dtype. Allowed: float32, bfloat16, float16"):
        load_pipeline(saved, dtype="int3")


def test_a_bfloat16_lens_passes_within_its_tolerance(saved):
    lens = DiffusionLens.from_pretrained(saved, dtype="bfloat16")
    lens.defaults = tiny_sampler("sd")
    checks = examine(lens)
    assert [f"{one.name}: {one.found} {one.error}" for one in checks if not one.passed] == []


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "nonsense",
            "There is no model 'nonsense': it is no embedded model, no folder here, and no hub id",
        ),
        ("nobody/nothing", "There is no pipeline 'nobody/nothing' in this machine's cache or within reach"),
    ],
)
def test_an_unknown_model_is_told_the_embedded_ones(model, message):
    with pytest.raises(UnknownModelError, match=message) as error:
        load_pipeline(model)
    assert "Embedded models: emoji" in str(error.value)


def test_a_folder_that_is_no_pipeline(tmp_path, copy):
    with pytest.raises(UnsupportedPipelineError, match=r"is a folder without model_index\.json"):
        load_pipeline(tmp_path)
    for text in ("{ cut of", "[" * 200_000):
        (copy / "model_index.json").write_text(text)
        with pytest.raises(UnsupportedPipelineError, match="can't be read as a pipeline's description"):
            load_pipeline(copy)
    for name in ("logging", "models", "__version__"):  # of diffusers, and no class
        (copy / "model_index.json").write_text(f'{{"_class_name": "{name}"}}')
        with pytest.raises(UnsupportedPipelineError, match=f"'{name}' names no pipeline class"):
            load_pipeline(copy)


def test_a_cut_checkpoint_is_one_message(copy):
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UnsupportedPipelineError, match="can't be loaded: OSError"):
        load_pipeline(copy)


def test_pickles_are_refused_unless_allowed(copy):
    from safetensors.torch import load_file

    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_name("diffusion_pytorch_model.bin"))
    weights.unlink()
    with pytest.raises(UnsafeCheckpointError, match=r"Pickles can run any code; .* --allow-pickle"):
        load_pipeline(copy)
    assert load_pipeline(copy, allow_pickle=True).unet is not None


def test_remote_code_is_refused_unless_allowed(copy):
    index = json.loads((copy / "model_index.json").read_text())
    index["_class_name"] = ["my_pipeline", "MyPipeline"]
    (copy / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(
        UnsafeCheckpointError, match=r"code of its own \(my_pipeline\).*trust_remote_code=True"
    ):
        load_pipeline(copy)


def test_devices_and_offloads_that_are_not_there(saved, untyped):
    with pytest.raises(InputError, match="Device 'warp' can't be used"):
        load_pipeline(saved, device="warp")
    with pytest.raises(InputError, match="'half' is no offload"):
        load_pipeline(saved, offload="half")
    with pytest.raises(InputError, match="there is none; leave it out"):
        load_pipeline(saved, device="cpu", offload="model")


def test_options_that_would_be_dropped_without_a_word_are_refused(saved):
    with pytest.raises(InputError, match="There is no option 'offlaod' for loading this model"):
        load_pipeline(saved, offlaod="model")
    with pytest.raises(InputError, match="There is no option 'vae' for loading this model"):
        load_pipeline("emoji", vae=None)
    assert load_pipeline(saved, vae=None).vae is None


def test_an_unknown_class_is_refused_before_its_weights_are_read(copy):
    index = copy / "model_index.json"
    index.write_text(index.read_text().replace('"StableDiffusionPipeline"', '"DDPMPipeline"'))
    shutil.rmtree(copy / "unet")
    with pytest.raises(UnsupportedPipelineError, match="DDPMPipeline takes no text"):
        load_pipeline(copy)


def test_a_cut_encoder_and_a_missing_part_are_no_pickles(copy):
    weights = copy / "text_encoder" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:500])
    with pytest.raises(UnsupportedPipelineError, match="can't be loaded"):
        load_pipeline(copy)
    weights.write_bytes(whole)
    (copy / "unet" / "config.json").unlink()
    with pytest.raises(UnsupportedPipelineError, match="can't be loaded"):
        load_pipeline(copy)


def test_the_file_of_smollm2_is_parsed_once(monkeypatch):
    made = []

    class Reader(gguf.GGUFReader):
        def __init__(self, path):
            made.append(path)
            super().__init__(path)

    monkeypatch.setattr(gguf, "GGUFReader", Reader)
    tokenizer, model = embedded_encoders.load_smollm2(8)
    assert len(made) == 1 and gguf.GGUFReader is Reader
    assert tokenizer("a red fox").input_ids == [1, 81, 2382, 16438]  # <|im_start|>, a, red, fox
    assert len(model.layers) == embedded_encoders.SMOLLM2_BLOCKS and model.config.hidden_size == 576
    # as when all blocks were loaded and the last half taken off
    assert digest_module(model) == "009dd4252d4967c8"
