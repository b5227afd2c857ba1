"""The live page: a prompt goes in, the images of its layers come out as they are drawn."""

import io
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from diffusion_lens.checks.checks import Check
from diffusion_lens.checks.scenes import from_description, parse_caption
from diffusion_lens.errors import InputError
from diffusion_lens.models.embedded import EMBEDDED
from diffusion_lens.models.encoder_variants import base_model
from diffusion_lens.pages.asked import Limits, controls_of, read_request
from diffusion_lens.pages.drawing import Drawn, DrawRequest, columns_of, draw
from diffusion_lens.pages.recipe import command_of, python_of
from diffusion_lens.pages.said import say
from diffusion_lens.pages.turns import Done, Failed, Job, Turns
from diffusion_lens.scoring.scorer import ScoreRequest, Source
from diffusion_lens.scoring.scorers.oracle import OracleScorer
from diffusion_lens.testbed import oracle
from diffusion_lens.testbed.scenes import Scene, render

if TYPE_CHECKING:
    from diffusion_lens.lens.lens import DiffusionLens

__all__ = ["ImageStore", "Live"]

Event = tuple[str, dict[str, Any]]
FOREVER = "private, max-age=31536000, immutable"  # a cell's name is a digest of all that made it


class ImageStore:
    """Encoded images by cell; the oldest go when they take too much memory.

    Args:
        most: bytes.
    """

    def __init__(self, most: int = 256_000_000) -> None:
        self.most, self._size = most, 0
        self._images: OrderedDict[str, bytes] = OrderedDict()
        self._lock = Lock()

    def put(self, cell: str, image: Image.Image) -> None:
        """Keep an image."""
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=1)
        with self._lock:
            self._size += buffer.tell() - len(self._images.pop(cell, b""))
            self._images[cell] = buffer.getvalue()
            while self._size > self.most and len(self._images) > 1:
                self._size -= len(self._images.popitem(last=False)[1])

    def get(self, cell: str) -> bytes | None:
        """The PNG of a cell; None where it was never drawn or is gone."""
        with self._lock:
            return self._images.get(cell)


class Live:
    """Draws for visitors, one call of the model at a time.

    Args:
        lens: the lens on the model.
        limits: what a visitor may ask for.
    """

    def __init__(self, lens: "DiffusionLens", limits: Limits) -> None:
        self.lens, self.limits = lens, limits
        self.controls = controls_of(lens)
        self.turns: Turns[list[Event]] = Turns(limits.jobs)
        self.images = ImageStore()
        self.oracle = OracleScorer() if base_model(lens.name) in EMBEDDED else None

    def warm_up(self) -> None:
        """Draw once, so that the first visitor does not wait for what is done once only."""
        for _ in draw(self.lens, DrawRequest((" ",), layers=("native",), options={"steps": 1})):
            pass
        if (
            self.oracle is not None
        ):  # it renders all sprites at all sizes before the first scene that it reads
            oracle.read(render(Scene("plain", ()))[None])

    @property
    def routes(self) -> list[Route]:
        """Where the page sends requests and finds images."""
        return [
            Route("/draw", self._draw, methods=["POST"]),
            Route("/image/{cell}.png", self._image),
        ]

    async def _draw(self, request: Request) -> Response:
        try:
            asked = read_request(await request.json(), self.limits, self.controls)
        except (ValueError, InputError) as error:
            why = str(error) if isinstance(error, InputError) else "The request is no JSON."
            return JSONResponse({"problem": why}, 400)
        job = self.turns.submit(self.events(asked))
        if job is None:
            why = f"{len(self.turns)} requests are being drawn, the most at once here. Try again soon."
            return JSONResponse({"problem": why}, 503, {"Retry-After": "10"})
        return _Events(job, len(self.turns))

    async def _image(self, request: Request) -> Response:
        found = self.images.get(request.path_params["cell"])
        if found is None:
            return JSONResponse({"problem": "This image is not drawn, or not kept any more."}, 404)
        return Response(found, media_type="image/png", headers={"Cache-Control": FOREVER})

    def events(self, asked: DrawRequest) -> Iterator[list[Event]]:
        """What the page is sent, one call of the model after the other.

        Args:
            asked: the request.
        """
        columns = columns_of(self.lens, asked)
        checks = [self._checks(prompt) for prompt in asked.prompts]
        yield [
            (
                "plan",
                {
                    "columns": [one.label for one in columns],
                    "prompts": list(asked.prompts),
                    "seeds": list(asked.seeds),
                    "say": asked.say,
                    "checks": [
                        [{"id": one.id, "question": one.question} for one in listed] for listed in checks
                    ],
                },
            )
        ]
        pixels: dict[tuple[int, int, int], np.ndarray] = {}
        for drawn in draw(self.lens, asked):
            made = []
            for one in drawn:
                if one.image is not None:
                    self.images.put(one.cell, one.image)
                    pixels[one.prompt, int(one.row["seed"]), one.column] = _values(one.image)
                made.append(("image", self._described(one, checks[one.prompt])))
            yield [*made, *_changes(drawn, pixels)]
        if asked.say is not None:  # after the images, which are what is waited for
            yield [("said", one) for one in say(self.lens, asked, columns)]

    def _described(self, one: Drawn, checks: Sequence[Check]) -> dict[str, Any]:
        return {
            "cell": one.cell,
            "prompt": one.prompt,
            "column": one.column,
            "seed": one.row["seed"],
            "missing": one.missing,
            "row": dict(one.row),
            "command": command_of(one.row),
            "python": python_of(one.row),
            "verdicts": self._judge(one, checks),
        }

    def _checks(self, prompt: str) -> Sequence[Check]:
        """What the exact reader can be asked of a prompt of the embedded models' language."""
        stated = parse_caption(prompt) if self.oracle else None
        return from_description(prompt, prompt, stated).checks if stated else ()

    def _judge(self, one: Drawn, checks: Sequence[Check]) -> Mapping[str, str]:
        if self.oracle is None or one.image is None or not checks:
            return {}
        (answers,) = self.oracle.score([ScoreRequest(one.image, checks, source=Source(self.lens.name))])
        words = {True: "right", False: "wrong", None: "missing"}
        found: dict[str, str] = {}
        for check, answer in zip(checks, answers, strict=True):
            lost = any(found.get(parent) == "wrong" for parent in check.parents)  # as in scored runs
            found[check.id] = "wrong" if lost else words[answer.label]
        return found


def _changes(drawn: Sequence[Drawn], pixels: Mapping[tuple[int, int, int], np.ndarray]) -> list[Event]:
    """How far new images are from those of the layer before, and of the other prompt."""
    made: list[Event] = []
    for one in drawn:
        seed = int(one.row["seed"])
        here = pixels.get((one.prompt, seed, one.column))
        before = pixels.get((one.prompt, seed, one.column - 1))
        other = pixels.get((0, seed, one.column)) if one.prompt == 1 else None
        where = {"prompt": one.prompt, "seed": seed, "column": one.column}
        if here is not None and before is not None:
            made.append(("change", {**where, "value": _distance(here, before)}))
        if here is not None and other is not None:
            made.append(("difference", {**where, "value": _distance(here, other)}))
    return made


def _values(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), dtype=np.float32) / 255


def _distance(one: np.ndarray, other: np.ndarray) -> float | None:
    """The mean absolute difference of the pixels, 0 to 1."""
    return float(np.abs(one - other).mean()) if one.shape == other.shape else None


class _Events(StreamingResponse):
    """Server-sent events of a job; when the visitor leaves, before the first one too, the job ends."""

    def __init__(self, job: Job[list[Event]], visitors: int) -> None:
        super().__init__(
            _stream(job, visitors),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store"},
        )
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:  # not in the stream: one that never began does not end
            self._job.cancel()


async def _stream(job: Job[list[Event]], visitors: int) -> AsyncIterator[str]:
    """What is made of a job, as server-sent events."""
    yield _event("begin", {"visitors": visitors})
    while True:
        made = await job.next()
        if isinstance(made, Done):
            yield _event("done", {})
            return
        if isinstance(made, Failed):
            yield _event("problem", {"message": made.message})
            return
        for name, data in made:
            yield _event(name, data)


def _event(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, default=str)}\n\n"
