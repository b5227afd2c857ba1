"""Attention maps: what they are is known, and recording them leaves the model as it was."""

import hashlib

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel, UNet2DModel

from diffusion_lens.anatomy import attention
from diffusion_lens.anatomy.latents import levels
from diffusion_lens.anatomy.sampling import follow, sample
from diffusion_lens.errors import InputError, PromptError, UnsupportedPipelineError

PROMPT = "a red fox near Zorvak"


def tiny_unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=6,
        attention_head_dim=4,
        norm_num_groups=4,
    ).eval()


@torch.no_grad()
def run(unet, height=8, width=8, tokens=5, rows=2):
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(rows, 4, height, width, generator=generator)
    return unet(noise, 10, torch.randn(rows, tokens, 6, generator=generator)).sample


def fingerprint(module):
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()


def hooks(module):
    return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in module.modules())


def test_attention_sums_to_one_over_tokens_at_every_place():
    unet = tiny_unet()
    with attention.record_attention(unet) as record:
        run(unet, height=16, width=8)
    assert record.maps
    assert all(len(calls) == 1 for calls in record.maps.values())
    for (weights,) in record.maps.values():
        assert weights.shape[:2] == (2, 5)
        assert weights.shape[2] == 2 * weights.shape[3]  # as the image is
        assert torch.allclose(weights.sum(1), torch.ones_like(weights[:, 0]), atol=1e-5)


def test_keys_without_weights_are_read_alike():
    unet = tiny_unet()
    for name, parameter in unet.named_parameters():
        if "attn2.to_k" in name:
            torch.nn.init.zeros_(parameter)
    with attention.record_attention(unet) as record:
        run(unet)
    for (weights,) in record.maps.values():
        assert torch.allclose(weights, torch.full_like(weights, 1 / 5), atol=1e-6)


def test_the_answer_is_bit_identical_while_and_after_recording():
    unet = tiny_unet()
    before, weights, processors = run(unet), fingerprint(unet), dict(unet.attn_processors)
    with attention.record_attention(unet):
        assert torch.equal(run(unet), before)
    assert torch.equal(run(unet), before)
    assert fingerprint(unet) == weights
    assert unet.attn_processors == processors
    assert hooks(unet) == 0


def test_the_model_is_as_before_also_after_a_failure():
    unet = tiny_unet()
    before = run(unet)
    with pytest.raises(RuntimeError, match="on purpose"), attention.record_attention(unet):
        raise RuntimeError("on purpose")
    assert hooks(unet) == 0
    assert torch.equal(run(unet), before)


def test_a_u_net_that_reads_no_text_is_refused():
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8,),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
    )
    with (
        pytest.raises(UnsupportedPipelineError, match="no cross-attention"),
        attention.record_attention(unet),
    ):
        pass


def test_the_words_of_the_embedded_model_have_maps_of_their_own(emoji):
    pipe = emoji.pipeline
    weights, count = fingerprint(pipe.unet), hooks(pipe.unet)
    found = attention.attend(pipe, PROMPT, seed=1, steps=2)
    own = sample(pipe, [PROMPT], [1], steps=2)[0]
    assert (np.asarray(found.image) == np.asarray(own)).all()
    assert (fingerprint(pipe.unet), hooks(pipe.unet)) == (weights, count)
    assert found.tokens.shape == (2, 20, 8, 8)
    assert torch.allclose(found.tokens.sum(1), torch.ones(2, 8, 8), atol=1e-5)
    assert [word for word, _ in found.words] == PROMPT.split()
    table = found.table
    assert (table["share"] > 0).all() and table["share"].sum() < 1
    assert (table["peak"] >= 1).all()
    # several tokens of one word add up
    positions = found.words[-1][1]
    assert len(positions) > 1
    expected = found.tokens[:, list(positions)].sum(1).mean(0)
    assert torch.allclose(found.of_words()[-1], expected, atol=1e-6)


def test_any_stable_diffusion_is_watched(tiny_lens):
    pipe = tiny_lens("sd").pipeline
    found = attention.attend(pipe, "a cat", steps=2)
    height, width = found.tokens.shape[-2:]
    assert torch.allclose(found.tokens.sum(1), torch.ones(2, height, width), atol=1e-5)
    path = follow(pipe, "a cat", steps=2)  # it predicts the noise, ours predicts v
    alpha, sigma = levels(pipe, path.times)
    assert torch.allclose(alpha * path.clean + sigma * path.noise, path.latents, atol=1e-4)


def test_the_pass_with_the_caption_counts(emoji):
    pipe = emoji.pipeline
    found = attention.attend(pipe, PROMPT, seed=1, steps=1, guidance=4.0)
    unguided = attention.attend(pipe, PROMPT, seed=1, steps=1, guidance=1.0)
    assert torch.allclose(found.tokens, unguided.tokens, atol=1e-5)


def test_a_prompt_that_is_too_long_is_refused(emoji):
    with pytest.raises(PromptError, match="cut off"):
        attention.attend(emoji.pipeline, "dog " * 30)


def test_an_overlay_is_red_where_much_was_read_and_nowhere_else(emoji):
    from PIL import Image

    heat = torch.ones(8, 8)
    heat[:4, :4] = 4
    drawn = attention.overlay(Image.new("RGB", (64, 64), "white"), heat, most=2.0).astype(int)
    assert drawn[10, 10, 0] - drawn[10, 10, 1] > 100
    assert (drawn[40:, 40:] == 255).all()
    with pytest.raises(InputError, match="no attention maps"):
        attention.draw_attention([])
