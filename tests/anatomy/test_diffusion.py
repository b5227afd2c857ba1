"""Every figure draws what it is given, without pyplot and without a warning."""

import io

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from diffusion_lens.anatomy import attention, diffusion, latents, sampling, similarity
from diffusion_lens.errors import InputError
from diffusion_lens.figures import diffusion as figures_diffusion
from diffusion_lens.figures import panels, style, training
from diffusion_lens.figures import similarity as figures_similarity
from diffusion_lens.testbed import scenes
from tests.figures.test_training import log


def render(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    pixels = np.asarray(Image.open(buffer).convert("RGB"))
    assert pixels.std() > 1  # not blank
    return pixels


@pytest.fixture(scope="module")
def images():
    return [Image.fromarray(scenes.render(scenes.sample(90_001, index))) for index in range(8)]


def test_the_autoencoder_and_the_forward_process(emoji, images):
    pipe = emoji.pipeline
    clean = latents.to_latents(pipe, images)
    render(diffusion.draw_reconstruction(latents.reconstruct(pipe, images[:3])))
    render(figures_diffusion.draw_schedule(latents.schedule(pipe)))
    render(diffusion.draw_noise(pipe, latents.add_noise(pipe, clean[0], [0, 500]), clean))
    errors = latents.prediction_errors(pipe, images[:3], ["a dog"] * 3, [100, 900])
    render(figures_diffusion.draw_errors(errors))


def test_the_reverse_process_and_attention(emoji, images):
    pipe = emoji.pipeline
    clean = latents.to_latents(pipe, images)
    render(diffusion.draw_trajectory(pipe, sampling.follow(pipe, "a dog", steps=3), clean))
    maps = [attention.attend(pipe, text, steps=1) for text in ("a dog", "a red fox")]
    render(attention.draw_attention(maps))
    render(attention.draw_attention(maps[0]))


def test_guidance_training_and_similarity(images):
    table = pd.DataFrame(
        {"prompt": "a dog", "seed": [0, 1, 0, 1], "guidance": [1, 1, 4, 4], "image": images[:4]}
    )
    render(figures_diffusion.draw_guidance(table))
    effects = pd.DataFrame({"prompt": "a", "guidance": [1, 4], "fit": [0.1, 0.2], "diversity": [0.2, 0.1]})
    render(figures_diffusion.draw_guidance_effects(effects))
    logs = [log(120).assign(model="a", stage=stage) for stage in ("clip", "diffusion", "autoencoder")]
    render(training.draw_training(pd.concat(logs)))
    names = ["one", "two", "three"]
    matrix = pd.DataFrame(similarity.cosines(torch.eye(3) + 0.1), names, names)
    render(figures_similarity.draw_matrices({"": matrix}, images=images[:3]))
    render(figures_similarity.draw_matrices({"a": matrix, "b": matrix}, numbers=False))
    words = similarity.WordVectors(tuple(names), (0, 1), torch.randn(2, 3, 4))
    render(
        figures_similarity.draw_approach(words.approach("one"), {"some": ["two"], "more": ["three"]}, "one")
    )


def test_images_stand_where_they_were_put():
    red, green, blue = (Image.new("RGB", (64, 64), colour) for colour in ("red", "lime", "blue"))
    pixels = render(panels.draw_images([[red, green], [None, blue]], ["a", "b"], ["c", "d"]))
    height, width, _ = pixels.shape
    where = {}
    for name, colour in {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}.items():
        y, x = np.nonzero((pixels == colour).all(-1))
        assert len(y), name
        where[name] = (y.mean() / height, x.mean() / width)
    assert where["red"][1] < where["green"][1]
    assert where["red"][0] == pytest.approx(where["green"][0], abs=0.02)
    assert where["blue"][0] > where["green"][0]
    assert where["blue"][1] == pytest.approx(where["green"][1], abs=0.02)


def test_a_sheet_needs_labels_that_match():
    one = Image.new("RGB", (8, 8))
    with pytest.raises(InputError, match="rows of one length"):
        panels.draw_images([[one], [one, one]])
    with pytest.raises(InputError, match="rows of one length"):
        panels.draw_images([])
    with pytest.raises(InputError, match="2 row labels"):
        panels.draw_images([[one]], ["a", "b"])
    with pytest.raises(InputError, match="2 column labels"):
        panels.draw_images([[one]], [], ["a", "b"])
    with pytest.raises(InputError, match="cell labels"):
        panels.draw_images([[one]], cell_labels=[["a"], ["b"]])


def test_a_wide_sheet_stays_on_the_page():
    one = Image.new("RGB", (64, 64))
    figure = panels.draw_images([[one] * 30], ["a row"])
    assert figure.get_figwidth() <= style.PAGE + 0.01


def test_labels_are_text_whatever_they_say():
    """A word of a prompt may look like a formula that can't be read."""
    image, word = Image.new("RGB", (64, 64), "red"), r"$\nothing_{$"
    table = pd.DataFrame({"prompt": word, "seed": 0, "guidance": [1, 4], "image": [image] * 2})
    render(figures_diffusion.draw_guidance(table))
    effects = pd.DataFrame({"prompt": word, "guidance": [1], "fit": [0.1], "diversity": [0.2]})
    render(figures_diffusion.draw_guidance_effects(effects))
    heat = torch.rand(1, 3, 8, 8)
    render(attention.draw_attention(attention.AttentionMaps(image, ((word, (1,)),), heat)))
    words = similarity.WordVectors((word, "dog"), (0, 1), torch.randn(2, 2, 4))
    render(figures_similarity.draw_matrices({word: words.similarities(1)}))
    render(figures_similarity.draw_approach(words.approach("dog"), {word: [word]}, word))
