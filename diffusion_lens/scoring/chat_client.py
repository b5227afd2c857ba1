"""A client of OpenAI's chat completions, bounded in time and size, whatever a server sends.

Every request has a deadline for the whole answer, a limit to its size, and a limited number of tries. What
comes back is checked before it is used: `parse_choice` and `first_token_masses` return nothing rather than
raise, whatever the JSON holds.
"""

import json
import math
import random
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffusion_lens.errors import ScorerError
from diffusion_lens.scoring.answering import spelled

__all__ = ["ChatClient", "NoAnswer", "Patience", "first_token_masses", "parse_choice"]

BUSY = (408, 409, 425, 429)  # and all from 500 on: worth another try
GIVE_UP = 8  # questions without any answer, one after the other
MOST_BYTES = 4_000_000  # of one answer, unpacked; an answer of four tokens has some thousands


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Attributes:
        timeout: seconds that a whole answer may take.
        tries: attempts at one question.
        wait: seconds before the second try; each further wait is twice as long, with some chance.
    """

    timeout: float = 60.0
    tries: int = 4
    wait: float = 1.0


class NoAnswer(Exception):
    """A question that stays without an answer; with `retry`, a later session may have more luck."""

    def __init__(self, reason: str, retry: bool) -> None:
        super().__init__(reason)
        self.retry = retry


class _Fault(Exception):
    """Something that may pass: `wait` is how many seconds the server asks for, if it says so."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class ChatClient:
    """Asks one server. It may be used by several threads.

    Args:
        url: the base, such as "http://localhost:8000/v1".
        key: sent as a bearer token, if the server wants one.
        patience: how long it is waited for.

    Raises:
        ScorerError: httpx is not installed.
    """

    def __init__(self, url: str, key: str | None = None, patience: Patience = Patience()) -> None:
        try:
            import httpx
        except ImportError as error:
            raise ScorerError("The scorer endpoint needs httpx: pip install diffusion-lens[vqa]") from error
        self._address, self.patience = url.rstrip("/"), patience
        self.url = re.sub(r"(?<=//)[^/]*@", "", self._address)  # as messages have it, which are kept
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(timeout=patience.timeout, headers=headers)
        self._lost = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def models(self, key_variable: str) -> list[str]:
        """The names of the server's models; none where it does not say.

        Args:
            key_variable: the environment variable that holds the key, for the message.

        Raises:
            ScorerError: nobody answers, or the key is refused.
        """
        import httpx

        try:
            status, _, content = self._send("GET", "models", None)
        except (httpx.HTTPError, httpx.InvalidURL, _Fault) as error:
            raise ScorerError(
                f"Nobody answers at {self.url} ({type(error).__name__.strip('_')}: {error}). Start a "
                "server with OpenAI's chat completions, such as vllm serve MODEL, and give its address "
                "with --endpoint.url http://host:port/v1."
            ) from error
        if status in (401, 403):
            raise ScorerError(
                f"{self.url} refuses the key ({status}). Put a valid one into the environment variable "
                f"{key_variable}."
            )
        found = _parse(content)
        listed = found.get("data") if isinstance(found, Mapping) else None
        rows = [row for row in listed if isinstance(row, Mapping)] if isinstance(listed, list) else []
        return [row["id"] for row in rows if isinstance(row.get("id"), str)]

    def ask(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a chat request until there is an answer, or the tries are over.

        Returns:
            The first choice of the answer.

        Raises:
            NoAnswer: there is none; one question without answer is one missing answer.
            ScorerError: the server has not answered a row of questions.
        """
        fault = _Fault("")
        for attempt in range(self.patience.tries):
            if self._lost >= GIVE_UP:
                raise ScorerError(
                    f"{self.url} has stopped answering ({self._lost} questions in a row). What was scored "
                    "is kept; see to the server and give the same command again."
                )
            if attempt:
                time.sleep(self._pause(attempt, fault.wait))
            try:
                choice = self._ask_once(body)
            except _Fault as error:
                fault = error
                continue
            with self._lock:
                self._lost = 0
            return choice
        with self._lock:
            self._lost += 1
        raise NoAnswer(f"{fault}; {self.patience.tries} tries", retry=True)

    def _ask_once(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        import httpx

        try:
            status, headers, content = self._send("POST", "chat/completions", body)
        except httpx.TimeoutException as error:
            raise _Fault(f"no answer within {self.patience.timeout:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _Fault(f"the connection failed ({type(error).__name__})") from error
        if status in BUSY or status >= 500:
            raise _Fault(f"the server answered {status}", _seconds(headers.get("retry-after", "")))
        if status >= 300:
            with self._lock:
                self._lost = 0
            said = content.decode("utf-8", "replace").strip()[:200]
            raise NoAnswer(f"the server refused: {status}: {said}", retry=False)
        choice = parse_choice(content)
        if choice is None:
            start = content[:400].decode("utf-8", "replace").strip()[:80]
            raise _Fault(f"the server answered nonsense: {start!r}")
        return choice

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One request: status, headers and body, which is neither too long nor too slow."""
        end = time.monotonic() + self.patience.timeout
        content = bytearray()
        with self._client.stream(method, f"{self._address}/{path}", json=body) as response:
            for piece in response.iter_bytes():  # as they arrive
                content += piece
                if len(content) > MOST_BYTES:
                    raise _Fault(f"the answer is longer than {MOST_BYTES / 1e6:g} MB")
                # the client's own timeout is for each piece that arrives
                if time.monotonic() > end:
                    raise _Fault(f"no answer within {self.patience.timeout:g} s")
            return response.status_code, response.headers, bytes(content)

    def _pause(self, attempt: int, asked: float | None) -> float:
        """What the server asks for, or twice as long each time, with some chance for many workers."""
        if asked is not None:
            return min(asked, self.patience.timeout)
        return self.patience.wait * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)


def _seconds(text: str) -> float | None:
    """The number of seconds in a header, if it is one."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 9 else None


def _parse(content: bytes) -> Any:
    """JSON as it is; None for what is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def parse_choice(content: bytes) -> Mapping[str, Any] | None:
    """The first choice of an answer, with a message that is an object; None for anything else."""
    found = _parse(content)
    choices = found.get("choices") if isinstance(found, Mapping) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, Mapping) or not isinstance(choice.get("message"), Mapping):
        return None
    return choice


def first_token_masses(logprobs: Any) -> dict[str, float] | None:
    """Probability by answer, of the first token that is more than space; None if there are none.

    Entries that are no token with a finite logarithm are skipped.
    """
    tokens = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    for token in tokens if isinstance(tokens, list) else ():
        if not isinstance(token, Mapping) or not str(token.get("token", "")).strip():
            continue
        top = token.get("top_logprobs")
        # the token itself is among its alternatives: each counts once
        found: dict[str, float] = {}
        for one in (token, *(top if isinstance(top, list) else ())):
            logprob = one.get("logprob") if isinstance(one, Mapping) else None
            if isinstance(logprob, (int, float)) and abs(logprob) < 1e300 and not math.isnan(logprob):
                found[str(one.get("token"))] = math.exp(min(float(logprob), 0.0))
        masses: dict[str, float] = {}
        for text, mass in found.items():
            answer = spelled(text)
            if answer is not None:
                masses[answer] = masses.get(answer, 0.0) + mass
        return masses if found else None
    return None
