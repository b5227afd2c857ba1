"""States: right numbers, right tokens, saved and read back whole or not at all."""

import dataclasses

import accelerate
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffusion_lens import LayerStates
from diffusion_lens.errors import InputError
from diffusion_lens.text.embeddings import initial_embedding
from tests.conftest import clip_body


def test_states_are_those_of_the_encoder_run_by_hand(emoji):
    result = emoji("an automobile on grass", steps=1, progress=False)
    states = result.states["text_encoder"]
    pipe = emoji.pipeline
    tokens = pipe.tokenizer(
        "an automobile on grass", padding="max_length", max_length=20, return_tensors="pt"
    )
    with torch.no_grad():
        output = pipe.text_encoder(
            tokens.input_ids, attention_mask=tokens.attention_mask, output_hidden_states=True
        )
    assert torch.equal(states.states, torch.stack(output.hidden_states))
    assert states.layers == tuple(range(7))
    assert torch.equal(states.input_ids, tokens.input_ids)
    assert torch.equal(states.mask, tokens.attention_mask.bool())
    assert states.tokens[0][:6] == ("[CLS]", "an", "automobile", "on", "grass", "[SEP]")


def test_prompts_of_unequal_length_keep_their_own(tiny_lens):
    lens = tiny_lens("qwen-image")  # pads to the longest of a batch, then drops the pads
    short, long = "a fox", "a very small red fox to the left of a big blue pizza"
    both = lens([short, long], [1], progress=False).states["text_encoder"]
    alone = lens(short, [1], progress=False).states["text_encoder"]
    assert len(both) == 2
    assert torch.equal(both[0].states, alone.states)
    assert both[0].tokens == alone.tokens
    assert both[-1].prompts == (long,)


def make(batch: int, tokens: int, layers: int, pooled: bool) -> LayerStates:
    return LayerStates(
        encoder="text_encoder",
        fingerprint="abc",
        prompts=tuple(f"prompt {i} / é\n" for i in range(batch)),
        layers=tuple(range(layers)),
        states=torch.randn(layers, batch, tokens, 3, dtype=torch.bfloat16),
        input_ids=torch.randint(9, (batch, tokens)),
        mask=torch.randint(2, (batch, tokens)).bool(),
        tokens=tuple(tuple(f"t{i}" for i in range(tokens)) for _ in range(batch)),
        pooled=torch.randn(batch, 5) if pooled else None,
    )


def same(one: LayerStates, other: LayerStates) -> bool:
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(
            (getattr(one, field.name) for field in dataclasses.fields(one)),
            (getattr(other, field.name) for field in dataclasses.fields(other)),
            strict=True,
        )
    )


@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 3), st.booleans())
def test_save_and_load_round_trip(tmp_path_factory, batch, tokens, layers, pooled):
    path = tmp_path_factory.mktemp("states") / "states.safetensors"
    states = make(batch, tokens, layers, pooled)
    states.save(path)
    assert same(LayerStates.load(path), states)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.booleans())
def test_join_and_take_apart(lengths, pooled):
    parts = [make(1, length, 2, pooled) for length in lengths]
    joined = LayerStates.join(parts)
    assert joined.states.shape == (2, len(lengths), max(lengths), 3)
    for index, part in enumerate(parts):
        assert same(joined[index], part)


def test_states_of_another_encoder_are_not_joined():
    one, other = make(1, 2, 2, False), dataclasses.replace(make(1, 2, 2, False), fingerprint="xyz")
    with pytest.raises(InputError, match="can't be joined"):
        LayerStates.join([one, other])


def test_a_cut_or_foreign_file_is_one_clear_message(tmp_path):
    path = tmp_path / "states.safetensors"
    make(1, 4, 2, True).save(path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no safetensors at all"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is no whole file of layer states"):
            LayerStates.load(path)
    with pytest.raises(InputError, match=r"The file of layer states .*nowhere can't be read"):
        LayerStates.load(tmp_path / "nowhere")


def test_the_fingerprint_tells_a_changed_encoder(new_lens):
    lens = new_lens("sd")
    encoder = lens.conditioner.encoders["text_encoder"]
    before = encoder.fingerprint
    assert new_lens("sd").conditioner.encoders["text_encoder"].fingerprint == before
    with torch.no_grad():
        clip_body(lens.pipeline.text_encoder).final_layer_norm.weight[0] += 1
    assert encoder.fingerprint != before


def test_the_fingerprint_is_the_same_when_weights_are_offloaded(new_lens):
    plain, offloaded = new_lens("sd"), new_lens("sd")
    accelerate.cpu_offload(offloaded.pipeline.text_encoder, torch.device("cpu"))
    one, other = (lens.conditioner.encoders["text_encoder"] for lens in (plain, offloaded))
    assert next(other.module.parameters()).is_meta
    assert other.fingerprint == one.fingerprint


@pytest.mark.parametrize("family", ["sd", "sdxl", "qwen-image"])
def test_images_of_saved_states_are_those_of_their_prompts(new_lens, tmp_path, family):
    prompts, layers, settings = ["a red fox", "two cars at night"], [1, "native"], {"progress": False}
    lens = new_lens(family)
    for name, states in lens.encode(prompts).items():
        states.save(tmp_path / f"{name}.safetensors")
    saved = [LayerStates.load(path) for path in tmp_path.glob("*.safetensors")]
    ran = []
    for encoder in lens.conditioner.encoders.values():
        encoder.blocks[0].register_forward_hook(lambda *_: ran.append(1))
    kept = {states.encoder: states for states in saved}
    again = lens(prompts[::-1], layers, states=kept, guidance=0.0, **settings)
    assert not ran
    expected = lens(prompts[::-1], layers, guidance=0.0, **settings)
    for prompt in prompts:
        for layer in layers:
            assert again.image(layer, 0, prompt) == expected.image(layer, 0, prompt)


def test_states_that_do_not_fit_are_refused(new_lens):
    lens = new_lens("sd")
    states = lens.encode("a red fox", [1])
    with pytest.raises(InputError, match="hold no prompt 'a car'; encode it first"):
        lens("a car", [1], states=states, progress=False)
    with pytest.raises(InputError, match="Layer 2 of text_encoder was not kept; kept are"):
        lens("a red fox", [2], states=states, progress=False)
    with pytest.raises(InputError, match="No states of text_encoder were given"):
        lens("a red fox", [1], states={}, progress=False)
    foreign = {name: dataclasses.replace(one, fingerprint="f") for name, one in states.items()}
    with pytest.raises(InputError, match="are of another encoder"):
        lens("a red fox", [1], states=foreign, progress=False)


def test_states_of_other_options_or_of_another_learned_word_are_refused(new_lens):
    lens = new_lens("flux")
    cat, fox = (
        lens.with_embeddings([initial_embedding(lens.pipeline, "<it>", word)]) for word in ("cat", "fox")
    )
    states = cat.encode("a <it>", [1])
    assert cat("a <it>", [1], states=states, progress=False).table["identical"].notna().all()
    with pytest.raises(InputError, match="or with another learned word of this name"):
        fox("a <it>", [1], states=states, progress=False)
    with pytest.raises(InputError, match="were made with other options of the pipeline"):
        cat("a <it>", [1], states=states, max_sequence_length=8, progress=False)
    plain = lens.encode("a fox", [1])
    fox("a fox", [1], states=plain, progress=False)  # which holds no learned word


def test_conditioning_is_made_as_it_is_drawn(new_lens):
    lens = new_lens("sd")
    lens.denoiser.batch_size = 2
    order = []
    lens.pipeline.unet.register_forward_hook(lambda *_: order.append("draw"))
    replay = lens.conditioner.replay
    lens.conditioner.replay = lambda *given: order.append("condition") or replay(*given)
    lens("a red fox", [0, 1, 2, 3], guidance=1.0, steps=1, progress=False)
    assert order == ["condition", "condition", "draw"] * 2


def test_states_say_what_they_are(tiny_lens):
    states = tiny_lens("sd").encode(["a red fox", "a car"], "0:2")["text_encoder"]
    width = states.states.shape[-1]
    assert repr(states).startswith("LayerStates(text_encoder, 2 prompts, layers 0-2, ")
    assert repr(states).endswith(f" {width} wide)") and "1 prompt, layers 0-2" in repr(states[0])
