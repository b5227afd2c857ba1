"""The tokenizer of the CLIP trained here."""

from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from diffusion_lens.testbed import captions, scenes
from diffusion_lens.testbed.tokenizer import TOKENS, train_tokenizer


@given(st.text(max_size=40).filter(lambda text: "<|" not in text))  # the tokenizer's own tokens
def test_no_text_is_unknown(text: str) -> None:
    tokenizer = train_tokenizer()
    pieces = tokenizer(text).input_ids
    assert all(0 <= piece < len(tokenizer) for piece in pieces)
    assert pieces.count(tokenizer.unk_token_id) == 1  # the end of text, which stands for unknown in CLIP


def test_the_embedded_model_has_the_one_that_is_learned(shipped_tokenizer: CLIPTokenizer) -> None:
    learned = train_tokenizer()
    assert learned.get_vocab() == shipped_tokenizer.get_vocab()
    texts = [captions.caption(scenes.sample(52, i), 52, i) for i in range(50)]
    assert learned(texts).input_ids == shipped_tokenizer(texts).input_ids


def test_frequent_words_are_one_token_and_rare_ones_several() -> None:
    tokenizer = train_tokenizer()
    lengths = [len(tokenizer.tokenize(name)) for name in scenes.OBJECTS]
    assert all(length == 1 for length in lengths[:40])
    assert sum(length > 1 for length in lengths[40:]) > 20
    assert len(tokenizer.tokenize("Nixdor")) > 1


def test_captions_fit() -> None:
    tokenizer = train_tokenizer()
    texts = [captions.caption(scenes.sample(51, i), 51, i) for i in range(500)]
    assert max(len(ids) for ids in tokenizer(texts).input_ids) <= TOKENS


def test_saved_tokenizer_is_the_same(tmp_path) -> None:
    tokenizer = train_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    loaded = CLIPTokenizer.from_pretrained(tmp_path)
    text = "a red fox above Velka Mith"
    assert loaded(text, padding="max_length").input_ids == tokenizer(text, padding="max_length").input_ids
    assert loaded.model_max_length == TOKENS
