"""Running the explorer's app: a free port, or a message about the one that is taken."""

import errno
import os
import socket
import sys
import webbrowser
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from diffusion_lens.errors import InputError

__all__ = ["can_open_pages", "listen", "serve"]

LOCAL = ("127.0.0.1", "localhost", "::1")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: the address to listen at.
        port: the port; 0 for any that is free.

    Raises:
        InputError: the port is in use or not allowed, or the host is none of this machine's.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"{port} is no port: those are 1 to 65535, and 0 takes any that is free.")
    found = None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(128)
    except OSError as error:
        if found is not None:
            found.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"Port {port} of {host} is in use, perhaps by another explorer. Choose another with "
                "--port, or --port 0 for any that is free."
            ) from error
        raise InputError(
            f"The explorer can't listen at {host}, port {port}: {error.strerror or error}."
        ) from error
    return found


def can_open_pages() -> bool:
    """Whether a page can be opened here: there is a display, or a program that the user named for it.

    Without one Python would start a browser for terminals where it finds one, and wait for its end.
    """
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def serve(
    app: ASGIApp, listener: socket.socket, host: str, *, browser: bool, ready: Callable[[str], None]
) -> None:
    """Serve until Ctrl-C.

    Args:
        app: the app.
        listener: a socket of `listen`.
        host: the address that it listens at.
        browser: open the page in the user's browser, where there is a display.
        ready: is told the page's address.
    """
    shown = "localhost" if host in (*LOCAL, "0.0.0.0", "::") else host
    address = f"http://{shown}:{listener.getsockname()[1]}/"
    ready(address)
    if browser and can_open_pages():
        with suppress(webbrowser.Error):  # the address was given
            webbrowser.open(address)
    # visitors' streams end at once when the server stops
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, server_header=False)
    uvicorn.Server(config).run([listener])
