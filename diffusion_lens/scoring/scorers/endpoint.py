"""`EndpointScorer`: the probability of "yes" from any server that speaks OpenAI's chat completions.

vLLM, llama.cpp, SGLang, and hosted models. With `logprobs` an answer has a probability; a model that gives
none (reasoning models do not) is taken at its word, without one.
"""

import base64
import io
import logging
import math
import os
import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from PIL.Image import Image

from diffusion_lens.checks.checks import KINDS, Check, Judgement
from diffusion_lens.errors import ScorerError
from diffusion_lens.scoring.scorers.answers import Question, judge_answer, pose, spelled

__all__ = ["EndpointScorer", "EndpointSettings"]

log = logging.getLogger(__name__)

_BUSY = (408, 409, 425, 429)  # and all from 500 on: worth another try
_GIVE_UP = 8  # questions without any answer, one after the other


@dataclass(frozen=True)
class EndpointSettings:
    """How a server is asked.

    Attributes:
        timeout: seconds that an answer may take.
        tries: attempts at one question.
        wait: seconds before the second try; each further wait is twice as long, with some chance.
        workers: questions at once.
        key_variable: the environment variable that holds the key, if the server wants one.
        top: alternatives asked for with each token; servers allow 20, some fewer.
    """

    timeout: float = 60.0
    tries: int = 4
    wait: float = 1.0
    workers: int = 4
    key_variable: str = "OPENAI_API_KEY"
    top: int = 20


class _NoAnswer(Exception):
    """A question that stays without an answer; `again`: another session may have more luck."""

    def __init__(self, reason: str, again: bool) -> None:
        super().__init__(reason)
        self.again = again


class EndpointScorer:
    """Asks a model behind an endpoint, one question a request.

    Args:
        url: the base, such as "http://localhost:8000/v1".
        model: the model's name there; the only one that the server has, if left out.
        settings: how it is asked.

    Raises:
        ScorerError: httpx is not installed, nobody answers, or the key is refused.
    """

    name = "endpoint"
    kinds = frozenset(KINDS)

    def __init__(
        self, url: str, model: str | None = None, settings: EndpointSettings = EndpointSettings()
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise ScorerError("The scorer endpoint needs httpx: pip install diffusion-lens[vqa]") from error
        self.url, self.settings = url.rstrip("/"), settings
        key = os.environ.get(settings.key_variable)
        self._client = httpx.Client(
            timeout=settings.timeout, headers={"Authorization": f"Bearer {key}"} if key else {}
        )
        self._lost = 0
        listed = self._list_models()
        if model is None:
            if len(listed) != 1:
                raise ScorerError(
                    f"{self.url} has the models {listed}; say which one answers: --endpoint-model NAME."
                )
            model = listed[0]
        self.model = model
        self.version = f"endpoint 1, {model}, {pose(Check('', 'global', '{}')).text}"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _list_models(self) -> list[str]:
        """The names of the server's models; none where it does not tell."""
        import httpx

        try:
            response = self._client.get(f"{self.url}/models")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ScorerError(
                f"Nobody answers at {self.url} ({type(error).__name__}: {error}). Start a server that "
                "speaks OpenAI's chat completions, such as vllm serve MODEL, and give its address with "
                "--endpoint http://host:port/v1."
            ) from error
        if response.status_code in (401, 403):
            raise ScorerError(
                f"{self.url} refuses the key ({response.status_code}). Put a valid one into the "
                f"environment variable {self.settings.key_variable}."
            )
        try:
            return [str(one["id"]) for one in response.json()["data"]]
        except (ValueError, KeyError, TypeError):
            return []

    def score(self, images: Sequence[Image], checks: Sequence[Sequence[Check]]) -> list[list[Judgement]]:
        """Answer the checks of each image; see `Scorer.score`.

        A question that times out, or whose answer is refused or nonsense, is missing with the reason.

        Raises:
            ScorerError: the server has stopped answering at all.
        """
        pictures = [_data_url(image) for image in images]
        asked = [(index, check) for index, of_image in enumerate(checks) for check in of_image]
        with ThreadPoolExecutor(self.settings.workers) as pool:
            answers = list(pool.map(lambda one: self._answer(pictures[one[0]], one[1]), asked))
        judged: list[list[Judgement]] = [[] for _ in images]
        for (index, _), answer in zip(asked, answers, strict=True):
            judged[index].append(answer)
        return judged

    def _answer(self, picture: str, check: Check) -> Judgement:
        question = pose(check)
        raw: dict[str, Any] = {"model": self.model, "asked": datetime.now(UTC).isoformat("T", "seconds")}
        try:
            choice = self._request(picture, question)
        except _NoAnswer as error:
            if error.again:
                raw["again"] = True
            return Judgement(check.id, None, None, str(error), raw)
        message = choice.get("message") or {}
        text = str(message.get("content") or "")
        if message.get("refusal") or choice.get("finish_reason") == "content_filter":
            why = message.get("refusal") or "the content filter stopped it"
            return Judgement(check.id, None, None, f"the model refused: {str(why)[:200]}", raw)
        masses = _masses(choice.get("logprobs"))
        if masses is not None:
            return judge_answer(check, question, masses, {**raw, "text": text})
        return _take_at_its_word(check, question, text, raw)

    def _request(self, picture: str, question: Question) -> Mapping[str, Any]:
        """Ask until there is an answer, or the tries are over."""
        import httpx

        content = [
            {"type": "image_url", "image_url": {"url": picture}},
            {"type": "text", "text": question.text},
        ]
        body = {
            "model": self.model, "messages": [{"role": "user", "content": content}], "temperature": 0,
            "max_tokens": 4, "logprobs": True, "top_logprobs": self.settings.top,
        }  # fmt: skip
        reason = ""
        for attempt in range(self.settings.tries):
            if self._lost >= _GIVE_UP:
                raise ScorerError(
                    f"{self.url} has stopped answering ({self._lost} questions in a row). What was scored "
                    "is kept; see to the server and give the same command again."
                )
            if attempt:
                time.sleep(self._pause(attempt, reason))
            try:
                response = self._client.post(f"{self.url}/chat/completions", json=body)
            except httpx.TimeoutException:
                reason = f"no answer within {self.settings.timeout:g} s"
                continue
            except httpx.HTTPError as error:
                reason = f"the connection failed ({type(error).__name__})"
                continue
            if response.status_code in _BUSY or response.status_code >= 500:
                reason = f"the server answered {response.status_code}"
                wait = response.headers.get("retry-after", "")
                reason += f", retry after {wait} s" if wait.isdigit() else ""
                continue
            self._lost = 0
            if response.status_code >= 400:
                said = f"{response.status_code}: {response.text.strip()[:200]}"
                raise _NoAnswer(f"the server refused: {said}", again=False)
            try:
                choice = response.json()["choices"][0]
            except (ValueError, KeyError, IndexError, TypeError):
                choice = None
            if isinstance(choice, Mapping):
                return choice
            reason = f"the server answered nonsense: {response.text.strip()[:80]!r}"
        self._lost += 1
        raise _NoAnswer(f"{reason}; {self.settings.tries} tries", again=True)

    def _pause(self, attempt: int, reason: str) -> float:
        """Twice as long each time, with some chance so that workers do not come back together."""
        told = reason.rpartition("retry after ")[2].removesuffix(" s")
        if "retry after" in reason:
            return min(float(told), self.settings.timeout)
        return self.settings.wait * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)


def _data_url(image: Image) -> str:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _masses(logprobs: Any) -> dict[str, float] | None:
    """Probability by answer, of the first token that is more than space; None if there are none."""
    tokens = (logprobs or {}).get("content") if isinstance(logprobs, Mapping) else None
    if not isinstance(tokens, list):
        return None
    for token in tokens:
        if not str(token.get("token", "")).strip():
            continue
        # the token itself is among its alternatives: each counts once
        found = {str(token.get("token")): token.get("logprob")}
        found |= {str(one.get("token")): one.get("logprob") for one in token.get("top_logprobs") or ()}
        masses: dict[str, float] = {}
        for text, logprob in found.items():
            answer = spelled(text)
            if answer is not None and isinstance(logprob, (int, float)):
                masses[answer] = masses.get(answer, 0.0) + math.exp(min(logprob, 0.0))
        return masses
    return None


def _take_at_its_word(check: Check, question: Question, text: str, raw: Mapping[str, Any]) -> Judgement:
    """The answer of a model that gives no probabilities: its first word."""
    words = text.split()
    answer = spelled(words[0]) if words else None
    raw = {**raw, "text": text}
    if answer not in question.answers:
        why = f"answers {text[:80]!r}, none of {list(question.answers)}"
        return Judgement(check.id, None, None, why, raw)
    meaning = question.meanings[question.answers.index(answer)]
    return Judgement(check.id, None, answer == question.answers[0], f"answers {meaning!r}", raw)
