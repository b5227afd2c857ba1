"""Questions to an endpoint: a real server on this machine, which answers as it is told."""

import base64
import contextlib
import io
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from PIL import Image

from diffusion_lens.checks.assign import whole
from diffusion_lens.checks.checks import Check
from diffusion_lens.errors import ScorerError
from diffusion_lens.scoring.score_run import Settings, score_run
from diffusion_lens.scoring.scorers.endpoint import EndpointScorer, EndpointSettings
from tests.scoring.made_runs import make_run, requests

FOX = Check("object-0", "object", "Is there a fox?", subject="fox")
RED = Image.new("RGB", (8, 8), (255, 0, 0))
QUICK = EndpointSettings(timeout=5.0, tries=3, wait=0.01, workers=1)


def scorer_of(server: "Server", **settings: Any) -> EndpointScorer:
    return EndpointScorer(replace(QUICK, url=server.url, **settings))


class Server:
    """What was asked, and what is to be answered: a body, a status with a body, or a function of these."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[dict[str, Any]], Any] = lambda body: says({"Yes": 0.9})
        self.models: Any = {"data": [{"id": "judge"}]}
        self.models_status = 200
        self.url = ""
        self.drip = 0.0  # seconds between the bytes of an answer
        self.whole = 0  # answers that were sent to their end


def says(shares: dict[str, float], text: str = "Yes") -> dict[str, Any]:
    """An answer whose first token has these probabilities."""
    top = [{"token": token, "logprob": math.log(p)} for token, p in shares.items()]
    content = [{**top[0], "top_logprobs": top}]
    return {"choices": [{"message": {"content": text}, "logprobs": {"content": content}}]}


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if told.drip and self.command == "POST":
                with contextlib.suppress(OSError):
                    for byte in content:
                        self.wfile.write(bytes([byte]))
                        time.sleep(told.drip)
                    told.whole += 1
                return
            self.wfile.write(content)

        def do_GET(self) -> None:
            told.headers.append(dict(self.headers))
            self.reply(told.models_status, told.models)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.asked.append(body)
            answer = told.answer(body)
            if answer is None:
                self.close_connection = True
                self.connection.close()
            elif isinstance(answer, tuple):
                self.reply(*answer)
            else:
                self.reply(200, answer)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        told.url = f"http://127.0.0.1:{http.server_port}/v1"
        yield told
        http.shutdown()
        thread.join()


@pytest.fixture
def scorer(server) -> Iterator[EndpointScorer]:
    made = scorer_of(server)
    yield made
    made.close()


def judge(scorer: EndpointScorer, check: Check = FOX):
    [[judged]] = scorer.score(requests([RED], [[check]]))
    return judged


def test_the_request_holds_the_picture_and_the_question(server, scorer):
    assert scorer.model == "judge"
    judge(scorer)
    [body] = server.asked
    picture, question = body["messages"][0]["content"]
    content = base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(content)).getpixel((3, 3)) == (255, 0, 0)
    assert question["text"] == "Is there a fox? Please answer yes or no."
    assert body["logprobs"] is True and body["temperature"] == 0 and body["model"] == "judge"


@pytest.mark.parametrize(
    ("shares", "answer", "p", "label"),
    [
        ({"Yes": 0.5, " yes": 0.2, "YES": 0.1, "No": 0.1}, "yes", 0.8, True),
        ({"No": 0.7, "Yes": 0.25, "yesterday": 0.05}, "yes", 0.25, False),
        ({"No": 0.7, "Yes": 0.25}, "no", 0.7, True),
        ({"Maybe": 0.9, "Yes": 0.05, "No": 0.04}, "yes", None, None),
    ],
)
def test_all_spellings_of_an_answer_count_once(server, scorer, shares, answer, p, label):
    server.answer = lambda body: says(shares)
    judged = judge(scorer, Check("c", "object", "Is there a fox?", answer=answer))
    assert judged.label is label and judged.p == (None if p is None else pytest.approx(p))


def test_the_whole_prompt_is_vqascore(server, scorer):
    server.answer = lambda body: says({"Yes": 0.6, "No": 0.4})
    assert judge(scorer, whole("a red fox")).p == pytest.approx(0.6)
    text = server.asked[0]["messages"][0]["content"][1]["text"]
    assert text == 'Does this figure show "a red fox"? Please answer yes or no.'


def test_choices_are_answered_by_letter(server, scorer):
    def answer(body):
        lines = body["messages"][0]["content"][1]["text"].split("\n")
        letter = next(line[0] for line in lines if line.endswith(". cat"))
        other = next(line[0] for line in lines if line.endswith(". dog"))
        return says({letter: 0.6, other: 0.2, "a": 0.1})

    server.answer = answer
    which = Check("c", "object", "Which?", answer="cat", choices=("cat", "dog", "fox"))
    judged = judge(scorer, which)
    assert judged.p == pytest.approx(0.75) and judged.label is True
    assert judged.chance == pytest.approx(1 / 3)
    # also of a model that gives no probabilities
    server.answer = lambda body: {"choices": [{"message": {"content": "A"}, "logprobs": None}]}
    assert judge(scorer, which).chance == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("text", "label"), [("Yes, there is.", True), ("No.", False), ("I can see a garden.", None), ("", None)]
)
def test_a_model_without_probabilities_is_taken_at_its_word(server, scorer, text, label):
    server.answer = lambda body: {"choices": [{"message": {"content": text}, "logprobs": None}]}
    judged = judge(scorer)
    assert judged.label is label and judged.p is None
    assert label is not None or "none of ['yes', 'no']" in judged.reason


@pytest.mark.parametrize(
    "fault",
    [
        (500, {}),
        (429, {}, {"Retry-After": "0"}),
        None,
        (200, b"<html>"),
        (200, {"choices": []}),
        (200, {"choices": ["x"]}),
    ],
)
def test_passing_faults_are_tried_again(server, scorer, fault):
    replies = [fault, fault, says({"Yes": 0.9})]
    server.answer = lambda body: replies.pop(0)
    assert judge(scorer).label is True and len(server.asked) == 3


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ((503, {}), "the server answered 503; 3 tries"),
        (None, "the connection failed"),
        ((200, b"<html>busy</html>"), "nonsense: '<html>busy</html>'; 3 tries"),
    ],
)
def test_lasting_faults_are_missing_with_the_reason_and_asked_again_later(server, scorer, fault, reason):
    server.answer = lambda body: fault
    judged = judge(scorer)
    assert judged.label is None and judged.p is None
    assert reason in judged.reason and judged.retry and len(server.asked) == 3


def test_a_server_that_takes_too_long_is_missing(server):
    server.answer = lambda body: time.sleep(1) or says({"Yes": 1.0})
    scorer = scorer_of(server, timeout=0.1, tries=2)
    assert judge(scorer).reason == "no answer within 0.1 s; 2 tries"
    scorer.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((400, b"image too large"), "the server refused: 400: image too large"),
        (
            {"choices": [{"message": {"content": None, "refusal": "I can't help with that"}}]},
            "the model refused: I can't help with that",
        ),
        (
            {"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]},
            "the model refused: the content filter stopped it",
        ),
    ],
)
def test_refusals_are_missing_and_not_tried_again(server, scorer, answer, reason):
    server.answer = lambda body: answer
    judged = judge(scorer)
    assert judged.label is None and judged.reason == reason
    assert len(server.asked) == 1 and not judged.retry


def test_answers_go_to_their_images_whatever_the_order_they_come_in(server):
    def answer(body):
        picture = body["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2]
        red = Image.open(io.BytesIO(base64.b64decode(picture))).getpixel((0, 0))[0]
        time.sleep(0.02 if red % 2 else 0)
        return says({"Yes": (red + 1) / 20})

    server.answer = answer
    scorer = scorer_of(server, workers=4)
    images = [Image.new("RGB", (4, 4), (level, 0, 0)) for level in range(2, 12)]
    judged = scorer.score(requests(images, [[FOX]] * 10))
    assert [one[0].p for one in judged] == pytest.approx([(level + 1) / 20 for level in range(2, 12)])
    scorer.close()


def test_a_server_that_is_gone_ends_it(server, scorer):
    server.answer = lambda body: (500, {})
    with pytest.raises(ScorerError, match="has stopped answering"):
        scorer.score(requests([RED] * 20, [[FOX]] * 20))
    assert len(server.asked) == 8 * 3


def test_what_a_server_answered_before_it_was_gone_is_kept(server):
    server.answer = lambda body: says({"Yes": 0.9}) if len(server.asked) <= 5 else (500, {})
    scorer = scorer_of(server, workers=1)
    asked = requests([RED] * 20, [[FOX]] * 20)
    judged = [one for [one] in scorer.score(asked)]
    assert [one.label for one in judged] == [True] * 5 + [None] * 15
    assert all(one.retry for one in judged[5:])
    with pytest.raises(ScorerError, match="has stopped answering"):
        scorer.score(asked)
    scorer.close()


def test_nobody_there_a_refused_key_and_several_models_are_named(server, monkeypatch):
    with pytest.raises(ScorerError, match=r"Nobody answers at http://127\.0\.0\.1:9") as told:
        EndpointScorer(EndpointSettings("http://me:a@secret@127.0.0.1:9/v1"))
    assert "secret" not in str(told.value)
    server.models = {"data": [{"id": "a"}, {"id": "b"}]}
    with pytest.raises(ScorerError, match=r"has the models \['a', 'b'\]"):
        scorer_of(server)
    server.models_status = 401
    with pytest.raises(ScorerError, match="environment variable OPENAI_API_KEY"):
        scorer_of(server, model="a")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"choices": [{"message": "yes"}]}, "nonsense"),
        ({"choices": [{"message": ["yes"]}]}, "nonsense"),
        ((200, b"[" * 100_000), "nonsense"),
        ((200, b" " * 5_000_000), "longer than 4 MB"),
        ((302, b"elsewhere"), "the server refused: 302"),
        ((429, {}, {"Retry-After": "\u00b2"}), "the server answered 429"),
    ],
)
def test_hostile_answers_are_one_missing_answer_each(server, scorer, answer, reason):
    server.answer = lambda body: answer
    judged = judge(scorer)
    assert judged.label is None and judged.p is None and reason in judged.reason


@pytest.mark.parametrize(
    "logprobs",
    [
        {"content": ["yes"]},
        {"content": [None]},
        {"content": [{"token": "Yes", "logprob": float("nan")}]},
        {"content": [{"token": "Yes", "logprob": 10**400}]},
        {"content": [{"token": "Yes", "logprob": "x", "top_logprobs": ["a", 3]}]},
    ],
)
def test_odd_probabilities_leave_the_words(server, scorer, logprobs):
    server.answer = lambda body: {"choices": [{"message": {"content": "Yes"}, "logprobs": logprobs}]}
    judged = judge(scorer)
    assert judged.label is True and judged.p is None


def test_an_answer_that_drips_ends_with_the_deadline(server):
    server.drip = 0.05
    scorer = scorer_of(server, timeout=0.5, tries=1)
    assert judge(scorer).reason == "no answer within 0.5 s; 1 tries"
    assert server.whole == 0  # it is not read to its end, which takes ten seconds
    scorer.close()


def test_a_lone_surrogate_is_stored(server, scorer, tmp_path):
    server.answer = lambda body: {"choices": [{"message": {"content": "maybe \ud800"}}]}
    make_run(tmp_path / "run", ["a red fox"], lambda cell, prompt: RED)
    [found] = score_run(tmp_path / "run", [scorer], settings=Settings(progress=False))
    assert "not one check has an answer" in found.failed and set(found.table["label"].isna()) == {True}


def test_more_choices_than_letters_are_missing_without_a_question(server, scorer):
    many = tuple(f"thing {number}" for number in range(27))
    judged = judge(scorer, Check("c", "identity", "Which?", answer="thing 0", choices=many))
    assert judged.label is None and "27 choices" in judged.reason and not judged.retry and not server.asked


def test_another_server_or_top_is_another_version_and_time_limits_are_not(server):
    other = server.url.replace("127.0.0.1", "localhost")
    secret = server.url.replace("//", "//ann:hidden@")
    changes = (
        {},
        {"url": other},
        {"top": 5},
        {"timeout": 9.0, "tries": 1},
        {"url": secret},
        {"url": server.url + "/"},
    )
    made = [EndpointScorer(replace(QUICK, **{"url": server.url, **one})) for one in changes]
    plain, moved, fewer, *same = (one.version for one in made)
    for one in made:
        one.close()
    assert len({plain, moved, fewer}) == 3 and set(same) == {plain}
    assert "127.0.0.1" not in plain and "hidden" not in plain


def test_the_key_is_sent_and_kept_out_of_the_record(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a-secret")
    scorer = scorer_of(server)
    assert server.headers[0]["Authorization"] == "Bearer a-secret"
    judged = judge(scorer)
    assert "a-secret" not in scorer.version + str(judged)
    scorer.close()
