"""Similarities with known answers, and words read where they stand."""

import numpy as np
import pandas as pd
import pytest
import torch

from diffusion_lens.anatomy import similarity
from diffusion_lens.errors import InputError, LayerError, PromptError
from diffusion_lens.figures import similarity as figures_similarity
from diffusion_lens.text.embeddings import initial_embedding


@pytest.fixture(scope="module")
def words(emoji):
    return similarity.read_words(emoji, ["dog", "puppy", "poodle", "pizza"])


def test_cosines_are_symmetric_with_a_unit_diagonal():
    vectors = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    found = similarity.cosines(vectors)
    assert (found == found.T).all()
    assert (np.diag(found) == 1).all()
    assert (np.abs(found) <= 1 + 1e-12).all()
    known = similarity.cosines(torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 2.0]]))
    assert known == pytest.approx(np.array([[0.0], [0.8]]))


def test_words_are_read_at_every_layer_where_they_stand(emoji, words):
    assert words.layers == tuple(range(7))
    states = emoji.encode("a poodle")["text_encoder"]
    pieces = [index for index, token in enumerate(states.tokens[0]) if token in ("po", "##odle")]
    assert len(pieces) == 2
    assert torch.allclose(words.vectors[:, 2], states.states[:, 0, pieces].mean(1), atol=1e-6)


def test_matrices_of_words_are_symmetric_and_approach_is_a_row(words):
    table = words.similarities(6)
    assert list(table.index) == list(table.columns) == list(words.words)
    assert (table.to_numpy() == table.to_numpy().T).all()
    near = words.approach("dog").set_index(["layer", "word"])["similarity"]
    assert len(near) == 7 * 3
    assert near[6, "puppy"] == table.loc["dog", "puppy"]
    assert near[6, "puppy"] > near[6, "pizza"]
    with pytest.raises(LayerError, match="Layer 9"):
        words.similarities(9)
    with pytest.raises(InputError, match="'cat' was not read"):
        words.approach("cat")


def test_the_template_decides_where_a_word_stands(emoji):
    with pytest.raises(InputError, match="needs one"):
        similarity.read_words(emoji, ["dog"], "a dog")
    with pytest.raises(InputError, match="twice"):
        similarity.read_words(emoji, ["dog", "dog"])
    with pytest.raises(PromptError, match="cut off"):
        similarity.read_words(emoji, ["dog"], "a " * 30 + "{}")
    braces = similarity.read_words(emoji, ["{0}"], "a {}")  # a word is data, never a format
    assert braces.words == ("{0}",)


def test_captions_are_compared_by_the_mean_of_their_tokens_without_pads(emoji):
    texts = ["a dog", "a red fox to the left of a pizza"]
    found = similarity.caption_similarities(emoji, texts)
    pipe = emoji.pipeline
    means = []
    for text in texts:
        tokens = pipe.tokenizer(text, return_tensors="pt")  # without pads at all
        with torch.no_grad():
            means.append(pipe.text_encoder(**tokens).last_hidden_state[0].mean(0))
    expected = torch.cosine_similarity(means[0], means[1], dim=0)
    assert found.iloc[0, 1] == pytest.approx(float(expected), abs=1e-5)
    assert (np.diag(found) == 1).all()
    with pytest.raises(LayerError):
        similarity.caption_similarities(emoji, texts, layer=12)


def test_matrices_drawn_together_must_match():
    one = pd.DataFrame(np.eye(2), ["a", "b"], ["a", "b"])
    with pytest.raises(InputError, match="same rows and columns"):
        figures_similarity.draw_matrices({"one": one, "two": one.iloc[:1]})
    with pytest.raises(InputError, match="same rows and columns"):
        figures_similarity.draw_matrices({})
    with pytest.raises(InputError, match="holds no cat"):
        table = pd.DataFrame({"layer": [0], "word": ["dog"], "similarity": [1.0]})
        figures_similarity.draw_approach(table, {"cats": ["cat"]}, "puppy")


def test_learned_words_are_read_as_what_they_stand_for(emoji):
    learned = emoji.with_embeddings([initial_embedding(emoji.pipeline, "<it>", "dog")])
    found = similarity.read_words(learned, ["<it>", "dog"])
    assert torch.equal(found.vectors[:, 0], found.vectors[:, 1])
