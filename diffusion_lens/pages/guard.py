"""What the explorer's server refuses: other hosts' names, other sites' posts, and bodies without end."""

import socket
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse
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


class _KnownHosts:
    """Refuses names that are not this server's: another site could let its own name lead here.

    Numeric addresses pass, as no site can choose them.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self.app, self.names = app, frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        name = _hostname(Headers(scope=scope).get("host", ""))
        if name in self.names or _is_address(name):
            await self.app(scope, receive, send)
            return
        name = name[:100]
        why = f"This explorer does not go by the name {name!r}. Open it as http://localhost, or start it "
        why += f"with --allow-host {name} to let browsers call it so."
        await PlainTextResponse(why, 400, _HEADERS)(scope, receive, send)


def _hostname(host: str) -> str:
    """The name or address of a Host header, without its port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return host


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


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
    names = {"localhost", *hosts}
    if "0.0.0.0" in names:
        names |= {socket.gethostname(), socket.getfqdn()}
    return [Middleware(_KnownHosts, names=names), Middleware(_OwnPosts)]
