"""The explorer's web app: a live page on a model, and pages of finished runs."""

import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

import diffusion_lens
from diffusion_lens.errors import DiffusionLensError
from diffusion_lens.pages.asked import Limits, known_interventions
from diffusion_lens.pages.browse import Browser
from diffusion_lens.pages.guard import POLICY, guards
from diffusion_lens.pages.run_index import RunIndex
from diffusion_lens.pages.templates import asset, render

if TYPE_CHECKING:
    from diffusion_lens.lens.lens import DiffusionLens

__all__ = ["create_app"]

EXAMPLES = (
    ("a green dog at night",),
    ("a red fox to the left of a pizza", "a pizza to the left of a red fox"),
    ("an automobile on grass",),
)
_KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def create_app(
    lens: "DiffusionLens | None" = None,
    runs: Sequence[RunIndex] = (),
    *,
    limits: Limits | None = None,
    hosts: Iterable[str] = (),
) -> Starlette:
    """The app.

    Args:
        lens: the model of the live page; without one there is none.
        runs: finished or unfinished runs to look into.
        limits: what a visitor may ask for.
        hosts: names by which the server may be called, beside this machine's own for itself.
    """
    limits = limits or Limits()
    live = None
    if lens is not None:
        from diffusion_lens.pages.live import Live  # torch comes with the model only

        live = Live(lens, limits)
    browsers = {browser.slug: browser for browser in _named(runs)}
    links = [(f"/run/{slug}", browser.index.name) for slug, browser in browsers.items()]
    shared: dict[str, Any] = {
        "version": diffusion_lens.__version__,
        "runs": links,
        "model": lens.name if lens else None,
    }

    async def home(request: Request) -> Response:
        if live is None:
            return RedirectResponse(links[0][0]) if len(links) == 1 else _page("runs.html", **shared)
        return _page(
            "live.html",
            **shared,
            here="/",
            controls=live.controls,
            embeddings=list(live.lens.embeddings.hashes),
            interventions=known_interventions(),
            limits=limits,
            defaults=live.lens.defaults,
            examples=EXAMPLES if live.oracle else (),
            images_named=live.oracle is not None,
        )

    async def static(request: Request) -> Response:
        name = request.path_params["name"]
        ending = name.rpartition(".")[2]
        if "/" in name or ending not in _KINDS:
            return _missing(request, Exception())
        try:
            content = asset(name)
        except OSError:
            return _missing(request, Exception())
        return Response(content, media_type=_KINDS[ending], headers={"Cache-Control": "no-cache"})

    def _missing(request: Request, _error: Exception) -> Response:
        what = f"There is nothing at {request.url.path}."
        return _page("problem.html", 404, **shared, here="", title="Not found", message=what)

    def _refused(request: Request, error: Exception) -> Response:
        return _page(
            "problem.html", 400, **shared, here="", title="This can't be shown", message=str(error)
        )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        if live is not None:
            live.turns.start()
        yield
        if live is not None:
            live.turns.stop()

    routes = [Route("/", home), Route("/static/{name}", static), *(live.routes if live else ())]
    for browser in browsers.values():
        routes += browser.routes(_page, shared)
    app = Starlette(
        routes=routes,
        middleware=guards(hosts),
        lifespan=lifespan,
        exception_handlers={404: _missing, DiffusionLensError: _refused},
    )
    app.state.live = live
    return app


def _page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page with a policy that lets only its own style element through."""
    nonce = secrets.token_urlsafe(16)
    content = render(template, nonce=nonce, **values)
    policy = POLICY.format(nonce=f" 'nonce-{nonce}'")
    return HTMLResponse(content, status, {"Content-Security-Policy": policy, "Cache-Control": "no-cache"})


def _named(runs: Sequence[RunIndex]) -> list[Browser]:
    """Each run under a name of its own."""
    found: dict[str, Browser] = {}
    for index in runs:
        plain = (
            "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in index.name) or "run"
        )
        slug, count = plain, 1
        while slug in found:
            count += 1
            slug = f"{plain}-{count}"
        found[slug] = Browser(index, slug)
    return list(found.values())
