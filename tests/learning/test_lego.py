"""LEGO: the subject has a word of its own, and the concept's is drawn to its context."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from diffusion_lens.errors import InputError, RunError
from diffusion_lens.learning.concepts import TEMPLATES, Concept
from diffusion_lens.learning.invert import invert
from diffusion_lens.learning.lego import Context, LegoLearner, context_loss, separated
from diffusion_lens.learning.training import Learner, Settings
from diffusion_lens.text.embeddings import Embedding, initial_embedding
from experiments.studies.lego_concepts import TRUTHS

cli = import_module("diffusion_lens.cli.lego")
CONTEXT = Context("<blue>", "<dog>", ("azure", "sapphire"), ("dog", "scarlet"))


def pair(truth: str = "blue") -> list[Concept]:
    """A concept of the study and its subject."""
    known = TRUTHS[truth]
    usual = (TEMPLATES["object"],) * 5
    return separated(
        Concept("<blue>", known.images(0), usual, "some"),
        Concept("<dog>", known.subject_images(0), usual, "some"),
        known.sentences,
    )


def test_context_loss_is_infonce() -> None:
    x, y = torch.eye(2)
    # the cosines are 1 and 0: -log(e^(1/t) / (e^(1/t) + 1))
    assert context_loss(x[None], x[None], y[None], 0.5).item() == pytest.approx(np.log1p(np.exp(-2)))
    assert context_loss(3 * x[None], x[None], y[None], 0.5) == context_loss(x[None], x[None], y[None], 0.5)
    assert context_loss(x[None], torch.stack([x, y]), y[:0].view(0, 2), 0.1) == 0  # nothing to tell from
    several = context_loss(torch.stack([x, y]), x[None], y[None], 0.07)  # a word is the mean of its rows
    assert several.item() == pytest.approx(np.log(2), abs=1e-5)


def test_both_embeddings_learn_from_the_concepts_images_and_nothing_else_does(emoji) -> None:
    learner = LegoLearner(emoji.pipeline, pair(), Settings(steps=2, batch=1), [CONTEXT])
    matrix = emoji.pipeline.text_encoder.get_input_embeddings().weight
    before = matrix.detach().clone()
    concept, subject = learner.embeddings
    with learner.training():
        losses = learner.losses(0)
        plain = Learner.losses(learner, 0)
        of_concept = torch.autograd.grad(losses[0], concept.parameters() + subject.parameters())
    assert all(gradient.abs().max() > 0 for gradient in of_concept)
    assert torch.equal(losses[1], plain[1]) and losses[0] > plain[0]  # the concept alone has a context
    assert torch.equal(matrix, before)


def test_context_draws_the_concept_to_its_words_and_away_from_the_subject(emoji) -> None:
    settings = Settings(steps=6, batch=1, lr=3e-2)
    rows = {}
    for weight in (0.0, 0.3):
        learner = LegoLearner(emoji.pipeline, pair(), settings, [replace(CONTEXT, weight=weight)])
        with learner.training():
            for _ in range(settings.steps):
                learner.step()
        rows[weight] = learner.embeddings[0].vectors["text_encoder"].detach().mean(0)

    def likeness(weight: float, word: str) -> float:
        other = initial_embedding(emoji.pipeline, "<other>", word).vectors["text_encoder"][0]
        return torch.cosine_similarity(rows[weight], other, dim=0).item()

    assert likeness(0.3, "azure") > likeness(0.0, "azure") + 0.02
    assert likeness(0.3, "azure") - likeness(0.3, "dog") > likeness(0.0, "azure") - likeness(0.0, "dog")


def test_training_resumes_with_the_same_bytes_and_only_with_its_context(emoji, tmp_path: Path) -> None:
    def learn(folder: str, steps: int, context: Context = CONTEXT) -> list[Embedding]:
        where = tmp_path / folder
        where.mkdir(exist_ok=True)
        learner = LegoLearner(emoji.pipeline, pair(), Settings(steps=steps, batch=1), [context])
        return invert(emoji, learner, where, progress=False)

    whole = learn("whole", 3)
    learn("parts", 1)
    parts = learn("parts", 3)
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one.vectors["text_encoder"], other.vectors["text_encoder"])
    with pytest.raises(RunError, match=r"of another training: contexts was .*dog"):
        learn("parts", 4, replace(CONTEXT, negative=("dog",)))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of images of a concept and of its subject."""
    for name, images in (("concept", TRUTHS["tiny"].images(0)), ("subject", pair()[1].images)):
        (tmp_path / name).mkdir()
        for index, image in enumerate(images[:2]):
            image.save(tmp_path / name / f"{index}.png")
    return tmp_path / "concept", tmp_path / "subject"


def test_the_verb_writes_both_words(folders, capsys) -> None:
    out = folders[0].parent / "tiny.safetensors"
    cli.learn(folders[0], folders[1], "<tiny>", "<bus>", ("little",), out=out, steps=1, batch=1)
    assert out.exists() and out.with_name("tiny-subject.safetensors").exists()
    assert "<tiny>" in capsys.readouterr().out


def test_bad_input_is_one_message(folders, emoji) -> None:
    empty = folders[0].parent / "empty"
    empty.mkdir()
    good = {"concept": "<a>", "subject": "<b>", "positive": ("little",), "out": empty / "x.safetensors"}
    for changes, message in (
        ({"concept": "<b>"}, "two different tokens"),
        ({"positive": ()}, "no positive words"),
        ({"negative": ("little",)}, "can't be positive and negative"),
        ({"sentences": ("a {} fox",)}, "must hold"),
        ({"weight": -1.0}, "at least 0"),
        ({"out": empty / "x.png"}, "does not end in .safetensors"),
        ({"subject_images": empty}, "holds no images"),
    ):
        with pytest.raises(InputError, match=message):
            cli.learn(folders[0], **({"subject_images": folders[1]} | good | changes))
    with pytest.raises(InputError, match="not learned here"):
        LegoLearner(emoji.pipeline, pair(), Settings(), [replace(CONTEXT, subject="<fox>")])
    with pytest.raises(InputError, match="not in the vocabulary"):
        LegoLearner(emoji.pipeline, pair(), Settings(), [replace(CONTEXT, positive=("☃",))])
