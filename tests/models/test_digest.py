"""Two models with one digest draw the same: whatever changes an image changes the digest of its part."""

import json
import shutil

import accelerate
import peft
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import nn

from diffusion_lens.models import digest_cache, digest_parts
from diffusion_lens.models.digest import ModelDigest, digest_pipeline
from diffusion_lens.models.digest_parts import digest_module, digest_tensor
from diffusion_lens.models.digest_text import digest_tokenizer
from diffusion_lens.models.load import load_pipeline
from diffusion_lens.testing import FAMILIES


@pytest.fixture
def pipe():
    return FAMILIES["sd"].build()


def changed(pipe, before):
    return digest_pipeline(pipe).differences(before)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_digest_is_that_of_another_copy_and_survives_drawing(family):
    pipe, other = FAMILIES[family].build(), FAMILIES[family].build()
    before = digest_pipeline(pipe)
    call = dict(FAMILIES[family].call)
    pipe(prompt="a red fox", **call)
    assert changed(pipe, before) == () == digest_pipeline(other).differences(before)


@pytest.mark.parametrize("family", ["sd", "sd3", "flux2-klein", "pixart-sigma"])
def test_saving_a_pipeline_leaves_its_digest(family, tmp_path):
    """Saving writes names of classes into the configs, which are no other picture."""
    pipe = FAMILIES[family].build()
    before = digest_pipeline(pipe)
    pipe.save_pretrained(tmp_path)
    assert changed(pipe, before) == ()


def test_it_is_written_and_read_as_text(pipe):
    digest = digest_pipeline(pipe)
    assert ModelDigest.parse(str(digest)) == digest
    assert str(digest).startswith("pipeline=") and "text_encoder=" in str(digest)
    with pytest.raises(ValueError, match="'nothing' is no digest of a model"):
        ModelDigest.parse("nothing")


def test_a_few_rows_of_the_vocabulary(pipe):
    before = digest_pipeline(pipe)
    with torch.no_grad():
        pipe.text_encoder.get_input_embeddings().weight[200] += 1
    assert changed(pipe, before) == ("text_encoder",)


def test_where_a_model_lies_does_not_count(pipe, tmp_path):
    """A run begun in one folder or on one machine is resumed in another."""
    pipe.save_pretrained(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "elsewhere" / "two")
    one, two = (load_pipeline(str(tmp_path / name)) for name in ("one", "elsewhere/two"))
    assert str(digest_pipeline(one)) == str(digest_pipeline(two))


def test_what_is_written_behind_the_count_of_torch(pipe):
    """As averages of weights and merged adapters are, through `.data`."""
    weight = pipe.text_encoder.get_input_embeddings().weight
    own, before = weight.data.clone(), digest_pipeline(pipe)
    weight.data += 1
    assert changed(pipe, before) == ("text_encoder",)
    weight.data.copy_(own)
    assert changed(pipe, before) == ()


def test_any_one_number_and_any_order_of_rows():
    torch.manual_seed(0)
    weight = torch.randn(700, 3000)
    seen = {digest_tensor(weight)}
    for place in [(0, 0), (350, 1500), (699, 2999), (123, 2)]:
        other = weight.clone()
        other[place] += 1e-6 + other[place].abs() * 1e-6
        seen.add(digest_tensor(other))
    seen.add(digest_tensor(weight[torch.randperm(700)]))
    seen.add(digest_tensor(weight[:, torch.randperm(3000)]))
    seen.add(digest_tensor(weight.reshape(3000, 700)))
    seen.add(digest_tensor(weight.double()))
    assert len(seen) == 9
    assert digest_tensor(weight.T.contiguous().T) == digest_tensor(weight)  # the layout does not count


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "int8", "bool", "complex64"])
def test_numbers_of_every_type(dtype):
    one = torch.arange(300).remainder(7).to(getattr(torch, dtype))
    other = one.clone()
    other[250] = 1 - one[250].float() if dtype == "float8_e4m3fn" else ~one[250] if dtype == "bool" else 9
    assert digest_tensor(one) == digest_tensor(one.clone())
    assert digest_tensor(one) != digest_tensor(other)


def test_buffers_and_numbers_that_a_forward_pass_reads(pipe):
    before = digest_pipeline(pipe)
    (places,) = (one for name, one in pipe.text_encoder.named_buffers() if name.endswith("position_ids"))
    places[0, 3] = 1
    assert changed(pipe, before) == ("text_encoder",)
    before = digest_pipeline(pipe)
    pipe.vae.decoder.mid_block.attentions[0].rescale_output_factor = 2.0
    assert changed(pipe, before) == ("vae",)
    pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)
    assert changed(pipe, before) == ("unet", "vae")


@pytest.mark.parametrize(
    "change",
    [
        {"timestep_spacing": "trailing"},
        {"prediction_type": "v_prediction"},
        {"rescale_betas_zero_snr": True},
    ],
)
def test_the_scheduler_s_config(pipe, tmp_path, change):
    pipe.save_pretrained(tmp_path)
    before = digest_pipeline(DiffusionPipeline.from_pretrained(tmp_path, safety_checker=None))
    file = tmp_path / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    again = DiffusionPipeline.from_pretrained(tmp_path, safety_checker=None)
    assert changed(again, before) == ("scheduler",)


def test_a_tokenizer_s_merges_special_tokens_and_sides(pipe):
    before = digest_tokenizer(pipe.tokenizer)
    pipe.tokenizer("a fox", padding="max_length", truncation=True, max_length=9)
    assert digest_tokenizer(pipe.tokenizer) == before  # a call's own padding is not its setting
    pipe.tokenizer.padding_side = "left"
    assert digest_tokenizer(pipe.tokenizer) != before
    other = FAMILIES["sd"].build().tokenizer
    fields = json.loads(other.backend_tokenizer.to_str())
    fields["model"]["merges"] = fields["model"]["merges"][:3]
    other._tokenizer = type(other.backend_tokenizer).from_str(json.dumps(fields))
    assert digest_tokenizer(other) != before


def test_settings_of_the_pipeline_itself():
    pipe = FAMILIES["sdxl"].build()
    before = digest_pipeline(pipe)
    pipe.register_to_config(force_zeros_for_empty_prompt=False)
    assert changed(pipe, before) == ("pipeline",)


def test_adapters_and_their_strength(pipe):
    before = digest_pipeline(pipe)
    config = peft.LoraConfig(
        r=2, lora_alpha=8, init_lora_weights=False, target_modules=["q_proj", "v_proj"]
    )
    pipe.text_encoder.add_adapter(config)
    with_lora = digest_pipeline(pipe)
    assert with_lora.differences(before) == ("text_encoder",)
    for layer in pipe.text_encoder.modules():
        if hasattr(layer, "scaling"):
            layer.set_scale("default", 0.2)
    scaled = digest_pipeline(pipe)
    assert scaled.differences(with_lora) == ("text_encoder",)
    pipe.text_encoder.disable_adapters()
    assert digest_pipeline(pipe).differences(scaled) == ("text_encoder",)


def test_where_and_how_a_model_runs_does_not_count(pipe):
    before = digest_pipeline(pipe)
    accelerate.cpu_offload(pipe.text_encoder, torch.device("cpu"))
    pipe.unet.train()
    pipe.unet.enable_gradient_checkpointing()
    pipe.unet = torch.compile(pipe.unet, backend="eager")
    pipe.vae.compile(backend="eager")
    pipe.vae.to(memory_format=torch.channels_last)
    assert changed(pipe, before) == ()


class Hidden(torch.Tensor):
    """A tensor subclass that refuses every operation, as quantised weights refuse many."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if any(name in str(func) for name in ("detach", "requires_grad_", "__get__")):
            return super().__torch_function__(func, types, args, kwargs or {})
        raise NotImplementedError(f"{func} of hidden numbers")


def test_weights_of_a_tensor_subclass():
    one, other = nn.Linear(4, 4), nn.Linear(4, 4)
    other.load_state_dict(one.state_dict())
    for module in (one, other):
        module.weight = nn.Parameter(module.weight.detach().as_subclass(Hidden), requires_grad=False)
    assert digest_module(one) == digest_module(other)
    other.weight.as_subclass(torch.Tensor).data[3, 3] += 1
    assert digest_module(one) != digest_module(other)


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Load a saved pipeline; weights of any size are kept in a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digest_cache, "_SMALLEST", 0)
    FAMILIES["sd"].build().save_pretrained(tmp_path / "sd")
    return lambda: load_pipeline(tmp_path / "sd")


def kept(tmp_path):
    return sorted((tmp_path / "cache/diffusion_lens/digests").iterdir())


def test_weights_loaded_from_disk_are_hashed_once_for_all_processes(loaded, tmp_path, monkeypatch):
    first = digest_pipeline(loaded())
    assert first == digest_pipeline(DiffusionPipeline.from_pretrained(tmp_path / "sd"))
    assert len(kept(tmp_path)) == 3
    with monkeypatch.context() as nothing_is_hashed:
        nothing_is_hashed.setattr(digest_parts, "digest_tensor", None)
        assert digest_pipeline(loaded()) == first
    pipe = loaded()
    with torch.no_grad():
        pipe.vae.decoder.conv_out.bias += 1
    assert changed(pipe, first) == ("vae",)


def test_other_files_and_damaged_entries_are_hashed_again(loaded, tmp_path, monkeypatch):
    first = digest_pipeline(loaded())
    for entry in kept(tmp_path):
        entry.write_text(entry.read_text()[:30] + "0" + entry.read_text()[31:])
    assert digest_pipeline(loaded()) == first and len(kept(tmp_path)) == 3
    file = tmp_path / "sd/unet/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["conv_in.weight"].view(-1)[40] += 1  # none of the numbers that the key holds
    save_file(weights, file, {"format": "pt"})
    assert changed(loaded(), first) == ("unet",) and len(kept(tmp_path)) == 4
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # nothing can be written there
    assert changed(loaded(), first) == ("unet",)
