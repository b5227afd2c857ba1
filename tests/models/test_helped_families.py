"""Families that take help to encode or to draw: FIBO, Cosmos, Ideogram 4, Stable Cascade, GLM-Image."""

import json
import sys

import numpy as np
import pytest
import torch
from diffusers.pipelines.ideogram4.pipeline_ideogram4 import QWEN3_VL_ACTIVATION_LAYERS

from diffusion_lens import DiffusionLens, Sampler
from diffusion_lens.errors import PromptError, SamplerError, UnsupportedPipelineError
from diffusion_lens.lens.tolerance import pairs
from diffusion_lens.models.pipelines import PIPELINES
from diffusion_lens.models.replace_encoders import replace_encoders
from diffusion_lens.models.tokens import align_prompt
from diffusion_lens.testing import FAMILIES
from diffusion_lens.testing.cosmos import REFUSED, SafetyChecker
from diffusion_lens.text.embeddings import initial_embedding

PROMPT = "a red fox"
QUOTED = 'a street sign that says "open" at night'


def pixels(result, layer, seed=0):
    return np.asarray(result.image(layer, seed=seed))


@pytest.mark.parametrize(
    "family", [one for one in ("fibo", "ideogram4", "stable-cascade", "glm-image") if one in FAMILIES]
)
def test_no_encoder_is_asked_once_its_states_are_kept(new_lens, family):
    lens = new_lens(family)
    reader = lens.reader(lens.defaults.options)
    readings = lens.readings([0, "native"], reader=reader)
    states = reader.encode([PROMPT], readings)
    own = [reader.condition(states, reading) for reading in readings]
    lens.conditioner.stub_encoders()
    for reading, before in zip(readings, own, strict=True):
        after = reader.condition(states, reading)
        assert list(after) == list(before)
        for name in after:
            for one, other in pairs(after, before, name):
                assert torch.equal(one, other)
    released = new_lens(family)
    drawn = released(PROMPT, [0, "native"], guidance=3.0, release_encoders=True, progress=False)
    assert drawn.table["missing"].isna().all()
    assert all(getattr(released.pipeline, name) is None for name in lens.conditioner.slots)


def test_fibo_is_padded_to_a_negative_prompt_that_is_longer(tiny_lens):
    lens, negative = tiny_lens("fibo"), "blue and yellow and green at night on the beach"
    given = {"guidance_scale": 3.0, "negative_prompt": negative, "joint_attention_kwargs": {}}
    call = {**FAMILIES["fibo"].call, **given, "output_type": "np"}
    plain = lens.pipeline(prompt=PROMPT, generator=torch.Generator().manual_seed(0), **call).images[0]
    options = {"joint_attention_kwargs": {}}
    drawn = lens(PROMPT, "native", guidance=3.0, negative_prompt=negative, progress=False, **options)
    assert np.array_equal(pixels(drawn, "native"), (plain * 255).round().astype("uint8"))
    assert options == {"joint_attention_kwargs": {}}  # into which the pipeline writes its mask


@pytest.mark.parametrize("family", ["cosmos2.5", "cosmos2"])
def test_cosmos_refuses_what_its_safety_checker_refuses(tiny_lens, family):
    lens, prompt = tiny_lens(family), f"a {REFUSED}"
    with pytest.raises(ValueError, match="detected unsafe text"):
        lens.pipeline(prompt=prompt, **FAMILIES[family].call)
    with pytest.raises(
        PromptError, match=f"The safety checker of this Cosmos.* refuses the prompt '{prompt}'"
    ):
        lens(prompt, "native", progress=False)


def test_cosmos_says_that_its_mask_of_padding_needs_torchvision(new_lens, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    lens = new_lens("cosmos2")
    lens.pipeline.transformer.register_to_config(concat_padding_mask=True)
    with pytest.raises(UnsupportedPipelineError, match="needs torchvision, which is not installed"):
        lens(PROMPT, "native", progress=False)


def test_cosmos_says_that_its_safety_checker_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cosmos_guardrail", None)
    pipe = FAMILIES["cosmos2"].build()
    pipe.register_modules(safety_checker=None)
    pipe.save_pretrained(tmp_path)
    said = r"needs a package that is not here \((`?cosmos_guardrail`? is not|import of cosmos_guardrail)"
    with pytest.raises(UnsupportedPipelineError, match=said):
        DiffusionLens.from_pretrained(tmp_path)
    given = DiffusionLens.from_pretrained(tmp_path, safety_checker=SafetyChecker())
    with pytest.raises(PromptError, match="The safety checker of this Cosmos"):
        given(f"a {REFUSED}", "native", progress=False)
    index = tmp_path / "model_index.json"
    named = {"safety_checker": ["cosmos_guardrail", "CosmosSafetyChecker"]}
    index.write_text(json.dumps(json.loads(index.read_text()) | named))
    with pytest.raises(UnsupportedPipelineError, match=said):
        DiffusionLens.from_pretrained(tmp_path)


@pytest.mark.skipif("fibo2" not in FAMILIES, reason="diffusers has FIBO 2 from 0.42 on")
def test_a_caption_of_fibo_2_is_read_as_it_is_written(tiny_lens):
    from diffusers.pipelines.bria_fibo2 import pipeline_bria_fibo2 as fibo2

    lens, family = tiny_lens("fibo2"), PIPELINES["BriaFibo2Pipeline"]
    assert family.absent_negative == fibo2.DEFAULT_NEGATIVE_PROMPT
    assert family.slots[0].tap.positions(
        36, {"text_encoder_out_layers": fibo2.TEXT_ENCODER_OUT_LAYERS}
    ) == (*(5, 7, 9, 11, 13, 16, 18, 20, 22, 24, 27, 29, 31, 33, 35),)
    caption = '{"short_description":"a red fox","objects":["a fox"]}'
    call = {**FAMILIES["fibo2"].call, "guidance_scale": 3.0, "output_type": "np"}
    plain = lens.pipeline(caption, generator=torch.Generator().manual_seed(0), **call).images[0]
    drawn = lens(caption, "native", guidance=3.0, progress=False)
    assert np.array_equal(pixels(drawn, "native"), (plain * 255).round().astype("uint8"))
    with pytest.raises(PromptError, match=r'give .* in place of .*"style_medium": ""'):
        lens('{"short_description": "a red fox", "style_medium": ""}', "native", progress=False)
    with pytest.raises(SamplerError, match="draws FIBO 2 without 'image'"):
        lens(caption, "native", image=None, progress=False)


def test_ideogram_is_read_after_the_blocks_that_diffusers_names():
    (slot,) = PIPELINES["Ideogram4Pipeline"].slots
    assert slot.tap.read == tuple(block + 1 for block in QWEN3_VL_ACTIVATION_LAYERS)


@pytest.mark.skipif("ideogram4" not in FAMILIES, reason="transformers is too old for diffusers' Ideogram 4")
def test_a_guidance_of_ideogram_takes_the_place_of_its_schedule(tiny_lens):
    given = tiny_lens("ideogram4")
    size = Sampler(steps=2, height=16, width=16, options={"max_sequence_length": 64})
    lens = DiffusionLens(given.pipeline, defaults=size)
    drawn = lens(PROMPT, "native", guidance=3.0, progress=False)
    assert np.array_equal(
        pixels(drawn, "native"), pixels(given(PROMPT, "native", progress=False), "native")
    )
    with pytest.raises(
        SamplerError, match=r"`guidance_schedule` must have length `num_inference_steps` \(2\)"
    ):
        lens(PROMPT, "native", progress=False)
    with pytest.raises(PromptError, match="exceeds max_sequence_length=64"):
        lens("many words " * 64, "native", progress=False)


def test_both_names_of_an_encoder_of_stable_cascade_are_followed(new_lens):
    lens = new_lens("stable-cascade")
    pipe = lens.pipeline
    word = initial_embedding(pipe, "<mine>", "fox")
    taught = DiffusionLens(pipe, embeddings=[word], defaults=lens.defaults)
    drawn = taught("a red <mine>", [1, "native"], progress=False)
    own = lens(PROMPT, [1, "native"], progress=False)
    for layer in (1, "native"):
        assert np.array_equal(pixels(drawn, layer), pixels(own, layer))
    other = replace_encoders(pipe, {"prior_text_encoder": pipe.text_encoder})
    assert pipe.prior_pipe.text_encoder is pipe.prior_text_encoder
    assert other.prior_pipe.text_encoder is pipe.text_encoder
    changed = DiffusionLens(other, defaults=lens.defaults)(PROMPT, "native", progress=False)
    assert not np.array_equal(pixels(changed, "native"), pixels(own, "native"))


def test_the_text_encoder_of_glm_image_reads_what_is_quoted(tiny_lens, caplog):
    lens = tiny_lens("glm-image")
    states = lens.encode(QUOTED)
    assert not caplog.records
    assert (
        lens.pipeline.tokenizer.decode(states["text_encoder"].input_ids[0], skip_special_tokens=True)
        == "open"
    )
    result = lens(QUOTED, ["native"], interventions=["drop(open, rest=mean)"], progress=False)
    assert not np.array_equal(
        pixels(result, "native"), pixels(lens(QUOTED, "native", progress=False), "native")
    )
    read = align_prompt(lens.pipeline.tokenizer, QUOTED, states["text_encoder"].input_ids[0].tolist())
    assert read.cut_words() == [] and read.find("open") == ((0, 1, 2, 3),)
    with pytest.raises(PromptError, match="'night' is not in it"):
        read.find("night")
    with pytest.raises(PromptError, match=r"reads a part of the prompt .* and 'sign' is not in it"):
        lens(QUOTED, "native", interventions=["drop(sign, rest=mean)"], progress=False)
    with pytest.raises(PromptError, match="quotes 2 texts, which GLM-Image encodes one by one"):
        lens('"open" and "closed"', "native", progress=False)


def test_the_sketch_of_glm_image_is_the_same_at_all_layers_and_leaves_the_global_noise(tiny_lens):
    lens = tiny_lens("glm-image")
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    lens(QUOTED, [0, "native"], [0, 1], progress=False)
    assert torch.equal(torch.rand(2), expected)
    call = {**FAMILIES["glm-image"].call, "output_type": "np"}
    plain = lens.pipeline(QUOTED, generator=torch.Generator().manual_seed(1), **call).images[0]
    drawn = lens(QUOTED, "native", 1, progress=False)
    assert np.array_equal(pixels(drawn, "native", 1), (plain * 255).round().astype("uint8"))
    with pytest.raises(SamplerError, match="GLM-Image has no default size: give height and width"):
        DiffusionLens(lens.pipeline)(QUOTED, "native", steps=2, progress=False)
