"""Pipelines as users hold them: wrapped by PEFT, compiled, offloaded; drawn as by themselves."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from diffusion_lens import DiffusionLens
from diffusion_lens.models.digest import digest_pipeline
from diffusion_lens.testing import FAMILIES
from tests.conftest import tiny_sampler

PROMPT = "a red fox"


def lora(*targets):
    torch.manual_seed(0)
    return LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=list(targets))


def wrap_encoder(pipe):
    pipe.text_encoder = get_peft_model(pipe.text_encoder, lora("q_proj", "v_proj"))


def wrap_denoiser(pipe):
    pipe.unet = get_peft_model(pipe.unet, lora("to_q", "to_v"))


def load_lora(pipe):
    pipe.text_encoder.add_adapter(lora("q_proj"))
    pipe.unet.add_adapter(lora("to_q"))


def compile_autoencoder(pipe):
    pipe.vae = torch.compile(pipe.vae, backend="eager")


def offload_denoiser(pipe):
    from accelerate import cpu_offload

    cpu_offload(pipe.unet, execution_device="cpu")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize(
    "hold",
    [
        wrap_encoder,
        wrap_denoiser,
        load_lora,
        compile_autoencoder,
        offload_denoiser,
    ],
    ids=lambda hold: hold.__name__,
)
def test_the_native_image_is_the_pipelines_own(hold):
    pipe = FAMILIES["sd"].build()
    hold(pipe)
    call = {**FAMILIES["sd"].call, "output_type": "np"}
    plain = pipe(PROMPT, generator=torch.Generator().manual_seed(0), **call).images[0]
    lens = DiffusionLens(pipe, defaults=tiny_sampler("sd"), batch_size=1)
    before, held = digest_pipeline(pipe), dict(pipe.components)
    drawn = lens(PROMPT, [1, "native"], progress=False)
    assert np.array_equal(np.asarray(drawn.image("native")), (plain * 255).round().astype("uint8"))
    assert not np.array_equal(np.asarray(drawn.image(1)), np.asarray(drawn.image("native")))
    assert digest_pipeline(pipe) == before
    assert all(pipe.components[name] is part for name, part in held.items())
    changed = before.differences(digest_pipeline(FAMILIES["sd"].build()))
    same = hold in (compile_autoencoder, offload_denoiser)
    assert bool(changed) != same  # weights count, and not how they are held
