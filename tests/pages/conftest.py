"""Runs of known images for pages to show, and a browser to show them in."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from PIL import Image
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette

from diffusion_lens import DiffusionLens
from diffusion_lens.pages.app import create_app
from diffusion_lens.pages.run_index import RunIndex
from diffusion_lens.pages.serve import listen
from diffusion_lens.runs.plan import Cell
from diffusion_lens.scoring.score_run import score_run
from diffusion_lens.scoring.scorers.oracle import OracleScorer
from tests.scoring.made_runs import make_run, scene

PROMPTS = [
    ("a red fox", {"animacy": "alive"}),
    ("a blue car", {"animacy": "thing"}),
    ("a green dog", {"animacy": "alive"}),
    ("<img src=x onerror=alert(1)><script>alert(2)</script>", {"animacy": "<b>bold</b>"}),
]


def draw(cell: Cell, prompt: str) -> Image.Image:
    """The prompt's own scene from layer 1 on, a pizza before; the fox of seed 1 is lost at layer 2."""
    if (
        cell.layer == 0
        or prompt.startswith("<")
        or (prompt == "a red fox" and (cell.layer, cell.seed) == (2, 1))
    ):
        return scene("a pizza")
    return scene(prompt)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored run of four prompts, three layers and two seeds."""
    folder = tmp_path_factory.mktemp("runs") / "made"
    make_run(folder, PROMPTS, draw)
    score_run(folder, [OracleScorer()])
    return folder


@dataclass
class Running:
    """An explorer that listens, and a way to end it."""

    address: str
    app: Starlette
    server: uvicorn.Server

    def kill(self) -> None:
        """End it at once, with every connection."""
        self.server.should_exit = self.server.force_exit = True


@contextmanager
def running(app: Starlette) -> Iterator[Running]:
    """The app on a free port of this machine."""
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    found = Running(f"http://127.0.0.1:{listener.getsockname()[1]}", app, server)
    try:
        yield found
    finally:
        found.kill()
        thread.join(20)
        if app.state.live is not None:
            app.state.live.turns.stop()  # a server that is killed leaves its thread at work


@pytest.fixture(scope="session")
def explorer(emoji: DiffusionLens, run: Path) -> Iterator[Running]:
    """An explorer with the embedded model and a run."""
    with running(create_app(emoji, [RunIndex.open(run)])) as found:
        yield found


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a new visitor; the test fails if its console shows an error."""
    context = browser.new_context()
    found = context.new_page()
    found.set_default_timeout(90_000)
    errors: list[str] = []
    found.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    found.on("pageerror", lambda error: errors.append(str(error)))
    found.on("dialog", lambda dialog: errors.append(f"a script ran: {dialog.message}"))
    yield found
    context.close()
    assert errors == []
