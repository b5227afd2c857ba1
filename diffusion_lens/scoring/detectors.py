"""Detectors of transformers behind one call: those of fixed classes, and those that search for words."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from PIL.Image import Image

from diffusion_lens.models.digest_parts import digest_module
from diffusion_lens.scoring.boxes import Box
from diffusion_lens.scoring.weights import load_parts

__all__ = ["ClassDetector", "Detector", "WordDetector", "load_detector"]

# what GenEval calls some of COCO's classes
_ALIASES = {"mouse": "computer mouse", "remote": "tv remote", "keyboard": "computer keyboard"}


@runtime_checkable
class Detector(Protocol):
    """Finds things on images.

    Attributes:
        name: model and weights.
        classes: what it can find; None for anything.
    """

    name: str
    classes: frozenset[str] | None

    def find(
        self, images: Sequence[Image], labels: Sequence[Sequence[str]], least: float
    ) -> list[list[Box]]:
        """Boxes of each image.

        Args:
            images: the images.
            labels: what to look for in each.
            least: the score below which nothing is reported.
        """
        ...


class ClassDetector:
    """A detector of fixed classes, such as DETR, RT-DETR or YOLOS on COCO's eighty.

    Args:
        model: an object detection model.
        processor: its image processor.
        name: the model's name.
        batch_size: images at once.
    """

    def __init__(self, model: Any, processor: Any, name: str, batch_size: int = 8) -> None:
        self.model, self.processor, self.batch_size = model.eval(), processor, batch_size
        self.name = f"{name} {digest_module(model)}"
        plain = {_plain(label) for label in model.config.id2label.values()}
        self.classes: frozenset[str] | None = frozenset(
            plain | {_ALIASES[name] for name in plain if name in _ALIASES}
        )

    @torch.no_grad()
    def find(
        self, images: Sequence[Image], labels: Sequence[Sequence[str]], least: float
    ) -> list[list[Box]]:
        """Boxes of each image; see `Detector.find`."""
        found: list[list[Box]] = []
        for start in range(0, len(images), self.batch_size):
            part = list(images[start : start + self.batch_size])
            inputs = self.processor(images=part, return_tensors="pt").to(self.model.device)
            outputs = self.model(**inputs)
            sizes = [(image.height, image.width) for image in part]
            results = self.processor.post_process_object_detection(
                outputs, threshold=least, target_sizes=sizes
            )
            names = self.model.config.id2label
            wanted = labels[start : start + self.batch_size]
            for result, asked in zip(results, wanted, strict=True):
                words = [_plain(names[int(label)]) for label in result["labels"]]
                words = [word if word in asked else _ALIASES.get(word, word) for word in words]
                found.append([box for box in _boxes(result, words) if box.label in asked])
        return found


class WordDetector:
    """A detector that searches for words, such as OWLv2 or Grounding DINO; one image at a time.

    Scores of different words do not compare: thresholds are the model's own matter.

    Args:
        model: a zero-shot object detection model.
        processor: its processor.
        name: the model's name.
    """

    def __init__(self, model: Any, processor: Any, name: str) -> None:
        self.model, self.processor = model.eval(), processor
        self.name = f"{name} {digest_module(model)}"
        self.classes: frozenset[str] | None = None

    @torch.no_grad()
    def find(
        self, images: Sequence[Image], labels: Sequence[Sequence[str]], least: float
    ) -> list[list[Box]]:
        """Boxes of each image; see `Detector.find`."""
        found = []
        for image, wanted in zip(images, labels, strict=True):
            words = list(dict.fromkeys(wanted))
            found.append(self._find_in(image, words, least) if words else [])
        return found

    def _find_in(self, image: Image, words: list[str], least: float) -> list[Box]:
        inputs = self.processor(images=[image], text=[words], return_tensors="pt").to(self.model.device)
        outputs = self.model(**inputs)
        more = {"input_ids": inputs["input_ids"]} if "grounding" in self.model.config.model_type else {}
        [result] = self.processor.post_process_grounded_object_detection(
            outputs,
            threshold=least,
            target_sizes=[(image.height, image.width)],
            text_labels=[words],
            **more,
        )
        # Grounding DINO answers with pieces of the text, "red fox" for "fox": the word that it holds
        named = [_match(str(label), words) for label in result["text_labels"]]
        boxes = _boxes(result, [name or "" for name in named])
        return [box for box in boxes if box.label]


def load_detector(model: str, device: str = "cpu", revision: str | None = None) -> Detector:
    """Load a detector by folder or hub id, of whichever kind it is.

    Raises:
        ScorerError: it isn't there, or is no detector.
    """
    from transformers import (
        AutoConfig,
        AutoImageProcessor,
        AutoModelForObjectDetection,
        AutoModelForZeroShotObjectDetection,
        AutoProcessor,
    )

    def load() -> Detector:
        config = AutoConfig.from_pretrained(model, revision=revision)
        if type(config) in AutoModelForZeroShotObjectDetection._model_mapping:
            processor = AutoProcessor.from_pretrained(model, revision=revision, backend="pil")
            found = AutoModelForZeroShotObjectDetection.from_pretrained(model, revision=revision)
            return WordDetector(found.to(device), processor, model)
        processor = AutoImageProcessor.from_pretrained(model, revision=revision, backend="pil")
        found = AutoModelForObjectDetection.from_pretrained(model, revision=revision)
        return ClassDetector(found.to(device), processor, model)

    return load_parts("the scorer detect", model, load)


def _boxes(result: Any, words: Sequence[str]) -> list[Box]:
    rows = zip(words, result["scores"].tolist(), result["boxes"].tolist(), strict=True)
    return [
        Box(word, float(score), (left, top, right, bottom))
        for word, score, (left, top, right, bottom) in rows
    ]


def _plain(label: str) -> str:
    return str(label).lower().replace("_", " ")


def _match(label: str, words: Sequence[str]) -> str | None:
    """Which of the words a label stands for: the same, or the longest that it holds."""
    if label in words:
        return label
    held = [word for word in words if word.lower() in label.lower()]
    return max(held, key=len) if held else None
