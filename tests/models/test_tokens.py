"""Words of prompts are found among the tokens that each encoder really reads."""

import re

import pytest
import torch

from diffusion_lens.errors import PromptError
from diffusion_lens.models import tokens
from diffusion_lens.models.tokens import PromptTokens, align_prompt, find_tokenizer
from diffusion_lens.testing import LENSED

PROMPT = "Red fox foxes red"


def letters(text):
    return re.sub(r"\W", "", text).casefold()


# GLM-Image reads quoted text alone
@pytest.mark.parametrize("family", [name for name in LENSED if name != "glm-image"])
def test_the_tokens_of_each_word_spell_it(tiny_lens, family):
    lens = tiny_lens(family)
    for name, states in lens.encode(PROMPT).items():
        tokenizer = find_tokenizer(lens.pipeline, lens.conditioner.slots[name])
        ids = states.input_ids[0].tolist()
        read = align_prompt(tokenizer, PROMPT, ids)
        assert read.cut_words() == []
        for word, positions in read.words():
            spelled = tokenizer.decode([ids[i] for i in positions])
            assert letters(word) in letters(spelled) or tokenizer.unk_token in spelled
        red, again = read.find("red")
        assert red == read.words()[0][1] and again == read.words()[-1][1]
        assert max(red) < min(again)
        # whole words: the foxes are others
        assert len(read.find("fox")) == len(read.find("foxes")) == 1


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "qwen-image", "flux2", "kolors"])
def test_letters_find_what_ids_find(tiny_lens, family):
    lens = tiny_lens(family)
    for name, states in lens.encode("a red fox on grass").items():
        tokenizer = find_tokenizer(lens.pipeline, lens.conditioner.slots[name])
        ids = states.input_ids[0].tolist()
        by_ids = align_prompt(tokenizer, "a red fox on grass", ids)
        by_letters = tokens._align_letters(tokenizer, "a red fox on grass", ids)
        assert tuple(by_letters) == by_ids.content


@pytest.mark.parametrize("family", ["qwen-image", "z-image"])
def test_a_prompt_that_is_a_word_of_the_chat_template_is_found_where_it_was_written(tiny_lens, family):
    lens = tiny_lens(family)
    for word in ("assistant", "user"):
        states = lens.encode([word, "red"])["text_encoder"]
        tokenizer = find_tokenizer(lens.pipeline, lens.conditioner.slots["text_encoder"])
        found, plain = (
            align_prompt(tokenizer, prompt, states.input_ids[row].tolist())
            for row, prompt in enumerate((word, "red"))
        )
        assert found.content[0] == plain.content[0]  # the template before the prompt is the same
        letter_by_letter = tokens._align_letters(tokenizer, word, states.input_ids[0].tolist())
        assert tuple(letter_by_letter) == found.content


def test_what_is_cut_off_is_named(emoji):
    tokenizer = emoji.pipeline.tokenizer

    def read(prompt):
        ids = tokenizer(prompt, padding="max_length", truncation=True).input_ids
        return align_prompt(tokenizer, prompt, ids)

    assert read("a dog, a dog").words() == [("a", (1,)), ("dog,", (2, 3)), ("a", (4,)), ("dog", (5,))]
    long = read("a café with a red fox to the left of a blue pizza and a small green hat at night")
    assert long.cut_words() == ["at", "night"]
    assert long.find("café") and long.find("hat")
    with pytest.raises(PromptError, match="cut off"):
        long.find("night")
    with pytest.raises(PromptError, match=r"does not hold 'ca'.*'cat'"):
        read("a cat").find("ca")
    assert read("").words() == [] and read("").cut_words() == []
    many = read("x " * 50_000)
    assert len(many.content) == tokenizer.model_max_length - 2
    assert len(many.cut_words()) == 50_000 - len(many.content)


def test_a_word_of_several_tokens_and_a_learned_one_have_them_all(emoji):
    from diffusion_lens.text.embeddings import Embedding, use_embeddings

    tokenizer = emoji.pipeline.tokenizer
    ids = tokenizer("a poodle").input_ids
    assert align_prompt(tokenizer, "a poodle", ids).find("poodle") == ((2, 3),)
    word = Embedding("<cat>", {"text_encoder": torch.randn(2, 384)})
    with use_embeddings(emoji.pipeline, [word]):
        taught = emoji.pipeline.tokenizer
        text = f"a {' '.join(word.placeholder_tokens)} on grass"
        read = align_prompt(taught, text, taught(text).input_ids)
        assert [positions for _, positions in read.words()] == [(1,), (2,), (3,), (4,), (5,)]


def test_a_prompt_that_was_rewritten_has_no_tokens():
    read = PromptTokens("a red fox", (None, None, None))
    assert read.content == () and read.cut_words() == []
    with pytest.raises(PromptError, match="was rewritten"):
        read.find("fox")
