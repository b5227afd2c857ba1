"""The anatomy of a prompt: known answers of each way of padding, masking and cutting."""

import pytest

from diffusion_lens.lens.prompt_anatomy import dissect

PROMPT = "a red fox"


def test_what_the_embedded_model_reads_and_what_its_denoiser_gets(emoji):
    found = dissect(emoji, PROMPT)
    (read,) = found.read
    assert (read.tokens, read.own, read.before, read.after) == (20, 3, 1, 1)
    assert (read.pads, read.pad_side, read.masked) == (15, "right", 15)
    (given,) = found.given
    assert given.name == "prompt_embeds" and given.shape == (20, 384) and given.left_out is None
    assert list(found.lines()) == [
        "text_encoder reads 20 tokens: 1 before the prompt, 3 of it, 1 behind it, 15 pads on the right; "
        "its attention mask hides 15",
        "the denoiser is given prompt_embeds [20 x 384]",
    ]


def test_words_that_are_cut_off_are_named(emoji):
    (read,) = dissect(emoji, "a red fox " * 6 + "and a hedgehog").read
    assert read.cut_off == ("and", "a", "hedgehog") and read.pads == 0
    assert "no padding" in next(dissect(emoji, "a red fox " * 6 + "and a hedgehog").lines())


@pytest.mark.parametrize("family", ["qwen-image", "pixart-alpha", "z-image", "sdxl"])
def test_masks_templates_and_several_encoders(tiny_lens, family):
    found = dissect(tiny_lens(family), PROMPT)
    given = {one.name: one for one in found.given}
    assert all(one.own >= 3 for one in found.read)
    if family == "pixart-alpha":  # pads are there, and hidden from both
        assert found.read[0].masked == found.read[0].pads == given["prompt_attention_mask"].masked > 0
    elif family == "qwen-image":  # the template before the prompt is cut
        assert given["prompt_embeds"].which == "template before the prompt"
        assert given["prompt_embeds"].left_out == found.read[0].before
    elif family == "z-image":  # pads are dropped
        assert given["prompt_embeds"].which == "padding" or not found.read[0].pads
    else:
        assert len(found.read) == 2 and given["pooled_prompt_embeds"].left_out is None
