"""States in words: the encoder's own head where it has one, the nearest words of a list otherwise."""

import string

import pytest
import torch
from transformers import Gemma2ForCausalLM, T5Tokenizer

from diffusion_lens.errors import EncoderError, InputError, PromptError
from diffusion_lens.lens.result import Result
from diffusion_lens.lens.words import say_layers
from diffusion_lens.text.interventions import Patch
from diffusion_lens.text.vocabulary import Vocabulary, everyday_words, find_head
from tests.tiny import LENSED

WORDS = ["fox", "wolf", "dog", "car", "truck", "red", "blue", "pizza", "house"]
DRAW = {"steps": 1, "guidance": 1.0, "progress": False}


def test_a_word_says_itself_and_then_what_is_like_it(emoji):
    table = say_layers(emoji, "a red fox", [0, 6], k=2, tokens="fox", words=WORDS)
    assert table["layer"].tolist() == [0, 6] and set(table["by"]) == {"nearest"}
    assert table["said"].tolist() == ["fox, wolf", "fox, wolf"]
    assert all(1 >= one >= other for one, other in table["scores"])


def test_what_is_said_is_what_was_drawn(emoji):
    patch = [Patch("a red truck", {"fox": "truck"}, layers=6)]
    result = emoji("a red fox", [0, 6], interventions=patch, **DRAW)
    said = result.words(1, "fox", words=WORDS).set_index("layer")["said"]
    assert said[0] == "fox" and said[6] == "truck"
    beside = result.with_words(1, "fox", words=WORDS)
    assert beside.table["said"].tolist() == ["fox: fox", "fox: truck"]
    assert len(beside.table) == len(result.table)
    assert beside.grid().height > result.grid().height


def test_a_tidy_table_has_one_row_a_word_by_the_place_of_its_token(emoji):
    asked = {"k": 3, "tokens": "fox", "words": WORDS}
    joined = say_layers(emoji, "a fox, a fox", [0, 6], **asked)
    tidy = say_layers(emoji, "a fox, a fox", [0, 6], tidy=True, **asked)
    places = tidy.drop_duplicates(["layer", "position"])[["layer", "position", "token"]]
    assert places.to_numpy().tolist() == [[0, 2, "fox,"], [0, 5, "fox"], [6, 2, "fox,"], [6, 5, "fox"]]
    assert tidy["rank"].tolist() == [1, 2, 3] * 4
    found = tidy.groupby(["layer", "position"])["word"].agg(", ".join)
    assert found.tolist() == joined["said"].tolist()
    assert tidy["score"].tolist() == [one for scores in joined["scores"] for one in scores]


def test_the_empty_prompt_says_nothing(emoji):
    assert say_layers(emoji, "", 6, words=WORDS).empty


def test_parts_and_words_of_several_pieces_are_said(emoji):
    table = say_layers(emoji, "a purplish hedgehog", ["3.mlp", "native+3.mlp"], k=1, words=WORDS)
    assert table["state_of"].tolist() == ["text_encoder 3.mlp"] * 3 + ["text_encoder 6+3.mlp"] * 3
    assert table["token"].tolist() == ["a", "purplish", "hedgehog"] * 2


@pytest.mark.parametrize("family", [name for name in LENSED if name in ("z-image", "sana", "sd", "sd3")])
def test_only_language_models_have_a_head(tiny_lens, family):
    lens = tiny_lens(family)
    for encoder in lens.conditioner.encoders.values():
        head = find_head(encoder)
        assert head is None or (encoder.family.decoder and head.shape[1] > 1)
        if not encoder.family.decoder:
            assert head is None


def test_a_head_says_what_the_language_model_itself_would(new_lens):
    lens = new_lens("z-image")
    (encoder,) = lens.conditioner.encoders.values()
    encoder.module.config.tie_word_embeddings = True
    head = find_head(encoder)
    table = say_layers(lens, "a red fox", -1, k=3, tokens="last")
    states = lens.encode("a red fox", -1)["text_encoder"]
    place = lens.reader().places_of(states).select("last")
    tokenizer = lens.pipeline.tokenizer
    normed = encoder.final_norm(states.states[0, 0, place].to(head.dtype))
    best = (normed @ head[: len(tokenizer)].T).float().softmax(-1)[0].topk(3)
    assert table["by"].tolist() == ["head"]
    assert table["scores"][0] == pytest.approx(best.values.tolist(), rel=1e-4)
    assert table["said"][0] == ", ".join(tokenizer.decode([one]).strip() for one in best.indices)


def test_probabilities_are_those_of_a_model_that_caps_its_logits(new_lens):
    lens = new_lens("sana")
    (encoder,) = lens.conditioner.encoders.values()
    encoder.module.config.final_logit_softcapping = 0.5  # of Gemma 2 itself 30; its logits are larger
    whole = Gemma2ForCausalLM(encoder.module.config).eval()
    whole.model, whole.lm_head.weight = encoder.module, encoder.module.embed_tokens.weight
    states = lens.encode("a red fox", -1)["text_encoder"]
    (place,) = lens.reader().places_of(states).select("last")
    with torch.no_grad():
        logits = whole(states.input_ids, attention_mask=states.mask.long()).logits[0, place]
    own = logits[: len(lens.pipeline.tokenizer)].softmax(-1).topk(3)
    (scores,) = say_layers(lens, "a red fox", -1, k=3, tokens="last")["scores"]
    assert scores == pytest.approx(own.values.tolist(), rel=1e-4)


def say_fox(lens, prompt):
    """What the embedding of "fox" says, among words of several lengths."""
    reader = lens.reader()
    words = Vocabulary(reader, ["fox", "a very large automobile near the brown dog house", "house"])
    (reading,) = lens.readings([0], reader=reader)
    (states,) = lens.encode([prompt], [reading.reading]).values()
    return [words.say(states, 0, 1, "fox", "nearest")[0] for _ in range(2)]


def test_words_are_found_where_a_batch_is_padded_in_front(new_lens):
    for said in say_fox(new_lens("cogview4"), "a fox"):  # before and after the words were read
        assert said.words == ("fox",) and said.scores == pytest.approx((1.0,), abs=1e-4)


def test_a_word_is_read_without_the_article_before_it(new_lens):
    lens = new_lens("pixart-alpha")
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [("▁" + word, -3.0) for word in ("the", "fox", "house", "near", "very")]
    letters = [(letter, -10.0) for letter in string.ascii_lowercase]
    lens.pipeline.tokenizer = T5Tokenizer(vocab=pieces + letters, extra_ids=0, model_max_length=512)
    assert lens.pipeline.tokenizer.tokenize("a fox") == ["▁", "a", "▁fox"]  # as T5 itself reads it
    for said in say_fox(lens, "the fox"):
        assert said.words == ("fox",) and said.scores == pytest.approx((1.0,), abs=1e-4)


def test_what_can_not_be_said_is_refused(emoji, new_lens):
    with pytest.raises(EncoderError, match="no vocabulary head at hand"):
        say_layers(emoji, "a red fox", 6, by="head")
    with pytest.raises(PromptError, match="does not hold 'dog'"):
        say_layers(emoji, "a red fox", 6, tokens="dog", words=WORDS)
    with pytest.raises(InputError, match="0 words were asked for of each token"):
        say_layers(emoji, "a red fox", 6, k=0, words=WORDS)
    with pytest.raises(InputError, match="at least two words"):
        say_layers(emoji, "a red fox", 6, words=["fox"])
    with pytest.raises(InputError, match=r"A list of words is for the nearest words.*--by nearest"):
        say_layers(emoji, "a red fox", 6, words=WORDS, by="head")
    lens = new_lens("z-image")
    (encoder,) = lens.conditioner.encoders.values()
    encoder.module.config.tie_word_embeddings = True
    # a list that is given is chosen from, also where there is a head
    assert Vocabulary(lens.reader(), WORDS).choose("text_encoder", None) == "nearest"
    short = torch.nn.Embedding(3, encoder.module.get_input_embeddings().weight.shape[1])
    encoder.module.set_input_embeddings(short)
    with pytest.raises(InputError, match="do not belong together"):
        Vocabulary(lens.reader()).choose("text_encoder", "head")


def test_without_its_model_a_result_says_nothing(new_lens):
    lens = new_lens("sd")
    result = lens("a red fox", 1, release_encoders=True, **DRAW)
    with pytest.raises(EncoderError, match="were released"):
        result.words(1)
    with pytest.raises(InputError, match="read from a file"):
        Result(result.table, result.states).words(1)


def test_the_list_has_the_words_of_the_testbed():
    from diffusion_lens.testbed.scenes import OBJECTS

    assert set(OBJECTS) <= set(everyday_words())
