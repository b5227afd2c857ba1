"""The scorer `vqa`: the probability of "yes" from a model of transformers that reads images.

One implementation gives four scores: VQAScore is the check of the whole prompt (Lin et al. 2024, arXiv
2404.01291); TIFA (Hu et al. 2023, arXiv 2303.11897) and DSG (Cho et al. 2024, arXiv 2310.18235) are the
labels of their questions, DSG's gated by parents (`scoring.gating`); Soft-TIFA (arXiv 2512.16853) the
means of `p_ungated`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image

from diffusion_lens.checks.checks import KINDS, Check, Judgement
from diffusion_lens.scoring.answering import Question, judge_answer, pose, spelled, why_not_posed
from diffusion_lens.scoring.registry import register
from diffusion_lens.scoring.scorer import Scorer, ScoreRequest

__all__ = ["VqaScorer", "VqaSettings"]

_OWN_PLACE = ("Blip", "InstructBlip")  # processors that put the image in front of the text themselves


@dataclass(frozen=True)
class VqaSettings:
    """Which model answers.

    Attributes:
        model: A folder or hub id of an image-text-to-text model.
        dtype: The type of its weights: auto, float32, bfloat16 or float16.
        batch_size: How many questions are asked at once.
    """

    model: str = "Qwen/Qwen2.5-VL-3B-Instruct"
    dtype: str = "auto"
    batch_size: int = 8


class VqaScorer(Scorer):
    """Asks a model that reads images.

    Args:
        model: an image-text-to-text model.
        processor: its processor.
        name: the model's name, for the record.
        batch_size: questions at once.
    """

    name = "vqa"
    kinds = frozenset(KINDS)

    def __init__(self, model: Any, processor: Any, name: str, batch_size: int = 8) -> None:
        from diffusion_lens.models.digest_parts import digest_module

        self.model, self.processor, self.batch_size = model.eval(), processor, batch_size
        self.model_name = name
        self.version = f"vqa 3, {name} {digest_module(model)}, {pose(Check('', 'global', '{}')).text}"
        tokenizer = processor.tokenizer
        # the answer is read off the last position, so that must not be padding
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self._tokens = _tokens_by_spelling(tokenizer)

    @classmethod
    def from_pretrained(
        cls,
        model: str,
        device: str = "cpu",
        dtype: str = "auto",
        revision: str | None = None,
        batch_size: int = 8,
    ) -> "VqaScorer":
        """Load a model by folder or hub id.

        Raises:
            ScorerError: it isn't there, or is of another kind.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        from diffusion_lens.scoring.weights import load_parts

        def load() -> "VqaScorer":
            processor = AutoProcessor.from_pretrained(model, revision=revision, backend="pil")
            loaded = AutoModelForImageTextToText.from_pretrained(model, revision=revision, dtype=dtype)
            return cls(loaded.to(device), processor, model, batch_size)

        return load_parts("the scorer vqa", model, load)

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Judgement]]:
        """Answer the checks of each image; see `Scorer.score`."""
        asked = [
            (index, check)
            for index, request in enumerate(requests)
            for check in request.checks
            if self.why_not(check) is None
        ]
        judged: list[dict[str, Judgement]] = [
            {check.id: Judgement(check.id, reason=self.why_not(check)) for check in request.checks}
            for request in requests
        ]
        for start in range(0, len(asked), self.batch_size):
            part = asked[start : start + self.batch_size]
            questions = [pose(check) for _, check in part]
            images = [requests[index].image.convert("RGB") for index, _ in part]
            masses = self._masses(images, questions)
            for (index, check), question, found in zip(part, questions, masses, strict=True):
                judged[index][check.id] = judge_answer(check, question, found, {})
        return [list(answers.values()) for answers in judged]

    def why_not(self, check: Check) -> str | None:
        """See `Scorer.why_not`."""
        return why_not_posed(check)

    def _masses(self, images: Sequence[Image], questions: Sequence[Question]) -> list[dict[str, float]]:
        """Of each question, the probability of each of its answers in all spellings."""
        import torch

        texts = [self._format(question.text) for question in questions]
        inputs = self.processor(
            images=[[image] for image in images], text=texts, padding=True, return_tensors="pt"
        ).to(self.model.device)
        inputs = {
            name: value.to(self.model.dtype) if torch.is_floating_point(value) else value
            for name, value in inputs.items()
        }
        with torch.no_grad():
            logits = self.model(**inputs).logits[:, -1].float()
        shares = logits.softmax(-1).cpu()
        found = []
        for row, question in zip(shares, questions, strict=True):
            found.append(
                {answer: float(row[self._tokens.get(answer, [])].sum()) for answer in question.answers}
            )
        return found

    def _format(self, text: str) -> str:
        """The question as the model was trained to be asked."""
        for holder in (self.processor, self.processor.tokenizer):
            if getattr(holder, "chat_template", None):
                content = [{"type": "image"}, {"type": "text", "text": text}]
                turn = [{"role": "user", "content": content}]
                return str(holder.apply_chat_template(turn, add_generation_prompt=True, tokenize=False))
        token = getattr(self.processor, "image_token", None)
        places_itself = type(self.processor).__name__.startswith(_OWN_PLACE)
        start = f"{token}\n" if isinstance(token, str) and not places_itself else ""
        return f"{start}Question: {text} Answer:"


@register("vqa", "yes or no from a model of transformers that reads images", VqaSettings)
def make(settings: VqaSettings, device: str) -> list[Scorer]:
    """The model, loaded."""
    return [
        VqaScorer.from_pretrained(settings.model, device, settings.dtype, batch_size=settings.batch_size)
    ]


def _tokens_by_spelling(tokenizer: Any) -> Mapping[str, list[int]]:
    """The ids of all tokens that spell an answer, each id once."""
    ids: dict[str, list[int]] = {}
    special = set(tokenizer.all_special_ids)
    for index in range(len(tokenizer)):
        if index not in special and (answer := spelled(tokenizer.decode([index]))):
            ids.setdefault(answer, []).append(index)
    return ids
