"""How alike two pictures are: values that can be worked out, and those of another implementation."""

import numpy as np
import pytest
from PIL import Image

from diffusion_lens.scoring.measures import PixelMeasure, SsimMeasure, VectorMeasure, ssim
from diffusion_lens.scoring.scorer import ScoreRequest
from diffusion_lens.scoring.scorers.similarity import CHECKS, SimilarityScorer


def grey(level: int) -> Image.Image:
    return Image.new("RGB", (16, 16), (level,) * 3)


def test_ssim_of_flat_pictures_is_the_term_of_their_means():
    # with no variance only (2ab + C1) / (a^2 + b^2 + C1) is left
    a, b, c = 100.0, 150.0, (0.01 * 255) ** 2
    expected = (2 * a * b + c) / (a * a + b * b + c)
    assert ssim(np.full((16, 16), a), np.full((16, 16), b)) == pytest.approx(expected)


def test_ssim_of_a_picture_with_its_negative_is_that_of_its_contrast():
    board = np.indices((21, 21)).sum(0) % 2 * 255.0
    assert ssim(board, board) == pytest.approx(1)
    assert ssim(board, 255 - board) < -0.9


def test_ssim_is_that_of_scikit_image():
    # skimage.metrics.structural_similarity(one, other, data_range=255) of scikit-image 0.26.0
    y, x = np.mgrid[:24, :20]
    one = 127 + 100 * np.sin(x / 3) * np.cos(y / 4)
    other = 127 + 80 * np.sin(x / 3 + 0.4) * np.cos(y / 4) + 20 * np.cos(x * y / 11)
    assert ssim(one, other) == pytest.approx(0.7831618209145828, abs=1e-9)


def test_measures_know_same_from_other():
    pair = PixelMeasure(), SsimMeasure()
    for measure in pair:
        first, second, third = measure.describe([grey(0), grey(0), grey(255)])
        assert measure.compare(first, second) == pytest.approx(1)
        assert measure.compare(first, third) < 0.01


def test_vectors_that_point_apart_are_not_alike_at_all():
    vectors = {0: [1.0, 0.0], 100: [0.6, 0.8], 200: [-1.0, 0.0]}
    measure = VectorMeasure(
        "clip", "made", lambda images: np.array([vectors[image.getpixel((0, 0))[0]] for image in images])
    )
    a, b, c = grey(0), grey(100), grey(200)
    judged = SimilarityScorer(measure).score(
        [
            ScoreRequest(a, CHECKS, {"last": b}),
            ScoreRequest(b, CHECKS, {"last": c, "before": a}),
            ScoreRequest(c, CHECKS, {"last": None, "before": b}),
        ]
    )
    assert [[one.p for one in row] for row in judged] == [
        [pytest.approx(0.6), None],
        [0.0, pytest.approx(0.6)],
        [None, 0.0],
    ]
    assert judged[1][0].raw == {"value": pytest.approx(-0.6)}
    assert [one.reason for one in judged[2]] == ["the image of the last layer is missing", None]


def test_pictures_of_unequal_size_are_compared_at_the_size_of_the_first():
    measure = PixelMeasure()
    small, large = measure.describe([grey(90), Image.new("RGB", (32, 32), (90,) * 3)])
    assert measure.compare(small, large) == pytest.approx(1)
