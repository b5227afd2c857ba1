"""Readouts against the encoder's own parts, and what each does to a picture."""

import numpy as np
import pytest
import torch

from diffusion_lens.errors import InputError, LayerError
from diffusion_lens.text.encoder_output import encoder_output
from diffusion_lens.text.readouts import parse_readout
from tests.conftest import clip_body


def read(lens, layer, readout, slot_name="text_encoder"):
    (reading,) = lens.readings(layer)
    states = lens.reader().encode(["a red fox"], [reading])[slot_name]
    encoder, slot = lens.conditioner.encoders[slot_name], lens.conditioner.slots[slot_name]
    output = encoder_output(
        slot,
        encoder,
        states,
        reading.positions[slot_name],
        reading.sources[slot_name],
        parse_readout(readout),
        pooled=states.pooled,
    )
    return states, encoder, output


def test_the_published_lens_is_the_final_norm_once_at_every_layer(tiny_lens):
    for layer in range(5):
        states, encoder, output = read(tiny_lens("sd"), layer, "final")
        expected = clip_body(encoder.module).final_layer_norm(states.layer(layer))
        assert torch.equal(output.last_hidden_state, expected)


def test_native_leaves_the_norm_out_where_the_pipeline_does(tiny_lens):
    states, encoder, output = read(tiny_lens("sdxl"), 3, "native", "text_encoder_2")
    assert torch.equal(output.hidden_states[4], states.layer(3))
    states, encoder, output = read(tiny_lens("sdxl"), 3, "final", "text_encoder_2")
    assert torch.equal(output.hidden_states[4], encoder.final_norm(states.layer(3)))


def test_layers_that_the_pipeline_does_not_read_are_empty(tiny_lens):
    _, _, output = read(tiny_lens("sdxl"), 3, "native", "text_encoder_2")
    assert [state is None for state in output.hidden_states] == [True] * 4 + [False, True]


def test_a_post_norm_encoder_has_one_readout(emoji):
    drawn = [
        np.asarray(emoji("a fox", 3, readout=readout, steps=2, progress=False).image(3)).tobytes()
        for readout in ("native", "final", "none")
    ]
    assert len(set(drawn)) == 1


def test_readouts_draw_different_pictures_and_only_the_native_one_is_called_native(tiny_lens):
    tables = {
        readout: tiny_lens("sdxl")("a fox", [2, "native"], readout=readout, progress=False).table
        for readout in ("native", "final")
    }
    for row in range(2):
        one, other = (np.asarray(table["image"][row]) for table in tables.values())
        assert not np.array_equal(one, other)
    assert tables["native"]["native"].tolist() == [False, True]
    assert tables["native"]["identical"].tolist() == [False, True]
    assert tables["final"]["native"].tolist() == [False, True]
    assert tables["final"]["identical"].tolist() == [False, False]


def test_unknown_policies_are_refused(tiny_lens, untyped):
    with pytest.raises(InputError, match=r"'rank' is no readout. Allowed: native, final, none, tuned:FILE"):
        tiny_lens("sd")("a fox", readout="rank")
    with pytest.raises(InputError, match=r"'drop' is no pooled policy. Allowed: hold, layer, empty"):
        tiny_lens("sd")("a fox", pooled="drop")


def test_a_layer_that_was_not_kept_is_named(tiny_lens):
    result = tiny_lens("sd")("a fox", [1, 2], progress=False)
    with pytest.raises(LayerError, match=r"Layer 4 of text_encoder was not kept; kept are \[1, 2\]"):
        result.states["text_encoder"].layer(4)
