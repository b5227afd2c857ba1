"""What the explorer's server refuses: other hosts' names, other sites' posts, and bodies without end."""

import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["LONGEST_BODY", "guards"]

LONGEST_BODY = 16_384
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # addresses hold prompts
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
POLICY = (
    "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'{nonce}; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class _OwnPosts:
    """Refuses posts of other sites' pages, and adds the headers that keep pages to themselves."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    given[name] = value
                given.setdefault("Content-Security-Policy", POLICY.format(nonce=""))
            await send(message)

        problem = _problem(scope["method"], headers)
        if problem is not None:
            status, why = problem
            await JSONResponse({"problem": why}, status)(scope, receive, with_headers)
            return
        await self.app(scope, receive, with_headers)


def _problem(method: str, headers: Headers) -> tuple[int, str] | None:
    if method in ("GET", "HEAD"):
        return None
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
    if site != "same-origin" or (origin is not None and urlsplit(origin).netloc != headers.get("host")):
        return 403, "This server takes requests of its own pages only."
    if headers.get("content-type", "").partition(";")[0] != "application/json":
        return 415, "Send JSON."
    length = headers.get("content-length", "")
    if not length.isdigit() or int(length) > LONGEST_BODY:
        return 413, f"The request is longer than {LONGEST_BODY} bytes, or does not say how long it is."
    return None


def guards(hosts: Iterable[str]) -> list[Middleware]:
    """The middleware of the app.

    Args:
        hosts: names by which the server may be called, beside those of this machine for itself.
    """
    names = {"localhost", "127.0.0.1", "testserver.local", *hosts}
    if "0.0.0.0" in names:
        names |= {socket.gethostname(), socket.getfqdn()}
    return [Middleware(TrustedHostMiddleware, allowed_hosts=sorted(names)), Middleware(_OwnPosts)]
