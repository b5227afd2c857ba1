"""One process at a time on a run, or on one shard of it."""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from filelock import FileLock, Timeout

from diffusion_lens.errors import OutputError, RunError
from diffusion_lens.files import read_from
from diffusion_lens.runs.store import Store

__all__ = ["use_lock"]

_LEASE_SECONDS = 120.0


@contextmanager
def use_lock(store: Store, shard: tuple[int, int]) -> Iterator[None]:
    """Hold a shard of a run while the body runs.

    On a local or shared disk the system's own lock is taken, which ends with its process, however that
    ends. An object store knows no locks: there a lease is taken that runs out two minutes after its
    holder was last alive.

    Raises:
        RunError: another process holds this shard, or draws the run cut in another way.
        OutputError: the folder can't be written.
    """
    index, count = shard
    try:
        store.fs.makedirs(store.path("locks"), exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{store.url} can't be written: {error.strerror or error}. Choose a folder that you may "
            "write to."
        ) from error
    name = f"{index}-of-{count}.lock"
    with ExitStack() as stack:
        if store.local:
            lock = FileLock(store.path(f"locks/{name}"), timeout=0)
            try:
                stack.enter_context(lock)
            except Timeout:
                raise RunError(_in_use(store, shard)) from None
        else:
            stack.enter_context(_lease(store, f"locks/{name}", shard))
        for other in store.names("locks", ".lock"):
            if not other.endswith(f"-of-{count}.lock") and _is_held(store, other):
                raise RunError(
                    f"{store.url} is being drawn by another process as {other[6:-5].replace('-', ' ')} "
                    f"shards, and this one was told {index} of {count}. Cut a run in one way only."
                )
        yield


def _in_use(store: Store, shard: tuple[int, int]) -> str:
    index, count = shard
    what = f"Shard {index} of {count} of {store.url}" if count > 1 else store.url
    return (
        f"{what} is being drawn by another process. Wait for it or stop it; to draw with several, give "
        "each a --shard of its own, or use --engine ray."
    )


def _is_held(store: Store, name: str) -> bool:
    if not store.local:
        return _is_alive(store, name)
    probe = FileLock(store.path(name), timeout=0)
    try:
        probe.acquire()
    except Timeout:
        return True
    probe.release()
    return False


def _is_alive(store: Store, name: str) -> bool:
    try:
        held = json.loads(read_from(store.fs, store.path(name)))
    except (OSError, ValueError):
        return False
    return float(held["until"]) > time.time()


@contextmanager
def _lease(store: Store, name: str, shard: tuple[int, int]) -> Iterator[None]:
    path, owner = store.path(name), f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"

    def content() -> bytes:
        return json.dumps({"owner": owner, "until": time.time() + _LEASE_SECONDS}).encode()

    def owned() -> bool:
        try:
            return bool(json.loads(read_from(store.fs, path))["owner"] == owner)
        except (OSError, ValueError):
            return False

    if _is_alive(store, name):
        raise RunError(_in_use(store, shard))
    store.fs.pipe_file(path, content())
    if not owned():
        raise RunError(_in_use(store, shard))
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(_LEASE_SECONDS / 4):
            store.fs.pipe_file(path, content())

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if owned():
            store.fs.rm_file(path)
