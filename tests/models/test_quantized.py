"""Quantised text encoders draw as in the plain pipeline, and no two of them are taken for one another."""

import numpy as np
import pytest
import torch
from torch import nn

from diffusion_lens import DiffusionLens
from diffusion_lens.models.digest import digest_pipeline
from diffusion_lens.testing import FAMILIES
from tests.conftest import clip_body, tiny_sampler

PROMPT = "a red fox"
# what these libraries warn of when they are imported or used on a CPU
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)


def replace_linear(module, build):
    """Put another layer in the place of each linear one."""
    for part in list(module.modules()):
        for name, one in list(part.named_children()):
            if type(one) is nn.Linear:
                setattr(part, name, build(one))


def quanto(module):
    from optimum.quanto import freeze, qint8, quantize

    quantize(module, weights=qint8)
    freeze(module)


def torchao(module):
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(module, Int8WeightOnlyConfig())


def bitsandbytes_8(module):
    from bitsandbytes.nn import Linear8bitLt

    def build(one):
        made = Linear8bitLt(one.in_features, one.out_features, has_fp16_weights=False)
        made.load_state_dict(one.state_dict())
        return made.to("cpu").eval()

    replace_linear(module, build)


def bitsandbytes_4(module):
    from bitsandbytes.nn import Linear4bit

    def build(one):
        made = Linear4bit(one.in_features, one.out_features, compute_dtype=torch.float32, quant_type="nf4")
        made.load_state_dict(one.state_dict())
        return made.to("cpu").eval()

    replace_linear(module, build)


def gguf(module):
    from diffusers.quantizers.gguf.utils import GGUFLinear, GGUFParameter
    from gguf import GGMLQuantizationType, quants

    kind = GGMLQuantizationType.Q8_0

    def build(one):
        made = GGUFLinear(one.in_features, one.out_features, True, compute_dtype=torch.float32)
        packed = torch.from_numpy(quants.quantize(one.weight.detach().numpy(), kind))
        made.weight = GGUFParameter(packed, quant_type=kind)
        made.bias = one.bias
        return made.eval()

    replace_linear(module, build)


def dynamic(module):
    torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, inplace=True)


@pytest.mark.parametrize(
    "quantize",
    [
        gguf,
        dynamic,
        *(
            pytest.param(one, marks=pytest.mark.quantized)
            for one in (quanto, bitsandbytes_8, bitsandbytes_4, torchao)
        ),
    ],
    ids=lambda given: given.__name__,
)
def test_the_native_image_and_the_digest_are_those_of_the_quantised_model(quantize):
    pipe, original, other = (FAMILIES["sd"].build() for _ in range(3))
    with torch.no_grad():
        clip_body(other.text_encoder).encoder.layers[1].mlp.fc1.weight[3, 3:9] += 0.5
    plain = digest_pipeline(pipe)
    quantize(pipe.text_encoder)
    quantize(other.text_encoder)
    before = digest_pipeline(pipe)
    assert before.differences(plain) == ("text_encoder",) == digest_pipeline(other).differences(before)
    lens = DiffusionLens(pipe, defaults=tiny_sampler("sd"), batch_size=1)
    drawn = lens(PROMPT, [1, "native"], progress=False)
    call = {**FAMILIES["sd"].call, "output_type": "np"}
    images = [
        one(PROMPT, generator=torch.Generator().manual_seed(0), **call).images[0]
        for one in (pipe, original)
    ]
    assert np.array_equal(np.asarray(drawn.image("native")), (images[0] * 255).round().astype("uint8"))
    assert not np.array_equal(*images)
    assert digest_pipeline(pipe) == before
