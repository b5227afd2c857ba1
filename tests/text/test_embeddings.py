"""Words are spoken by every family, and nothing but them is trained."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from diffusion_lens.errors import InputError, PromptError
from diffusion_lens.learning.concepts import Concept
from diffusion_lens.learning.objective import DenoisingLoss, frozen
from diffusion_lens.learning.training import Learner, Settings
from diffusion_lens.lens.prompt_anatomy import dissect
from diffusion_lens.runs.plan import embeddings_in
from diffusion_lens.text.embedding_tokens import describe_unused
from diffusion_lens.text.embeddings import (
    Embedding,
    encoder_slots,
    expand,
    initial_embedding,
    use_embeddings,
)
from diffusion_lens.text.interventions import Shuffle

FAMILIES = ["sd", "sdxl", "sd3", "flux"]


def noise_picture(seed, side=16):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8))


def concept(token="<it>", **more):
    pictures = tuple(noise_picture(seed) for seed in range(3))
    return Concept(token, pictures, (("a photo of {}", "a {} on grass"),) * 3, **more)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_word_with_the_rows_of_cat_draws_a_cat(tiny_lens, family):
    lens = tiny_lens(family)
    plain = lens("a photo of cat on grass", "all", 3, progress=False)
    word = initial_embedding(lens.pipeline, "<it>", "cat")
    with use_embeddings(lens.pipeline, [word]):
        learned = lens("a photo of <it> on grass", "all", 3, progress=False)
        assert any("<it>" in token for token in learned.states["text_encoder"].tokens[0])
    for one, other in zip(plain.table["image"], learned.table["image"], strict=True):
        assert np.array_equal(one, other)


def test_words_of_several_vectors_stand_side_by_side_in_one_prompt(tiny_lens):
    lens = tiny_lens("sdxl")
    words = [
        initial_embedding(lens.pipeline, "<it>", "red fox", 2),
        initial_embedding(lens.pipeline, "<that>", "green tree on grass", 4),
    ]
    plain = lens("a red fox and a green tree on grass", "native", 3, progress=False)
    with use_embeddings(lens.pipeline, words):
        learned = lens("a <it> and a <that>", "native", 3, progress=False)
        by_call = lens.pipeline(
            "a <it> and a <that>",
            generator=torch.Generator().manual_seed(3),
            output_type="np",
            **lens.defaults.arguments(lens.conditioner.family),
        ).images
    assert np.array_equal(plain.image("native", seed=3), learned.image("native", seed=3))
    assert np.array_equal((by_call[0] * 255).round().astype("uint8"), learned.image("native", seed=3))


def test_only_whole_words_are_learned_ones_and_the_longest_is_read_first(tiny_lens):
    pipe = tiny_lens("sd").pipeline
    words = [
        Embedding(token, {"text_encoder": torch.randn(count, 32)})
        for token, count in [("emb", 2), ("sksq", 1), ("sksqV2", 1), ("<it", 1), ("<it>", 2)]
    ]
    assert expand("a red emblem, and the emb cat", words) == "a red emblem, and the emb:0 emb:1 cat"
    assert expand("<it> <it emb", words) == "<it>:0 <it>:1 <it emb:0 emb:1"
    with use_embeddings(pipe, words):
        texts = ("dsksqs", "a sksq", "a sksqV2", "sksq, a")
        pieces = {text: [one.strip() for one in pipe.tokenizer.tokenize(text)] for text in texts}
    assert "sksq" not in pieces["dsksqs"]
    assert "sksq" in pieces["a sksq"] and "sksq" in pieces["sksq, a"]
    assert "sksqV2" in pieces["a sksqV2"] and "sksq" not in pieces["a sksqV2"]
    held = embeddings_in(dict.fromkeys(("sksq", "sksqV2", "emb"), "0"), "a sksqV2 emblem", "dsksqs")
    assert set(held) == {"sksqV2"}


@pytest.mark.parametrize(
    ("tokens", "texts", "told"),
    [
        (["<it>"], ["a <it>"], None),
        (["EasyNegative"], ["a fox", "EasyNegative"], None),
        (
            ["<EasyNegative>"],
            ["a photo of EasyNegative"],
            "'<EasyNegative>' ('EasyNegative' there is plain",
        ),
        (["EasyNegative"], ["easynegative, a fox"], "'EasyNegative' ('easynegative' there is plain text)"),
        (["sks", "<it>"], ["desks"], "'<it>', 'sks': these learned words change nothing"),
    ],
)
def test_a_word_that_no_prompt_holds_is_said(tokens, texts, told):
    found = describe_unused(tokens, texts)
    assert found is None if told is None else told in found


def test_a_call_says_which_learned_words_change_nothing(new_lens, caplog):
    lens = new_lens("sd")
    word = initial_embedding(lens.pipeline, "<it>", "cat")
    learned = lens.with_embeddings([word])
    with caplog.at_level(logging.WARNING, "diffusion_lens"):
        learned("a <it>", "native", steps=1, progress=False)
        assert "change" not in caplog.text
        learned("an it", "native", steps=1, progress=False)
    assert "No prompt holds '<it>' ('it' there is plain text): it changes nothing." in caplog.text


def test_a_call_says_what_is_written_as_a_learned_word_and_is_none(new_lens, caplog):
    lens = new_lens("sdxl")
    learned = lens.with_embeddings([initial_embedding(lens.pipeline, "<it>", "cat")])
    with caplog.at_level(logging.WARNING, "diffusion_lens"):
        learned("a <it>, 1 < 2 > 0", "native", steps=1, progress=False)
        for part in ("", "_2"):  # as diffusers' own loader does
            tokenizer = getattr(lens.pipeline, f"tokenizer{part}")
            tokenizer.add_tokens("<own>")
            getattr(lens.pipeline, f"text_encoder{part}").resize_token_embeddings(len(tokenizer))
        lens("a <own>", "native", steps=1, progress=False)
        assert not caplog.text
        lens("a <it>", "native", steps=1, progress=False)
    (said,) = caplog.messages
    assert said.startswith("'<it>' in 'a <it>' is read as plain text") and "--embedding FILE" in said


def test_a_clip_that_pools_at_the_largest_id_still_pools_at_its_end(new_lens):
    lens = new_lens("flux")  # conditioned on CLIP's pooled output alone, and on T5
    encoder = lens.pipeline.text_encoder
    encoder.config.eos_token_id = encoder.eos_token_id = 2
    plain = lens("a cat on grass", "native", 3, progress=False)
    with use_embeddings(lens.pipeline, [initial_embedding(lens.pipeline, "<it>", "cat")]):
        learned = lens("a <it> on grass", "native", 3, progress=False)
    assert np.array_equal(plain.image("native", seed=3), learned.image("native", seed=3))
    own = lens.with_embeddings([initial_embedding(lens.pipeline, "<it>", "cat")])
    pooled = own("a <it> on grass", "native", 3, encoder="text_encoder", pooled="layer", progress=False)
    assert np.array_equal(plain.image("native", seed=3), pooled.image("native", seed=3))
    assert encoder.eos_token_id == encoder.config.eos_token_id == 2


def test_a_learned_word_that_the_pipeline_takes_for_a_tag_is_not_lost_in_silence(new_lens):
    lens = new_lens("pixart-sigma")
    cat = initial_embedding(lens.pipeline, "<it>", "cat")
    plain = Embedding("sks", cat.vectors)
    with pytest.raises(
        PromptError, match=r"took '<it>' out of .* clean_caption=False, or give .* NAME=FILE"
    ):
        lens.with_embeddings([cat])("a <it> on grass", "native", 3, progress=False)
    images = [
        lens.with_embeddings([word])(prompt, "native", 3, progress=False, **options).image("native", seed=3)
        for word, prompt, options in (
            (cat, "a <it> on grass", {"clean_caption": False}),
            (plain, "a sks on grass", {}),
            (cat, "a cat on grass", {}),
        )
    ]
    assert np.array_equal(images[0], images[1]) and np.array_equal(images[1], images[2])


def test_a_word_to_change_is_found_beside_a_learned_one(emoji):
    word = initial_embedding(emoji.pipeline, "<it>", "fox")
    draw = {"layers": 5, "steps": 1, "guidance": 1.0, "progress": False}
    for changed in ("drop(fox)", "drop(red)"):
        plain = emoji("a red fox", interventions=[changed], **draw)
        learned = emoji.with_embeddings([word])(
            "a red <it>", interventions=[changed.replace("fox", "<it>")], **draw
        )
        assert np.array_equal(plain.image(5), learned.image(5))


def test_the_vectors_of_a_learned_word_stay_together(tiny_lens):
    word = initial_embedding(tiny_lens("sd").pipeline, "<it>", "red fox", vectors=3)
    lens = tiny_lens("sd").with_embeddings([word])
    reader, states = lens.reader(), lens.encode("a <it>, dog", 2)["text_encoder"]
    assert reader.places_of(states).words() == [("a", (1,)), ("<it>,", (2, 3, 4, 5)), ("dog", (6,))]
    for seed in range(4):
        change = Shuffle(seed)
        moved = change.change(states.layer(2), 2, reader.context_of("text_encoder", states, change))[0]
        order = [int((states.layer(2)[0] - one).abs().sum(-1).argmin()) for one in moved[1:7]]
        assert sorted(order) == [1, 2, 3, 4, 5, 6] and "2345" in "".join(map(str, order))


def test_a_learned_word_that_is_cut_off_is_named_as_it_was_written(tiny_lens, caplog):
    word = initial_embedding(tiny_lens("sd").pipeline, "<it>", "red fox", vectors=4)
    lens = tiny_lens("sd").with_embeddings([word])  # 14 tokens of a prompt
    with caplog.at_level(logging.WARNING, "diffusion_lens"):
        lens.encode("a red fox and a <it> on grass", 2)
        assert caplog.messages == []
        long = " ".join(["a red fox"] * 4 + ["<it> on grass"])
        lens.encode(long, 2)
    (message,) = caplog.messages
    assert message.endswith("reads (16 tokens); cut off: '<it> on grass'")
    assert dissect(lens, long).read[0].cut_off == ("<it>", "on", "grass")


def test_a_learned_word_is_understood_when_the_encoders_are_released(new_lens):
    lens = new_lens("pixart-sigma")  # whose tokenizer tells the denoiser how long the prompt is
    word = initial_embedding(lens.pipeline, "<it>", "cat")
    asked = {"prompts": "a <it> on grass", "layers": [0, "native"], "seeds": 3, "progress": False}
    asked |= {"clean_caption": False}
    changed = {"interventions": ["drop(<it>)"]}
    kept = [lens.with_embeddings([word])(**asked, **more) for more in ({}, changed)]
    for more, before in zip(({}, changed), kept, strict=True):
        released = new_lens("pixart-sigma").with_embeddings([word])(**asked, **more, release_encoders=True)
        for layer in (0, "native"):
            assert np.array_equal(before.image(layer, seed=3), released.image(layer, seed=3))


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_words_rows_move(new_lens, family):
    pipe = new_lens(family).pipeline
    if family == "flux":  # whose pipeline takes 128 latents a side for its size, with any weights
        pipe.default_sample_size = 8
    parts = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    before = [{name: value.clone() for name, value in part.state_dict().items()} for part in parts]
    lengths = {name: len(getattr(pipe, slot.tokenizer)) for name, slot in encoder_slots(pipe).items()}
    learner = Learner(pipe, [concept(vectors=2)], Settings(steps=2, batch=2, lr=0.1))
    started = {name: rows.detach().clone() for name, rows in learner.embeddings[0].vectors.items()}
    with learner.training():
        losses = [learner.step() for _ in range(2)]
    assert np.isfinite(losses).all()
    # every encoder that the pipeline reads is taught, also one of which only the pooled output is read
    for name, rows in learner.embeddings[0].vectors.items():
        assert (rows != started[name]).any(-1).all()
    for part, kept in zip(parts, before, strict=True):
        assert all(torch.equal(value, kept[name]) for name, value in part.state_dict().items())
        assert all(weight.grad is None and weight.requires_grad for weight in part.parameters())
    # the pipeline is what it was
    assert lengths == {
        name: len(getattr(pipe, slot.tokenizer)) for name, slot in encoder_slots(pipe).items()
    }
    assert "encode_prompt" not in vars(pipe)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_denoiser_is_called_as_the_pipeline_calls_it(tiny_lens, family):
    lens = tiny_lens(family)
    pipe, calls = lens.pipeline, []
    denoiser = DenoisingLoss(pipe)
    hook = denoiser.module.register_forward_hook(
        lambda module, args, kwargs, output: calls.append((args, kwargs, output[0])), with_kwargs=True
    )
    call = lens.defaults.arguments(lens.conditioner.family)
    denoiser.options |= {name: value for name, value in call.items() if name in denoiser.options}
    with hook:
        pipe("a red fox", generator=torch.Generator().manual_seed(0), **{**call, "guidance_scale": 1.0})
    args, kwargs, wanted = calls[0]
    noisy = args[0] if args else kwargs["hidden_states"]
    times = args[1] if args else kwargs["timestep"]
    if family == "flux":
        times = times * 1000
        noisy, wanted = (
            pipe._unpack_latents(one, 16, 16, pipe.vae_scale_factor) for one in (noisy, wanted)
        )
    with torch.no_grad():
        text = denoiser.conditioner.differentiable(["a red fox"], denoiser.options)
        found = denoiser._predict(pipe, noisy, times.reshape(1), text)
    assert torch.allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_min_snr_weighs_each_prediction_alike(new_lens, prediction):
    """gamma cuts the weight of the picture's error, whatever the model predicts (Hang et al. 2023)."""
    pipe = new_lens("sd").pipeline
    pipe.scheduler.register_to_config(prediction_type=prediction)
    denoiser = DenoisingLoss(pipe)
    times = torch.tensor([10, 500, 990])
    alphas = denoiser.noise.alphas_cumprod[times]
    snr = alphas / (1 - alphas)
    of_picture = {"epsilon": snr, "sample": torch.ones(3), "v_prediction": snr + 1}[prediction]
    assert torch.allclose(denoiser._weights(times, 5.0) * of_picture, snr.clamp(max=5.0))


def test_flow_matching_knows_no_min_snr(tiny_lens):
    denoiser = DenoisingLoss(tiny_lens("sd3").pipeline)
    with pytest.raises(InputError, match="flow-matching"):
        denoiser.losses(torch.zeros(1, 4, 8, 8), ["a"], torch.Generator(), snr_gamma=5.0)


@pytest.mark.parametrize("norm", ["fixed", "pull"])
def test_norms_are_controlled(new_lens, norm):
    pipe = new_lens("sd").pipeline
    learner = Learner(pipe, [concept(init="cat")], Settings(steps=3, batch=1, lr=0.5, norm=norm))
    matrix = pipe.text_encoder.get_input_embeddings().weight
    begun = learner.embeddings[0].vectors["text_encoder"].detach().norm().clone()
    with learner.training():
        for _ in range(3):
            learner.step()
    wanted = begun if norm == "fixed" else matrix.detach().norm(dim=-1).mean()
    assert torch.allclose(learner.embeddings[0].vectors["text_encoder"].norm(), wanted, rtol=1e-4)


def test_concepts_learned_together_do_not_see_each_other(new_lens):
    lens = new_lens("sd")
    with frozen(lens.pipeline):
        both = Learner(lens.pipeline, [concept(), concept("<that>")], Settings(batch=2))
        with both.training():
            both.losses(0)[1].backward()
    untouched = both.embeddings[0].vectors["text_encoder"].grad
    assert untouched is None or not untouched.any()
    assert both.embeddings[1].vectors["text_encoder"].grad.any()


def with_rows(token, count, width=32):
    return Embedding(token, {"text_encoder": torch.zeros(count, width)})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([with_rows("fox", 1)], "in the vocabulary of text_encoder already"),
        ([with_rows("<a b>", 1)], "must be one word"),
        ([with_rows("<it>", 1), with_rows("<it>", 2)], "'<it>' was given twice"),
        ([with_rows("<it>", 15)], "holds 14 tokens"),
        ([with_rows("<it>", 1, 33)], "reads vectors of 32"),
        ([Embedding("<it>", {"text_encoder_2": torch.zeros(1, 32)})], "not for text_encoder"),
    ],
)
def test_words_that_do_not_fit_are_refused(tiny_lens, words, message):
    with pytest.raises(InputError, match=message), use_embeddings(tiny_lens("sd").pipeline, words):
        pass


def test_an_unknown_initialiser_is_refused(tiny_lens, emoji):
    with pytest.raises(InputError, match="not in the vocabulary"):
        initial_embedding(emoji.pipeline, "<it>", "犬猫䨺")
    with pytest.raises(InputError, match="at least 1"):
        initial_embedding(emoji.pipeline, "<it>", "cat", vectors=0)
    with pytest.raises(InputError, match="has 1000000000000 vectors, and a prompt of"):
        initial_embedding(emoji.pipeline, "<it>", vectors=10**12)
