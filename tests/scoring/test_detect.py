"""Detection: GenEval's rules on boxes that are known, and real detectors of transformers at tiny sizes."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import (
    CLIPTokenizer,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessorPil,
    Owlv2Processor,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessorPil,
)

from diffusion_lens.checks.checks import Check
from diffusion_lens.checks.question_sets import from_geneval
from diffusion_lens.errors import ScorerError
from diffusion_lens.scoring.boxes import Box, overlaps, stand, suppress
from diffusion_lens.scoring.detectors import ClassDetector, WordDetector, load_detector
from diffusion_lens.scoring.scorers.detect import DetectScorer, DetectSettings
from diffusion_lens.testing.tokenizers import clip_tokenizer
from tests.scoring.made_runs import requests

THINGS = {(255, 0, 0): "apple", (0, 255, 0): "bench", (0, 0, 255): "cat"}


class Paint:
    """A detector that is never wrong: every rectangle of a known paint is a thing, its shade the score."""

    name = "paint"
    classes = frozenset(THINGS.values())

    def find(self, images: Sequence[Image.Image], labels: Sequence[Sequence[str]], least: float):
        pairs = zip(images, labels, strict=True)
        return [self._find(np.asarray(image), set(asked), least) for image, asked in pairs]

    def _find(self, pixels: np.ndarray, asked: set[str], least: float) -> list[Box]:
        found = []
        for colour in np.unique(pixels.reshape(-1, 3), axis=0):
            channel = int(colour.argmax())
            name = list(THINGS.values())[channel]
            if colour.sum() == 0 or name not in asked or colour[channel] / 255 < least:
                continue
            y, x = np.nonzero((pixels == colour).all(-1))
            corners = (float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1))
            found.append(Box(name, colour[channel] / 255, corners))
        return found


def paint(*things: tuple[str, int, int], score: int = 255) -> Image.Image:
    """Squares of 20 px at these centres; each differs in shade by one, to be told apart."""
    picture = np.zeros((128, 128, 3), np.uint8)
    for index, (name, x, y) in enumerate(things):
        channel = list(THINGS.values()).index(name)
        picture[y - 10 : y + 10, x - 10 : x + 10, channel] = score - index
    return Image.fromarray(picture)


def judge(image: Image.Image, *checks: Check, **options: object):
    [judged] = DetectScorer(Paint(), settings=DetectSettings(**options)).score(requests([image], [checks]))
    return judged


def test_a_thing_is_found_however_its_name_is_written():
    picture = paint(("apple", 30, 60), ("cat", 90, 60))
    there = Check("a", "object", "?", subject="Apple")
    beside = Check("r", "relation", "?", subject="Apple", relation="left of", target="CAT")
    counted = Check("c", "count", "?", subject="Apple", relation="exactly", count=1)
    assert [one.label for one in judge(picture, there, beside, counted)] == [True, True, True]


@pytest.mark.parametrize(
    ("things", "expected", "reasons"),
    [
        ([("apple", 64, 64)], [True, False], ["found one apple", "counted one apple"]),
        (
            [("apple", 30, 30), ("apple", 90, 90)],
            [True, True],
            ["found two apples", "counted two apples"],
        ),
        (
            [("apple", 30, 30), ("apple", 90, 90), ("apple", 30, 90)],
            [True, False],
            ["found three apples", "counted three apples"],
        ),
        ([("bench", 64, 64)], [False, False], ["found no apples", "counted no apples"]),
    ],
)
def test_a_row_of_geneval_is_judged_by_its_rules(things, expected, reasons):
    row = {
        "tag": "counting",
        "prompt": "a photo of two apples",
        "include": [{"class": "apple", "count": 2}],
        "exclude": [{"class": "apple", "count": 3}],
    }
    judged = judge(paint(*things), *from_geneval(row).checks)
    assert [one.label for one in judged] == expected
    assert [one.reason for one in judged] == reasons


def test_a_thing_that_is_there_may_be_too_unsure_to_be_counted():
    checks = from_geneval({"tag": "t", "prompt": "", "include": [{"class": "apple", "count": 2}]}).checks
    image = paint(("apple", 30, 30), ("apple", 90, 90), score=200)
    assert [one.label for one in judge(image, *checks)] == [True, False]
    assert [one.label for one in judge(image, *checks, least_counted=0.7)] == [True, True]
    assert [one.label for one in judge(image, *checks, least=0.8)] == [False, False]
    assert judge(image, *checks)[0].p == pytest.approx(200 / 255)


@pytest.mark.parametrize(
    ("first", "second", "where"),
    [
        ((20, 64), (100, 64), "left of"),
        ((100, 64), (20, 64), "right of"),
        ((64, 20), (64, 100), "above"),
        ((64, 100), (64, 20), "below"),
    ],
)
def test_positions_are_those_of_the_boxes(first, second, where):
    image = paint(("apple", *first), ("bench", *second))
    checks = [
        Check(word, "relation", "", subject="apple", relation=word, target="bench")
        for word in ("left of", "right of", "above", "below")
    ]
    assert {one.check_id for one in judge(image, *checks) if one.label} == {where}


def test_what_a_detector_can_not_tell_is_missing_with_the_reason():
    image = paint(("apple", 64, 64))
    checks = [
        Check("1", "relation", "", subject="apple", relation="left of", target="bench"),
        Check("2", "relation", "", subject="bench", relation="left of", target="apple"),
        Check("3", "relation", "", subject="apple", relation="riding", target="apple"),
        Check("4", "object", "", subject="violin"),
        Check("5", "attribute", "", subject="apple", attribute="red"),
        Check("6", "attribute", "", subject="apple", attribute="wooden"),
        Check("7", "object", "Is it art?"),
    ]
    judged = judge(image, *checks)
    assert {one.label for one in judged} == {None}
    expected = [
        "there is no bench",
        "there is no bench",
        "can't tell 'riding'",
        "knows no 'violin'",
        "colours need a CLIP",
        "'wooden' is none of",
        "names none",
    ]
    for one, part in zip(judged, expected, strict=True):
        assert part in one.reason


NAMED = {
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "yellow": (1, 1, 0),
    "white": (1, 1, 1),
    "purple": (1, 0, 1),
    "orange": (1, 0.5, 0),
    "pink": (1, 0.5, 0.8),
    "brown": (0.5, 0.3, 0.1),
    "black": (0.01, 0.02, 0.01),
}


class NearestColour:
    """A CLIP whose vectors are colours: of a picture its mean, of a text the colour that it names."""

    scale = 50.0
    text = vision = torch.nn.Linear(1, 1)

    def embed_texts(self, texts):
        chosen = [next(v for k, v in NAMED.items() if k in text) for text in texts]
        return torch.nn.functional.normalize(torch.tensor(chosen, dtype=torch.float32), dim=-1)

    def embed_images(self, images):
        means = [np.asarray(image).reshape(-1, 3).mean(0) for image in images]
        return torch.nn.functional.normalize(torch.tensor(np.array(means), dtype=torch.float32), dim=-1)


def test_the_colour_is_told_from_the_crop_alone():
    image = paint(("cat", 30, 30), ("bench", 90, 90))
    checks = [
        Check(colour, "attribute", "", subject="cat", attribute=colour) for colour in ("blue", "green")
    ]
    [judged] = DetectScorer(Paint(), NearestColour()).score(requests([image], [checks]))
    assert [one.label for one in judged] == [True, False]
    assert judged[0].p > 0.9 > judged[1].p and judged[1].reason == "the cat is blue"
    assert judged[0].chance == pytest.approx(0.1)


def test_overlap_has_known_values():
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [1, 1, 2, 2], [5, 5, 6, 6], [3, 3, 3, 3]], float)
    found = overlaps(boxes)
    assert found[0, 1] == pytest.approx(2 / 6) and found[0, 2] == pytest.approx(1 / 4)
    assert found[0, 3] == 0 and found[4, 4] == 0 and np.diag(found)[:4] == pytest.approx([1] * 4)
    assert np.array_equal(found, found.T)


def test_duplicates_of_a_label_go_and_others_stay():
    here, near, far = (0.0, 0.0, 10.0, 10.0), (1.0, 0.0, 11.0, 10.0), (20.0, 20.0, 30.0, 30.0)
    boxes = [Box("a", 0.5, here), Box("a", 0.9, near), Box("b", 0.4, here), Box("a", 0.3, far)]
    assert [(box.label, box.score) for box in suppress(boxes, 0.5)] == [("a", 0.9), ("b", 0.4), ("a", 0.3)]
    assert len(suppress(boxes, 1.0)) == 4 and suppress([], 0.5) == []


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.floats(0, 1)), max_size=12))
@settings(deadline=None)
def test_what_suppression_keeps_is_apart_and_what_it_drops_is_near_a_surer_one(spots):
    boxes = [Box("a", score, (x + 0.0, y + 0.0, x + 6.0, y + 6.0)) for x, y, score in spots]
    kept = suppress(boxes, 0.4)

    def shared(one: Box, other: Box) -> float:
        return float(overlaps(np.array([one.corners, other.corners]))[0, 1])

    assert all(shared(a, b) <= 0.4 for i, a in enumerate(kept) for b in kept[:i])
    for box in boxes:
        assert any(box is one or (one.score >= box.score and shared(one, box) > 0.4) for one in kept)


@pytest.mark.parametrize(
    ("centre", "expected"),
    [
        ((8, 0), {"right"}),
        ((-8, 0), {"left"}),
        ((0, -8), {"above"}),
        ((0, 8), {"below"}),
        ((8, 8), {"right", "below"}),
        ((0, 0), set()),
        ((0.7, 0), set()),
        ((0.9, 0), {"right"}),
        ((8, 2), {"right"}),
    ],
)
def test_a_direction_counts_from_its_dead_zone_on(centre, expected):
    """Two boxes of 4 px: the zone is 0.1 * (4 + 4) = 0.8 px."""
    x, y = centre
    first = Box("a", 1.0, (x - 2.0, y - 2.0, x + 2.0, y + 2.0))
    assert stand(first, Box("b", 1.0, (-2.0, -2.0, 2.0, 2.0)), 0.1) == expected


# Detectors of transformers


@pytest.fixture(scope="module")
def yolos(tmp_path_factory):
    path = tmp_path_factory.mktemp("yolos")
    names = ["apple", "dining_table", "mouse"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = YolosForObjectDetection(
            YolosConfig(
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=64,
                image_size=[32, 48],
                patch_size=8,
                num_detection_tokens=12,
                num_labels=3,
                id2label=dict(enumerate(names)),
                label2id={n: i for i, n in enumerate(names)},
                initializer_range=0.6,
            )
        )
    model.save_pretrained(path)
    YolosImageProcessorPil(size={"height": 32, "width": 48}).save_pretrained(path)
    return path


def test_a_detector_of_classes_reports_what_its_model_says(yolos):
    detector = load_detector(str(yolos))
    assert isinstance(detector, ClassDetector)
    assert detector.classes == {"apple", "dining table", "mouse", "computer mouse"}
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    [boxes] = detector.find([image], [["apple", "dining table", "computer mouse"]], 0.0)
    with torch.no_grad():
        output = detector.model(**detector.processor([image], return_tensors="pt"))
    shares = output.logits[0].softmax(-1)[:, :-1]
    names = ["apple", "dining table", "computer mouse"]
    x, y, width, height = (output.pred_boxes[0] * torch.tensor([90, 60, 90, 60])).T
    assert [box.label for box in boxes] == [names[i] for i in shares.argmax(-1)]
    assert [box.score for box in boxes] == pytest.approx(shares.max(-1).values.tolist(), abs=1e-5)
    assert [box.corners[0] for box in boxes] == pytest.approx((x - width / 2).tolist(), abs=1e-3)
    assert [box.corners[3] for box in boxes] == pytest.approx((y + height / 2).tolist(), abs=1e-3)
    for name in names:
        assert detector.find([image], [[name]], 0.0) == [[box for box in boxes if box.label == name]]


@pytest.fixture(scope="module")
def owl(tmp_path_factory):
    path = tmp_path_factory.mktemp("owl")
    tokenizer: CLIPTokenizer = clip_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Owlv2ForObjectDetection(
            Owlv2Config(
                text_config={
                    "vocab_size": len(tokenizer),
                    "hidden_size": 32,
                    "intermediate_size": 64,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                    "max_position_embeddings": 16,
                    "pad_token_id": tokenizer.pad_token_id,
                    "bos_token_id": tokenizer.bos_token_id,
                    "eos_token_id": tokenizer.eos_token_id,
                },
                vision_config={
                    "hidden_size": 32,
                    "intermediate_size": 64,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                    "image_size": 32,
                    "patch_size": 8,
                },
                projection_dim=32,
            )
        )
    model.save_pretrained(path)
    processor = Owlv2ImageProcessorPil(size={"height": 32, "width": 32})
    Owlv2Processor(image_processor=processor, tokenizer=tokenizer).save_pretrained(path)
    return path


def test_a_detector_of_words_pads_to_a_square_and_boxes_are_of_the_picture(owl):
    detector = load_detector(str(owl))
    assert isinstance(detector, WordDetector) and detector.classes is None
    wide = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 80, 3), dtype=np.uint8))
    words = ["fox", "dog"]
    [boxes] = detector.find([wide], [[*words, "fox"]], 0.0)
    inputs = detector.processor(images=[wide], text=[words], return_tensors="pt")
    with torch.no_grad():
        output = detector.model(**inputs)
    shares = output.logits[0].sigmoid()
    assert [box.label for box in boxes] == [words[i] for i in shares.argmax(-1)]
    x, y, width, height = (output.pred_boxes[0] * 80).T
    assert [box.corners[1] for box in boxes] == pytest.approx((y - height / 2).tolist(), abs=1e-3)
    assert [box.corners[2] for box in boxes] == pytest.approx((x + width / 2).tolist(), abs=1e-3)
    assert detector.find([wide], [[]], 0.0) == [[]]
    [[judged]] = DetectScorer(detector).score(requests([wide], [[Check("c", "object", "", subject="fox")]]))
    assert judged.label is not None


def test_a_detector_that_is_not_there_is_named():
    with pytest.raises(ScorerError, match="hf download nowhere/detector"):
        load_detector("nowhere/detector")
