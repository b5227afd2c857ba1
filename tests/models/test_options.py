"""Options that a pipeline's `__call__` takes apart reach the encoder as they do in the plain pipeline."""

import inspect

import numpy as np
import peft
import pytest
import torch

from diffusion_lens import DiffusionLens
from diffusion_lens.models.stages import text_stage
from diffusion_lens.testing import FAMILIES, LENSED
from tests.conftest import tiny_sampler

PROMPT = "a red fox to the left of a pizza"
# what `encode_prompt` takes and `__call__` does not, and the lens gives otherwise
OWN = {"device", "do_classifier_free_guidance", "dtype", "lora_scale", "num_images_per_prompt"}
# an option of Kandinsky 3 that its `__call__` never gives
OWN |= {"_cut_context"}
# which `__call__` of HunyuanDiT and EasyAnimate leave to its default, and HunyuanDiT gives by encoder
OWN |= {"scale_factor"}  # of LTX-2, which its `__call__` never gives
OWN |= {"grid_h", "grid_w"}  # of Ideogram 4, whose text is encoded without an image
OWN |= {"batch_size", "kwargs", "max_sequence_length", "text_encoder_index"}
ATTENTION = ("cross_attention_kwargs", "joint_attention_kwargs", "attention_kwargs")


def encode_names(pipe):
    return set(inspect.signature(text_stage(pipe).encode_prompt).parameters)


@pytest.mark.parametrize("family", LENSED)
def test_every_option_of_encode_prompt_is_an_option_of_call_or_accounted_for(tiny_lens, family):
    pipe = tiny_lens(family).pipeline
    call = set(inspect.signature(pipe.__call__).parameters)
    text = {name for name in encode_names(pipe) if "prompt" in name}
    assert encode_names(pipe) - call - text - OWN == set()


SCALED = {
    "sd": "cross_attention_kwargs",
    "sdxl": "cross_attention_kwargs",
    "sd3": "joint_attention_kwargs",
    "flux": "joint_attention_kwargs",
    "auraflow": "attention_kwargs",
    "chroma": "joint_attention_kwargs",
    "fibo": "joint_attention_kwargs",
    "sana": "attention_kwargs",
}


def test_no_other_family_scales_its_encoders(tiny_lens):
    found = {}
    for family in LENSED:
        pipe = tiny_lens(family).pipeline
        options = [name for name in ATTENTION if name in inspect.signature(pipe.__call__).parameters]
        if options and "lora_scale" in encode_names(pipe):
            (found[family],) = options
    # HiDream and Bria hand the scale to an `encode_prompt` that does not read it; Sana Sprint scales as
    # Sana does, without a negative prompt
    others = dict.fromkeys(("hidream", "bria", "sana-sprint"), "attention_kwargs")
    assert found == {**SCALED, **others}


@pytest.mark.parametrize(("family", "option"), SCALED.items())
def test_the_scale_of_a_lora_reaches_the_encoders(family, option):
    pipe = FAMILIES[family].build()
    torch.manual_seed(0)
    for name in pipe.components:
        if name.startswith("text_encoder"):
            targets = ["q", "v"] if "T5" in type(getattr(pipe, name)).__name__ else ["q_proj", "v_proj"]
            config = peft.LoraConfig(r=2, lora_alpha=8, init_lora_weights=False, target_modules=targets)
            getattr(pipe, name).add_adapter(config)
    scaled = {option: {"scale": 0.2}}
    lens = DiffusionLens(pipe, defaults=tiny_sampler(family))
    for negative in (None, "blue"):
        given = {} if negative is None else {"negative_prompt": negative}
        plain = pipe(
            prompt=PROMPT,
            generator=torch.Generator("cpu").manual_seed(0),
            output_type="np",
            **FAMILIES[family].call,
            **scaled,
            **given,
        ).images[0]
        drawn = lens(PROMPT, "native", 0, progress=False, **scaled, **given).image("native")
        assert np.array_equal(np.asarray(drawn), (plain * 255).round().astype("uint8"))
    whole = lens(PROMPT, "native", 0, progress=False).image("native")
    assert not np.array_equal(np.asarray(drawn), np.asarray(whole))
