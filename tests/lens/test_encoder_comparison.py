"""Two text encoders in one place: what differs, from which layer on, and in which words they are named."""

import copy
import shutil
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from diffusion_lens import Experiment, compare_encoders, run_sweep
from diffusion_lens.errors import EncoderError, ExperimentError, InputError, RunError
from diffusion_lens.figures.encoders import draw_encoders
from diffusion_lens.lens.result import Result
from diffusion_lens.models.encoder_variants import EncoderVariant
from diffusion_lens.models.replace_encoders import replace_encoders
from tests.command_line import run
from tests.conftest import clip_body, needs

PROMPT = "a red fox"


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """A fine-tuned encoder of the tiny pipeline, changed in block 3, and one LoRA in both of its forms."""
    from tests.conftest import build_lens

    folder = tmp_path_factory.mktemp("encoders")
    pipe = build_lens("sd").pipeline
    pipe.save_pretrained(folder / "model")
    tuned = copy.deepcopy(pipe.text_encoder)
    with torch.no_grad():
        clip_body(tuned).encoder.layers[2].mlp.fc1.weight.mul_(1.5)
    tuned.save_pretrained(folder / "tuned")
    torch.manual_seed(0)
    adapted = copy.deepcopy(pipe.text_encoder)
    adapted.add_adapter(
        LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=["q_proj", "v_proj"])
    )
    adapted.save_pretrained(folder / "peft")
    StableDiffusionPipeline.save_lora_weights(
        folder, text_encoder_lora_layers=get_peft_model_state_dict(adapted), weight_name="lora.safetensors"
    )
    return folder


def pixels(result, layer):
    return np.asarray(result.image(layer))


def test_layers_below_a_changed_block_are_equal_and_those_above_are_not(tiny_lens, encoders):
    lens = tiny_lens("sd")
    own = lens.pipeline.text_encoder
    # under guidance the encoder reads the negative prompt as well
    how = {"guidance": 1.0, "progress": False}
    layers = [2, 3, "native"]
    tuned = str(encoders / "tuned")
    compared = compare_encoders(lens, PROMPT, "own", tuned, layers, amount=1e-6, **how)
    table = compared.table.set_index("layer")
    assert (table.loc[:2, ["state_difference", "image_difference"]] == 0).all(axis=None)
    assert (table.loc[3:, ["state_difference", "image_difference"]] > 0).all(axis=None)
    assert compared.first_layer("state_difference") == compared.first_layer("image_difference") == 3
    assert "hidden states differ by more than 1e-06: layer 3 first" in compared.summary()
    assert lens.pipeline.text_encoder is own
    plain = lens(PROMPT, layers, **how)
    assert np.array_equal(pixels(compared.results[0], "native"), pixels(plain, "native"))
    assert compared.results[0].table["cell"].tolist() == plain.table["cell"].tolist()
    assert set(compared.results[1].table["cell"]).isdisjoint(plain.table["cell"])
    assert draw_encoders(compared.by_layer(), compared.names, compared.amount).axes
    assert compared.grid().height > compared.grid().width / 4


def test_what_parts_of_a_block_add_is_compared_and_not_the_layer(tiny_lens, encoders):
    lens, sites = tiny_lens("sd"), ["3.attn", "3.mlp", "native+3.mlp", 3]
    compared = compare_encoders(
        lens, PROMPT, "own", str(encoders / "tuned"), sites, amount=1e-6, guidance=1.0
    )
    differ = compared.by_layer().set_index("column")["state_difference"]
    # the MLP of block 3 is what was changed, after its attention
    assert differ["3.attn"] == 0 < differ["3"]
    one, other = (result.states["text_encoder"] for result in compared.results)
    mask = one.mask[0]
    first, second = (states.layer("3.mlp")[0][mask].double() for states in (one, other))
    assert differ["3.mlp"] == pytest.approx(float((first - second).norm() / first.norm()))
    assert len(set(differ)) == 4 and differ["native+3.mlp"] > 0


def test_the_state_difference_is_relative_to_the_first(tiny_lens):
    lens = tiny_lens("sd")
    doubled = copy.deepcopy(lens.pipeline.text_encoder)
    with torch.no_grad():
        clip_body(doubled).embeddings.token_embedding.weight.mul_(2)
        clip_body(doubled).embeddings.position_embedding.weight.mul_(2)
    compared = compare_encoders(lens, PROMPT, "own", doubled, [0], progress=False)
    assert compared.table["state_difference"].item() == pytest.approx(1.0)


def test_an_encoder_compared_with_itself_differs_nowhere(tiny_lens):
    compared = compare_encoders(
        tiny_lens("sdxl"), PROMPT, layers=[1], encoder="text_encoder_2", steps=1, progress=False
    )
    assert (compared.table[["state_difference", "image_difference"]] == 0).all(axis=None)
    assert compared.first_layer("image_difference") is None
    assert compared.names == ("own (A)", "own (B)")


def last_state(pipe, described):
    module = replace_encoders(pipe, {"text_encoder": described}).text_encoder
    with torch.no_grad():
        return module(torch.arange(8)[None]).last_hidden_state


def test_a_lora_changes_the_states_by_its_strength(tiny_lens, encoders):
    state = partial(last_state, tiny_lens("sd").pipeline)
    own, whole = state("own"), state(f"own+lora={encoders}/lora.safetensors")
    assert not torch.equal(own, whole)
    assert torch.equal(state(f"own+lora={encoders}/lora.safetensors*0"), own)


@needs("transformers", "5.1")
def test_a_lora_of_peft_is_that_of_diffusers(tiny_lens, encoders):
    state = partial(last_state, tiny_lens("sd").pipeline)
    whole = state(f"own+lora={encoders}/lora.safetensors")
    assert torch.equal(state(f"own+lora={encoders}/peft"), whole)
    assert torch.equal(state(f"own+lora={encoders}/peft*0"), state("own"))
    assert not torch.equal(state(f"own+lora={encoders}/peft*0.5"), whole)


def test_rounded_weights_are_those_of_the_type():
    from tests.conftest import build_lens

    pipe = build_lens("sd").pipeline
    weight = clip_body(pipe.text_encoder).encoder.layers[0].mlp.fc1.weight
    rounded = replace_encoders(pipe, {"text_encoder": "own+bfloat16"}).text_encoder
    assert torch.equal(clip_body(rounded).encoder.layers[0].mlp.fc1.weight, weight.bfloat16().float())
    eight = (
        clip_body(replace_encoders(pipe, {"text_encoder": "own+int8"}).text_encoder)
        .encoder.layers[0]
        .mlp.fc1.weight
    )
    gap = (eight - weight).abs().amax(1)
    assert (gap > 0).all() and (gap <= weight.abs().amax(1) / 127 * 0.51).all()


@pytest.mark.parametrize(
    ("text", "source", "changes"),
    [
        ("own", "own", ()),
        ("own+int8+lora=a+b/c.safetensors*0.5", "own", ("int8", "lora=a+b/c.safetensors*0.5")),
        ("owner/name+float16", "owner/name", ("float16",)),
    ],
)
def test_descriptions_are_read_as_they_are_written(text, source, changes):
    variant = EncoderVariant.parse(text)
    assert (variant.source, variant.changes) == (source, changes)
    assert str(variant) == text


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        ({"second": "own+int4"}, InputError, "'own\\+int4' describes no text encoder. Allowed: SOURCE"),
        ({"second": "own+lora=no.safetensors"}, InputError, "There is no LoRA no.safetensors"),
        ({"second": "nowhere"}, InputError, "'nowhere' holds no CLIPTextModel"),
        ({"second": "emoji-clip"}, InputError, "'emoji-clip' is an embedded model, .* Allowed: SOURCE"),
        ({"encoder": "text_encoder_2"}, EncoderError, "no encoder 'text_encoder_2'. It has: text_encoder"),
        ({"amount": 0.0}, InputError, "amount is 0.0; it is a difference above 0"),
    ],
)
def test_what_can_not_be_compared_is_refused(tiny_lens, wrong, kind, message):
    with pytest.raises(kind, match=message):
        compare_encoders(tiny_lens("sd"), PROMPT, **wrong)


def test_encoders_of_another_shape_are_refused(tiny_lens, tmp_path):
    from transformers import CLIPTextModel

    own = tiny_lens("sd").pipeline.text_encoder
    config = copy.deepcopy(own.config)
    config.num_hidden_layers += 1
    CLIPTextModel(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"of 5 blocks, .*has 4 blocks"):
        compare_encoders(tiny_lens("sd"), PROMPT, second=str(tmp_path), steps=0)  # before any step


def test_a_study_names_its_text_encoders_and_holds_to_them(tmp_path, encoders):
    model = str(encoders / "model")

    def study(**more):
        sampler = {"steps": 1, "height": 16, "width": 16}
        return Experiment.from_dict(
            {"model": model, "prompts": [PROMPT], "layers": ["native"], "sampler": sampler, **more}
        )

    rounded = study(text_encoders={"text_encoder": "own+int8"})
    run_sweep(rounded, tmp_path / "int8", progress=False)
    run_sweep(study(), tmp_path / "own", progress=False)
    tables = [Result.load(tmp_path / name).table for name in ("own", "int8")]
    assert [table["model"].item() for table in tables] == [model, f"{model}, text_encoder own+int8"]
    assert tables[0]["cell"].item() != tables[1]["cell"].item()
    assert tables[0]["image"].item() != tables[1]["image"].item()
    with pytest.raises(RunError, match=r"text_encoders was {'text_encoder': 'own\+int8'} and is {}"):
        run_sweep(study(), tmp_path / "int8", progress=False)
    with pytest.raises(ExperimentError, match="describes no text encoder"):
        study(text_encoders={"text_encoder": "own+int4"})


def test_the_command_writes_a_grid_numbers_and_a_figure(tmp_path, encoders):
    model = str(encoders / "model")
    out = tmp_path / "c"
    size = ("--steps", "1", "--height", "16", "--width", "16")
    beside = str(tmp_path / "grid.png")
    run("compare", PROMPT, "--model", model, "--layers", "0", "native", *size, "--out", beside)
    assert {one.name for one in tmp_path.iterdir() if one.is_file()} == {
        "grid.png",
        "grid.differences.csv",
        "grid.differences.png",
        "grid.images.parquet",
    }
    shown = run("compare", PROMPT, "--model", model, "--layers", "0", "native", *size, "--out", str(out))
    assert "images differ by more than 0.05" in shown.stdout
    assert pd.read_csv(out / "differences.csv")["column"].tolist() == ["0", "4, native"]
    assert set(pd.read_parquet(out / "images.parquet")["model"]) == {
        model,
        f"{model}, text_encoder own+int8",
    }
    assert {one.name for one in out.iterdir()} == {
        "grid.png",
        "differences.csv",
        "differences.png",
        "images.parquet",
    }


def test_weights_of_a_lora_that_get_lost_are_said(tiny_lens, encoders, tmp_path):
    pipe = tiny_lens("sd").pipeline
    shutil.copytree(encoders / "peft", tmp_path / "peft")
    weights = load_file(tmp_path / "peft" / "adapter_model.safetensors")
    renamed = {key.replace("layers.0", "layers.7"): value for key, value in weights.items()}
    save_file(renamed, tmp_path / "peft" / "adapter_model.safetensors")
    with pytest.raises(
        InputError,
        match=r"^\d+ of the \d+ weights of .*peft did not reach text_encoder, such",
    ):
        replace_encoders(pipe, {"text_encoder": f"own+lora={tmp_path}/peft"})
