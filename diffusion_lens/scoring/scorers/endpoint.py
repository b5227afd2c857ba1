"""The scorer `endpoint`: the probability of "yes" from any server with OpenAI's chat completions.

vLLM, llama.cpp, SGLang, and hosted models. With `logprobs` an answer has a probability; of a model that
gives none (reasoning models do not) the first word counts, without a probability.
"""

import base64
import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from PIL.Image import Image

from diffusion_lens.checks.checks import KINDS, Check, Judgement
from diffusion_lens.errors import ScorerError
from diffusion_lens.scoring.answering import Question, judge_answer, pose, spelled, why_not_posed
from diffusion_lens.scoring.chat_client import ChatClient, NoAnswer, Patience, first_token_masses
from diffusion_lens.scoring.registry import register
from diffusion_lens.scoring.scorer import Scorer, ScoreRequest

__all__ = ["EndpointScorer", "EndpointSettings"]


@dataclass(frozen=True)
class EndpointSettings:
    """Which server answers, and how it is asked.

    Attributes:
        url: The address of a server with OpenAI's chat completions, such as http://localhost:8000/v1.
        model: The model of that server to ask. A server that has one model needs no name.
        timeout: How many seconds a whole answer may take.
        tries: How often one question is asked until there is an answer.
        wait: How many seconds pass before the second try. Each further wait is twice as long.
        workers: How many questions are asked at once.
        key_variable: The environment variable that holds the key, if the server wants one.
        top: How many alternatives are asked for with each token. Servers allow 20, some fewer.
    """

    url: str | None = None
    model: str | None = None
    timeout: float = 60.0
    tries: int = 4
    wait: float = 1.0
    workers: int = 4
    key_variable: str = "OPENAI_API_KEY"
    top: int = 20


class EndpointScorer(Scorer):
    """Asks a model behind an address, one question a request.

    Args:
        settings: which server, and how it is asked.

    Raises:
        ScorerError: there is no address, httpx is not installed, nobody answers, or the key is refused.
    """

    name = "endpoint"
    kinds = frozenset(KINDS)

    def __init__(self, settings: EndpointSettings) -> None:
        if settings.url is None:
            raise ScorerError(
                "The scorer endpoint needs an address, of a server with OpenAI's chat completions such as "
                "vllm serve MODEL: --endpoint.url http://localhost:8000/v1."
            )
        self.settings = settings
        patience = Patience(settings.timeout, settings.tries, settings.wait)
        self._client = ChatClient(settings.url, os.environ.get(settings.key_variable), patience)
        listed = self._client.models(settings.key_variable)
        if settings.model is None and len(listed) != 1:
            raise ScorerError(
                f"{self._client.url} has the models {listed}; say which one answers: --endpoint.model NAME."
            )
        self.model = listed[0] if settings.model is None else settings.model
        asked = f"server {_digest_server(settings.url)}, top {settings.top}"
        self.version = f"endpoint 3, {self.model}, {asked}, {pose(Check('', 'global', '{}')).text}"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Judgement]]:
        """Answer the checks of each image; see `Scorer.score`.

        A question that times out, or whose answer is refused or nonsense, is missing with the reason. Where
        the server stops in the middle, its answers are kept, and what is left may be asked again.

        Raises:
            ScorerError: the server has stopped, and answered none of these questions.
        """
        images = [_data_url(request.image) for request in requests]
        asked = [(index, check) for index, request in enumerate(requests) for check in request.checks]
        with ThreadPoolExecutor(self.settings.workers) as pool:
            answers = list(pool.map(lambda one: self._try(images[one[0]], one[1]), asked))
        stopped = [one for one in answers if isinstance(one, ScorerError)]
        if stopped and all(isinstance(one, ScorerError) or one.retry for one in answers):
            raise stopped[0]
        judged: list[list[Judgement]] = [[] for _ in requests]
        for (index, check), answer in zip(asked, answers, strict=True):
            if isinstance(answer, ScorerError):
                answer = Judgement(check.id, reason=str(answer), retry=True)
            judged[index].append(answer)
        return judged

    def _try(self, image: str, check: Check) -> Judgement | ScorerError:
        try:
            return self._answer(image, check)
        except ScorerError as error:
            return error

    def why_not(self, check: Check) -> str | None:
        """See `Scorer.why_not`."""
        return why_not_posed(check)

    def _answer(self, image: str, check: Check) -> Judgement:
        if why := self.why_not(check):
            return Judgement(check.id, reason=why)
        question = pose(check)
        raw: dict[str, Any] = {
            "model": self.model,
            "asked": datetime.now(timezone.utc).isoformat("T", "seconds"),
        }
        try:
            choice = self._client.ask(self._body(image, question))
        except NoAnswer as error:
            return Judgement(check.id, reason=str(error), retry=error.retry, raw=raw)
        message = choice["message"]
        text = str(message.get("content") or "")
        if message.get("refusal") or choice.get("finish_reason") == "content_filter":
            why = message.get("refusal") or "the content filter stopped it"
            return Judgement(check.id, reason=f"the model refused: {str(why)[:200]}", raw=raw)
        masses = first_token_masses(choice.get("logprobs"))
        if masses is not None:
            return judge_answer(check, question, masses, {**raw, "text": text[:200]})
        return _judge_words(check, question, text, raw)

    def _body(self, image: str, question: Question) -> dict[str, Any]:
        content = [
            {"type": "image_url", "image_url": {"url": image}},
            {"type": "text", "text": question.text},
        ]
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "max_tokens": 4,
            "logprobs": True,
            "top_logprobs": self.settings.top,
        }


@register("endpoint", "yes or no from a model behind an address", EndpointSettings, on_device=False)
def make(settings: EndpointSettings, device: str) -> list[Scorer]:
    """The scorer, once the server has answered."""
    return [EndpointScorer(settings)]


def _digest_server(url: str) -> str:
    """Which server it is, without its name: of host, port and path, but no user, password or query.

    Two servers may give different weights the same name. Time limits and keys change no answer.
    """
    parts = urlsplit(url)
    from diffusion_lens.scoring.answer_store import digest_of  # imports pandas

    return digest_of([parts.netloc.rpartition("@")[2].lower(), parts.path.rstrip("/")])


def _data_url(image: Image) -> str:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _judge_words(check: Check, question: Question, text: str, raw: Mapping[str, Any]) -> Judgement:
    """The judgement of a model that gives no probabilities, by its first word."""
    words = text.split()
    answer = spelled(words[0]) if words else None
    raw = {**raw, "text": text[:200]}
    if answer not in question.answers:
        why = f"answers {text[:80]!r}, none of {list(question.answers)}"
        return Judgement(check.id, reason=why, raw=raw)
    meaning = question.meanings[question.answers.index(answer)]
    right, chance = answer == question.answers[0], 1 / len(check.choices) if check.choices else None
    return Judgement(check.id, None, right, f"answers {meaning!r}", chance, raw=raw)
