"""Interventions: what each does to the states of which tokens, and that doing nothing is exact."""

import numpy as np
import pytest
import torch

from diffusion_lens import DiffusionLens
from diffusion_lens.errors import InputError, LayerError, PromptError
from diffusion_lens.text.embeddings import initial_embedding
from diffusion_lens.text.fit_direction import fit_direction
from diffusion_lens.text.interventions import (
    INTERVENTIONS,
    Ablate,
    Average,
    Contextless,
    Drop,
    Keep,
    Only,
    Pads,
    Patch,
    Scale,
    Shuffle,
    Skip,
    Steer,
    Swap,
    direction,
    parse_intervention,
    parse_interventions,
    split_interventions,
)
from diffusion_lens.text.readouts import parse_readout
from diffusion_lens.text.resolve import resolve_readings
from diffusion_lens.text.states import LayerStates
from tests.conftest import clip_body
from tests.tiny import BY_ENCODER, LENSED

PROMPT = "a red fox and a blue car"
LAYER = 2

EXAMPLES = [
    Ablate("6.head.3", tokens="fox", by="resample", prompts=["a dog", "a big, blue car"], seed=2),
    Skip("2:3"),
    Keep("fox"),
    Keep(["red fox", -1], rest="mean"),
    Drop("fox; car", rest="pads", place="encoder", layers="1:2"),
    Only("0:9"),
    Only(3, ["mid_block", "up_blocks.1"], otherwise=2),
    Only(":4", "mid_block"),
    Pads("prompt only"),
    Patch("a blue, big dog", {"fox": "dog", "red": "blue"}, layers=3, from_layer=1),
    Patch("a + b", place="encoder"),
    Swap("red", "blue"),
    Scale("fox", 2, of="variance"),
    Scale("fox", 1e20),
    Average([1, 3], normalized=False),
    Average(),
    Contextless("fox", carriers=2),
    Contextless(order=True),
    Shuffle(7),
    Steer(direction(["a big dog", "a big car"], ["a small dog", "a small car"]), 2, layers=range(1, 3)),
]


class Changed:
    """The states of a prompt on the embedded model, before and after an intervention."""

    def __init__(self, lens, *changes, prompt=PROMPT, layer=LAYER):
        self.reader = lens.reader()
        readings = resolve_readings(
            lens.conditioner,
            layer,
            readout=parse_readout("none"),
            interventions=parse_interventions(changes),
            options=self.reader.options,
        )
        self.reader.prepare([prompt], readings)
        (self.states,) = self.reader.encode([prompt], readings).values()
        before = self.reader.condition({"text_encoder": self.states}, plain(readings[0]))
        after = self.reader.condition({"text_encoder": self.states}, readings[0])
        self.before, self.after = (one["prompt_embeds"][0] for one in (before, after))
        self.layer = layer
        self.lens = lens

    def of(self, prompt):
        """The state of another prompt."""
        return self.lens.encode(prompt, self.layer)["text_encoder"].layer(self.layer)[0]

    @property
    def moved(self):
        """The tokens whose state changed."""
        (words,) = self.states.tokens
        return [words[i] for i in range(len(words)) if not torch.equal(self.before[i], self.after[i])]

    def at(self, word):
        return self.states.tokens[0].index(word)


def plain(reading):
    from dataclasses import replace

    return replace(reading, reading=replace(reading.reading, interventions=()))


@pytest.mark.parametrize("one", EXAMPLES, ids=str)
def test_each_is_read_back_from_how_it_is_written(one):
    assert parse_intervention(one.id) == one
    assert hash(parse_intervention(one.id)) == hash(one)


def test_there_is_an_example_of_each():
    assert {type(one) for one in EXAMPLES} == set(INTERVENTIONS.values())


def test_a_column_of_interventions_is_taken_apart_again():
    column = " + ".join(one.id for one in EXAMPLES)
    assert split_interventions(column) == tuple(one.id for one in EXAMPLES)
    assert split_interventions("") == ()


def test_keep_leaves_the_tokens_and_empties_the_rest(emoji):
    seen = Changed(emoji, Keep("fox"))
    empty = seen.of("")
    fox = seen.at("fox")
    assert torch.equal(seen.after[fox], seen.before[fox])
    others = [i for i in range(len(empty)) if i != fox]
    assert torch.equal(seen.after[others], empty[others])


def test_drop_takes_only_its_tokens_away(emoji):
    assert Changed(emoji, Drop("fox; blue car")).moved == ["fox", "blue", "car"]
    mean = Changed(emoji, Drop("fox", rest="mean"))
    content = mean.before[1:8].mean(0)
    torch.testing.assert_close(mean.after[mean.at("fox")], content)


def test_clean_pads_are_those_of_the_empty_prompt(emoji):
    seen = Changed(emoji, Pads("clean"))
    empty, words = seen.of(""), seen.states.tokens[0]
    pads = [i for i, word in enumerate(words) if word == "[PAD]"]
    assert pads and set(seen.moved) == {"[PAD]"}
    assert torch.equal(seen.after[pads], empty[pads])
    only = Changed(emoji, Pads("pads only"))
    assert "[PAD]" not in only.moved and {"[CLS]", "fox", "[SEP]"} <= set(only.moved)
    assert torch.equal(only.after[1], empty[2])  # the first pad after [CLS] and [SEP]
    prompt = Changed(emoji, Pads("prompt only"))
    assert {"[CLS]", "[SEP]", "[PAD]"} == set(prompt.moved)


def test_the_pads_of_clip_are_told_from_the_token_that_ends_the_prompt(tiny_lens):
    lens = tiny_lens("sd")
    seen = Changed(lens, Pads("clean"))
    places = seen.reader.places_of(seen.states)
    words = seen.states.tokens[0]
    assert words[places.pads[0] - 1] == words[places.pads[0]]  # the end of the text, written as a pad is
    assert len(places.select("special")) == 2
    assert sorted([*places.select("special"), *places.select("content"), *places.pads]) == [
        *range(len(words))
    ]


def test_patch_puts_a_word_of_another_prompt_in_at_its_layer(emoji):
    seen = Changed(emoji, Patch("one blue dog", {"fox": "dog"}))
    assert seen.moved == ["fox"]
    assert torch.equal(seen.after[seen.at("fox")], seen.of("one blue dog")[3])
    deeper = Changed(emoji, Patch("one blue dog", {"fox": "dog"}, from_layer=5))
    other = emoji.encode("one blue dog", 5)["text_encoder"].layer(5)[0]
    assert torch.equal(deeper.after[seen.at("fox")], other[3])
    assert not Changed(emoji, Patch("one blue dog", {"fox": "dog"}, layers="3:5")).moved


def test_one_place_of_a_word_that_stands_twice_is_named_by_its_position(emoji):
    prompt = "a red fox and a red car"
    assert Changed(emoji, Drop("red"), prompt=prompt).moved == ["red", "red"]
    here = emoji.reader().places_of(emoji.encode(prompt, LAYER)["text_encoder"])
    assert [here.select(f"word#{i}") for i in (1, -2)] == [list(one) for one in here.groups("red")]
    with pytest.raises(PromptError, match=r"no word#7\. It has: word#0 'a', word#1 'red'"):
        here.select("word#7")


def test_words_are_counted_as_they_are_written_beside_a_learned_one_of_several_pieces(emoji):
    learned = emoji.with_embeddings([initial_embedding(emoji.pipeline, "<it>", "fox", vectors=2)])
    states = learned.encode("a <it> and a car", LAYER)["text_encoder"]
    here = learned.reader().places_of(states)
    assert [len(here.select(f"word#{i}")) for i in range(5)] == [1, 2, 1, 1, 1]
    assert here.select("word#4") == here.select("car")


def test_a_word_that_stands_twice_is_patched_twice(emoji):
    seen = Changed(emoji, Patch("one dog", {"fox": "dog"}), prompt="a fox and a fox")
    assert seen.moved == ["fox", "fox"]


def test_swap_exchanges_two_words(emoji):
    seen = Changed(emoji, Swap("red", "blue"))
    red, blue = seen.at("red"), seen.at("blue")
    assert torch.equal(seen.after[[red, blue]], seen.before[[blue, red]])
    assert seen.moved == ["red", "blue"]


def test_scale_changes_the_norm_or_the_variance_of_what_is_drawn(emoji):
    seen = Changed(emoji, Scale("fox", 2))
    fox = seen.at("fox")
    assert torch.equal(seen.after[fox], seen.before[fox] * 2) and seen.moved == ["fox"]
    wide = Changed(emoji, Scale("fox", 4, of="variance"))
    torch.testing.assert_close(wide.after[fox].var(), wide.before[fox].var() * 4)
    torch.testing.assert_close(wide.after[fox].mean(), wide.before[fox].mean())


def test_scale_is_not_undone_by_the_final_norm(tiny_lens):
    lens = tiny_lens("sd")
    reader = lens.reader()
    both = [
        resolve_readings(lens.conditioner, 4, readout=parse_readout("final"), interventions=changes)[0]
        for changes in ((), (Scale("all", 3),))
    ]
    states = reader.encode([PROMPT], both)
    plain, scaled = (reader.condition(states, one)["prompt_embeds"] for one in both)
    torch.testing.assert_close(scaled, plain * 3)


def test_average_has_the_scale_of_the_layer_that_is_drawn(emoji):
    seen = Changed(emoji, Average())
    torch.testing.assert_close(seen.after.mean(-1), seen.before.mean(-1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(seen.after.std(-1), seen.before.std(-1), atol=1e-3, rtol=1e-3)
    raw = Changed(emoji, Average("1;3", normalized=False))
    states = emoji.encode(PROMPT, [1, 3])["text_encoder"].states
    torch.testing.assert_close(raw.after, states[:, 0].mean(0))


def test_16_bits_hold_an_average_of_large_states(untyped):
    values = torch.linspace(-1, 3, 48).reshape(3, 1, 4, 4) * 2e4
    kept = LayerStates(
        encoder="text_encoder",
        fingerprint="made",
        prompts=("a",),
        layers=(0, 1, 2),
        states=values[:1].expand(3, -1, -1, -1).half(),
        input_ids=torch.zeros(1, 4, dtype=torch.long),
        mask=torch.ones(1, 4, dtype=torch.bool),
        tokens=(("a",) * 4,),
    )
    for one in (Average(), Average(normalized=False)):
        found = one.apply(kept, None).states  # it needs to know nothing of the prompt
        assert found.dtype == torch.float16
        torch.testing.assert_close(found, kept.states, rtol=2e-3, atol=0)


def test_a_direction_of_16_bits_is_not_rounded_on_the_way():
    lens = DiffusionLens.from_pretrained("emoji", dtype="bfloat16", device="cpu")
    prompts = ("a big dog", "a small dog")
    file = fit_direction(lens.reader(), *prompts)
    for layer in (0, 6):
        states = [lens.encode(prompt, layer)["text_encoder"].layer(layer)[0] for prompt in prompts]
        assert states[0].dtype == torch.bfloat16
        big, small = (one[1:4].double().mean(0) for one in states)
        own = file.vector("text_encoder", file.fingerprints["text_encoder"], layer)
        torch.testing.assert_close(own.double(), big - small, rtol=1e-5, atol=1e-5)


def test_steer_adds_the_mean_difference_of_the_prompts(emoji):
    seen = Changed(emoji, Steer(direction("a big dog", "a small dog"), 2, tokens="fox"))
    big, small = (seen.of(prompt)[1:4].mean(0) for prompt in ("a big dog", "a small dog"))
    fox = seen.at("fox")
    torch.testing.assert_close(seen.after[fox], seen.before[fox] + 2 * (big - small))
    assert seen.moved == ["fox"]


def test_a_contextless_word_does_not_depend_on_the_prompt(emoji):
    one = Changed(emoji, Contextless("fox"))
    other = Changed(emoji, Contextless("fox"), prompt="two dogs chase the fox")
    assert one.moved == ["fox"] == other.moved
    assert torch.equal(one.after[one.at("fox")], other.after[other.at("fox")])
    everything = Changed(emoji, Contextless())
    assert everything.moved == PROMPT.split()
    one, other = (Changed(emoji, Contextless(), prompt=f"an x-ray of a {word}") for word in ("ray", "dog"))
    assert one.states.tokens[0][2:5] == ("x", "-", "ray")
    assert torch.equal(one.after[2:5], other.after[2:5]), "no ray stands in the x-ray"


def test_a_contextless_word_can_know_where_it_stands_and_nothing_else(emoji):
    one = Changed(emoji, Contextless(order=True), prompt="a red fox and a blue fox")
    other = Changed(emoji, Contextless(order=True), prompt="two big dogs with a red fox")
    first, last = (i for i, word in enumerate(one.states.tokens[0]) if word == "fox")
    assert not torch.allclose(one.after[first], one.after[last]), "in two places"
    assert torch.equal(one.after[last], other.after[last]), "in one place of two prompts"
    assert torch.equal(one.after[5], other.after[5]) and len(one.moved) == 7
    with pytest.raises(PromptError, match="from a part of another word"):
        Changed(emoji, Contextless(order=True), prompt="an x-ray of a ray")


def test_shuffle_moves_whole_words_and_loses_none(emoji):
    prompt = "a purplish hedgehog and one car"  # words of several pieces
    seen = Changed(emoji, Shuffle(1), prompt=prompt)
    before, after = (one.sum(-1).sort().values for one in (seen.before, seen.after))
    assert torch.equal(before, after) and seen.moved
    assert torch.equal(Changed(emoji, Shuffle(1), prompt=prompt).after, seen.after)
    pieces = [i for i, word in enumerate(seen.states.tokens[0]) if word.startswith("##")]
    for piece in pieces:  # what stands behind the first piece of a word still does
        (place,) = (seen.after == seen.before[piece]).all(-1).nonzero()[0].tolist()
        assert torch.equal(seen.after[place - 1], seen.before[piece - 1])


@pytest.mark.parametrize("family", BY_ENCODER)
def test_an_intervention_that_does_nothing_gives_the_bit_equal_image(tiny_lens, family):
    lens = tiny_lens(family)
    nothing = [
        (),
        (Patch(PROMPT, place="encoder"), Scale("all", 1, place="encoder")),
        (Keep("all"), Patch(PROMPT), Steer(direction("a fox", "a car"), 0, tokens="all"), Scale("all", 1)),
    ]
    images = [
        lens(PROMPT, LAYER, interventions=changes, steps=1, guidance=1.0, progress=False).table
        for changes in nothing
    ]
    plain, *others = (np.asarray(table["image"][0]) for table in images)
    assert all(np.array_equal(plain, other) for other in others)
    assert not any(table["identical"][0] for table in images[1:])
    assert len({table["cell"][0] for table in images}) == len(images)


@pytest.mark.parametrize("family", [name for name in LENSED if name not in BY_ENCODER])
def test_an_intervention_that_does_nothing_gives_the_bit_equal_conditioning(tiny_lens, family):
    """Of the families whose encoders are those of others: the denoiser is given the same."""
    lens = tiny_lens(family)
    read = '"{}"' if family == "glm-image" else "{}"  # its text encoder reads what is quoted
    prompt, fox, car = (read.format(text) for text in (PROMPT, "a fox", "a car"))
    reader = lens.reader(lens.settings().sampler.options)
    in_encoder = (Patch(prompt, place="encoder"), Scale("all", 1, place="encoder"))
    steer = Steer(direction(fox, car), 0, tokens="all")
    given = []
    for changes in ((), in_encoder, (Keep("all"), Patch(prompt), steer, Scale("all", 1))):
        (reading,) = resolve_readings(
            lens.conditioner,
            LAYER,
            readout=parse_readout("native"),
            interventions=parse_interventions(changes),
            options=reader.options,
        )
        reader.prepare([prompt], [reading])
        given.append(reader.condition(reader.encode([prompt], [reading]), reading).to_flat())
    for other in given[1:]:
        assert other.keys() == given[0].keys()
        assert all(torch.equal(value, other[name]) for name, value in given[0].items())


def test_each_further_prompt_is_encoded_once(new_lens):
    lens = new_lens("sd")
    ran = []
    clip_body(lens.pipeline.text_encoder).encoder.layers[0].register_forward_pre_hook(
        lambda *_: ran.append(1)
    )
    changes = [Patch("a blue dog", {"fox": "dog"}), Steer("a blue dog minus a red dog", 1)]
    lens(PROMPT, "all", [0, 1], interventions=changes, steps=1, guidance=1.0, progress=False)
    assert len(ran) == 1 + 2


def test_in_the_encoder_the_later_blocks_run_on_from_the_change(emoji):
    drawn = Changed(emoji, Patch("one blue dog", {"fox": "dog"}, layers=1))
    assert not drawn.moved  # of layer 2, where nothing was changed
    run_on = Changed(emoji, Patch("one blue dog", {"fox": "dog"}, layers=1, place="encoder"))
    assert "fox" in run_on.moved and "car" in run_on.moved  # attention has carried it on
    at_once = Changed(emoji, Patch("one blue dog", {"fox": "dog"}, layers=2, place="encoder"))
    assert at_once.moved == ["fox"]


def test_learned_embeddings_are_patched_in_the_encoder_as_the_words_they_stand_for(emoji):
    learned = emoji.with_embeddings([initial_embedding(emoji.pipeline, "<it>", "fox")])
    assert not emoji.embeddings.hashes  # the other lens is as it was
    images = [
        lens(prompt, 5, steps=1, guidance=1.0, progress=False, interventions=[patch]).image(5)
        for lens, prompt, patch in (
            (emoji, PROMPT, Patch("one blue dog", {"fox": "dog"}, layers=1, place="encoder")),
            (
                learned,
                PROMPT.replace("fox", "<it>"),
                Patch("one blue dog", {"<it>": "dog"}, layers=1, place="encoder"),
            ),
        )
    ]
    assert np.array_equal(*images)


def test_a_patch_of_everything_in_the_encoder_is_the_other_prompt(emoji):
    other = "a green dog and a big car"
    seen = Changed(emoji, Patch(other, layers=1, place="encoder"), layer=5)
    assert torch.equal(seen.after, seen.of(other))
    assert not Changed(emoji, Patch(PROMPT, place="encoder"), layer=5).moved


def test_each_set_of_changes_in_the_encoder_is_one_pass(new_lens):
    lens = new_lens("sd")
    ran = []
    block = clip_body(lens.pipeline.text_encoder).encoder.layers[0]
    handle = block.register_forward_pre_hook(lambda *_: ran.append(1))
    changes = [Scale("fox", 2, place="encoder", layers=1)]
    table = lens(PROMPT, "all", 0, interventions=changes, steps=1, guidance=1.0, progress=False).table
    assert len(ran) == 2
    assert set(table["interventions"]) == {'scale(fox, factor=2.0, place=encoder, layers="1")'}
    handle.remove()
    modules = list(lens.pipeline.text_encoder.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)


def test_a_direction_of_a_file_is_that_of_its_prompts(emoji, tmp_path):
    file = tmp_path / "big.safetensors"
    fit_direction(emoji.reader(), "a big dog", "a small dog").save(file)
    steer = Steer(str(file), 2, tokens="fox")
    assert steer.digest and steer.digest in steer.id and parse_intervention(steer.id) == steer
    written = Changed(emoji, Steer("a big dog minus a small dog", 2, tokens="fox"))
    assert torch.equal(Changed(emoji, steer).after, written.after)


def test_a_direction_of_another_digest_or_encoder_is_refused(emoji, tiny_lens, tmp_path):
    file = tmp_path / "big.safetensors"
    fit_direction(emoji.reader(), "a big dog", "a small dog").save(file)
    steer = Steer(str(file), 2)
    with pytest.raises(InputError, match="another model"):
        Changed(tiny_lens("sd"), steer)
    fit_direction(emoji.reader(), "a red dog", "a blue dog").save(file)
    with pytest.raises(InputError, match="its digest is"):
        Changed(emoji, steer)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(InputError, match="no whole file"):
        Changed(emoji, Steer(str(file), 2))


def parts_of(encoder):
    """The encoders of which a block is what its parts add to the hidden state."""
    return bool(encoder.family.attn) and encoder.norm is not None


@pytest.mark.parametrize("family", BY_ENCODER)
def test_a_block_adds_what_its_parts_add_in_every_family(tiny_lens, family):
    lens = tiny_lens(family)
    reader = lens.reader(lens.settings().sampler.options)
    seen = {name: {"": {}, "block": {}, "attn": {}, "mlp": {}} for name in lens.conditioner.encoders}

    def watch(name, part):
        return lambda state, layer, _: seen[name][part].setdefault(layer, state)

    edits = {name: {part: watch(name, part) for part in seen[name]} for name in seen}
    layers = {name: [one.depth] for name, one in lens.conditioner.encoders.items()}
    lens.conditioner.capture(PROMPT, layers, reader.options, edits=edits)
    for name, parts in seen.items():
        encoder = lens.conditioner.encoders[name]
        if encoder.norm is None:
            continue  # it norms each sum
        assert parts_of(encoder)
        for layer in range(1, lens.conditioner.encoders[name].depth + 1):
            added = parts["attn"][layer] + parts["mlp"][layer]
            torch.testing.assert_close(added, parts["block"][layer], atol=1e-4, rtol=1e-4)


def test_a_skipped_block_gives_on_what_it_was_given(emoji):
    seen = Changed(emoji, Skip(2))
    assert torch.equal(seen.after, emoji.encode(PROMPT, 1)["text_encoder"].layer(1)[0])
    assert not Changed(emoji, Skip(3)).moved
    assert Changed(emoji, Skip(2, tokens="fox")).moved == ["fox"]


def test_without_its_parts_a_block_adds_nothing(tiny_lens):
    lens = tiny_lens("sd")
    seen = Changed(lens, Ablate("2.attn"), Ablate("2.mlp"))
    assert torch.equal(seen.after, lens.encode(PROMPT, 1)["text_encoder"].layer(1)[0])


def test_ablation_is_of_its_tokens_and_runs_on(emoji):
    assert Changed(emoji, Ablate("2.mlp", tokens="fox")).moved == ["fox"]
    assert "car" in Changed(emoji, Ablate("2.mlp", tokens="fox"), layer=3).moved
    zero = Changed(emoji, Ablate(2, tokens="fox"))
    assert not zero.after[zero.at("fox")].any() and zero.moved == ["fox"]


REFUSED = [
    (Keep("dog"), PromptError, "does not hold 'dog'"),
    (Ablate("9.attn"), LayerError, "layers 0 to 6"),
    (Keep(40), PromptError, "no token #40"),
    (Patch("a dog", {"fox": "dog"}, layers=9), LayerError, "layers 0 to 6"),
    (Patch("a dog", from_layer=9), LayerError, "layers 0 to 6"),
    (Patch("a hedgehog", {"fox": "hedgehog"}), PromptError, "read as 1 token"),
    (Swap("red fox", "car"), PromptError, "2 tokens with 1"),
]


@pytest.mark.parametrize(("change", "error", "words"), REFUSED, ids=str)
def test_what_the_prompt_or_the_encoder_lacks_is_refused_by_name(emoji, change, error, words):
    with pytest.raises(error, match=words):
        Changed(emoji, change)


def test_a_word_that_was_cut_off_is_refused(emoji):
    with pytest.raises(PromptError, match="cut off"):
        Changed(emoji, Keep("car"), prompt="a fox " * 20 + "and a car")


def test_a_word_that_names_tokens_is_asked_about(emoji):
    with pytest.raises(PromptError, match="word:last"):
        Changed(emoji, Keep("last"), prompt="the last fox")
    assert "last" not in Changed(emoji, Keep("word:last"), prompt="the last fox").moved
    assert Changed(emoji, Drop("last")).moved == ["car"]


def test_a_pipeline_that_does_not_pad_says_what_it_can_do(tiny_lens):
    lens = tiny_lens("qwen-image")
    with pytest.raises(InputError, match="rest=mean"):
        lens(PROMPT, 1, interventions=[Drop("car")], steps=1, progress=False)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("scale(fox, -2, of=variance)", r"factor of scale is -2.*; a variance is at least 0"),
        ("scale(fox, inf)", r"factor of scale is inf; it must be a finite number"),
        ("steer(a cat minus a dog, nan)", r"strength of steer is nan; it must be a finite number"),
        ("keep()", r"'keep\(\)' lacks tokens\. keep takes tokens, rest\.$"),
    ],
)
def test_what_nothing_can_be_drawn_with_is_refused(written, message):
    with pytest.raises(InputError, match=message):
        parse_intervention(written)


@pytest.mark.parametrize(
    "changes",
    [
        ["keep(fox)", "keep(car)"],
        ["keep(fox)", "drop(car)"],
        ["pads(clean)", "pads(pads only)"],
        ["keep(fox)", "scale(fox, 2, place=encoder)"],
        ["scale(fox, 2)", "keep(fox)"],
    ],
    ids=str,
)
def test_what_contradicts_each_other_is_refused(changes):
    with pytest.raises(InputError, match=r"contradict|order"):
        parse_interventions(changes)


@pytest.mark.usefixtures("untyped")
def test_one_alone_needs_no_list():
    for one in (Keep("fox"), "keep(fox)", ["keep(fox)"]):
        assert parse_interventions(one) == (Keep("fox"),)
    with pytest.raises(InputError, match=r"3 is no intervention. Give one, such as Keep\('fox'\)"):
        parse_interventions([3])


@pytest.mark.parametrize(
    "written",
    [
        "drop(fox, rest=dust)",
        "drop(fox, place=attic)",
        "scale(fox)",
        "scale(fox, much)",
        "patch(a dog, layers=3-5)",
        "patch(a dog, layers=5:3)",
        "patch(a dog, from_layer=-1)",
        "steer(a big dog, 2)",
        "steer(absent.safetensors, 2)",
        "contextless(carriers=9)",
        "contextless(order=1)",
        "shuffle(soon)",
        "pads(dirty)",
        'keep("")',
        "ablate(native)",
        "ablate(native+6.attn)",
        "ablate(6.attn, by=mean)",
        "ablate(6.attn, prompts=a dog)",
        "ablate(6.attn, by=mean, prompts=absent.txt)",
        "skip(0:2)",
        "skip()",
    ],
)
@pytest.mark.usefixtures("untyped")
def test_values_that_can_not_be_are_refused(written):
    with pytest.raises(InputError):
        parse_intervention(written)


@pytest.mark.parametrize(
    ("towards", "aways", "message"),
    [
        (["a big dog", "a big car"], ["a small dog"], "given were 2 and 1 prompts"),
        ("a big dog; a car", "a small dog", "no semicolon"),
        ("ten minus one", "a small dog", "no word minus"),
    ],
)
def test_a_direction_is_of_pairs_that_can_be_written(towards, aways, message):
    with pytest.raises(InputError, match=message):
        direction(towards, aways)


def test_kept_states_of_more_layers_than_are_drawn_are_changed_alike(tiny_lens):
    lens = tiny_lens("sd")
    kept = lens.encode([PROMPT])
    for change in ("keep(fox)", "drop(fox)", "patch(a green dog and a red bird)"):
        asked = {"layers": 0, "seeds": 0, "interventions": [change], "progress": False}
        plain, drawn = (lens(PROMPT, states=states, **asked) for states in (None, kept))
        assert np.array_equal(plain.image(0), drawn.image(0)), change
