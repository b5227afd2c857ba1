"""What a block of the denoiser holds: it is what the plain pipeline's block gives in that step."""

import pytest
import torch

from diffusion_lens.errors import InputError
from diffusion_lens.lens.denoiser_states import DrawnImage, denoiser_states, find_block

PROMPTS = ("a red fox", "a blue car")
ENCODER = "text_encoder"


def drawn(layers):
    """An image of each prompt and layer, from noise of each prompt's own."""
    return [DrawnImage(prompt, layer, seed) for seed, prompt in enumerate(PROMPTS) for layer in layers]


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_the_native_layer_is_what_the_pipelines_own_block_gives(tiny_lens, guidance):
    lens = tiny_lens("sd")
    depth = lens.conditioner.encoders[ENCODER].depth
    found = denoiser_states(
        lens, drawn([0, depth]), encoder=ENCODER, step=1, guidance=guidance, height=16, width=16
    )
    assert found.layers == (0, depth) and found.prompts == PROMPTS
    assert found.states.shape[:3] == (2, 2, 1) and found.tokens == (("mid_block",),) * 2
    seen = []
    name, block = find_block(lens)
    handle = block.register_forward_hook(lambda *given: seen.append(given[-1]))
    lens.pipeline(
        PROMPTS[1],
        generator=torch.Generator("cpu").manual_seed(1),
        num_inference_steps=2,
        guidance_scale=guidance,
        height=16,
        width=16,
    )
    handle.remove()
    own = seen[1][-1].mean((1, 2))
    assert name == "mid_block" and torch.equal(found.states[1, 1, 0], own)
    assert not torch.allclose(found.states[0, 1, 0], own), "another layer is drawn otherwise"


def test_a_transformer_has_blocks_too_and_what_is_not_there_is_refused(tiny_lens):
    lens = tiny_lens("pixart-alpha")
    found = denoiser_states(lens, drawn([1]), encoder=ENCODER, step=0)
    assert found.tokens[0][0].startswith("transformer_blocks.") and found.states.isfinite().all()
    with pytest.raises(InputError, match="has no block 'mid_block'"):
        denoiser_states(lens, drawn([1]), encoder=ENCODER, step=0, block="mid_block")
    with pytest.raises(InputError, match="step is 9; there are 2"):
        denoiser_states(lens, drawn([1]), encoder=ENCODER, step=9)
    with pytest.raises(InputError, match="each prompt at each of the same layers"):
        denoiser_states(lens, drawn([0, 1])[:3], encoder=ENCODER, step=0)
