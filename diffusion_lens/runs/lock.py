"""One process at a time on a run, or on one shard of it."""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from filelock import FileLock, Timeout

from diffusion_lens.errors import OutputError, RunError
from diffusion_lens.files import read_from
from diffusion_lens.runs.store import Store

__all__ = ["use_lock"]

log = logging.getLogger(__name__)

_LEASE_SECONDS = 120.0
_RENEW_SECONDS = 30.0


@contextmanager
def use_lock(store: Store, shard: tuple[int, int]) -> Iterator[Callable[[], None]]:
    """Hold a shard of a run while the body runs.

    On a local or shared disk the system's own lock is taken, which ends with its process, however that
    ends. An object store knows no locks: there a lease is taken that runs out two minutes after its
    holder was last alive.

    Yields:
        A check that the shard is still held, to be made before anything is written. It raises RunError once
        another process may have taken the shard, because this one slept or did not reach the store.

    Raises:
        RunError: another process holds this shard, or draws the run cut in another way; or a lock can't be
            read, so that nobody knows.
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
        check: Callable[[], None] = _always_held
        if store.local:
            lock = FileLock(store.path(f"locks/{name}"), timeout=0)
            try:
                stack.enter_context(lock)
            except Timeout:
                raise RunError(_in_use(store, shard)) from None
            except OSError as error:
                raise RunError(_unreadable(store, f"locks/{name}", error)) from error
        else:
            lease = stack.enter_context(_take_lease(store, f"locks/{name}", shard))
            check = lease.check
        for other in store.names("locks", ".lock"):
            if not other.endswith(f"-of-{count}.lock") and _is_held(store, other):
                raise RunError(
                    f"{store.url} is being drawn by another process as {other[6:-5].replace('-', ' ')} "
                    f"shards, and this one was told {index} of {count}. Cut a run in one way only."
                )
        yield check


def _always_held() -> None:
    """The system's own lock lasts as long as its process."""


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
    except OSError as error:
        raise RunError(_unreadable(store, name, error)) from error
    probe.release()
    return False


def _is_alive(store: Store, name: str) -> bool:
    """Whether a lease has not run out; one that can't be read may be another process's."""
    try:
        held = json.loads(read_from(store.fs, store.path(name)))
        return float(held["until"]) > time.time()
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(_unreadable(store, name, error)) from error


def _unreadable(store: Store, name: str, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return (
        f"{store.url}/{name} can't be read ({reason}), and it tells whether another process draws this "
        "run. Make sure that you may read and write it, and give the same command again; if no other "
        "process draws the run, delete it."
    )


class _Lease:
    """A lease on a shard, which a thread renews until it has ended or another process has it."""

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name = store, name
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
        self.until = 0.0
        self.lost = False
        self._renewing = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def write(self) -> None:
        """Say that this process is alive."""
        until = time.time() + _LEASE_SECONDS
        content = json.dumps({"owner": self.owner, "until": until}).encode()
        self.store.fs.pipe_file(self.store.path(self.name), content)
        self.until = until

    def is_owned(self) -> bool:
        """Whether the store names this process; raises what a store raises that can't be reached."""
        try:
            held = json.loads(read_from(self.store.fs, self.store.path(self.name)))
        except (FileNotFoundError, ValueError):  # removed, or being written, by another process
            return False
        return bool(held["owner"] == self.owner)

    def renew(self) -> None:
        """Prolong the lease, unless another process took it when it had run out."""
        with self._renewing:
            self.lost = self.lost or not self.is_owned()
            if not self.lost:
                self.write()

    def check(self) -> None:
        """Raise RunError if another process has the shard, or may have it."""
        if not self.lost and time.time() < self.until:
            return
        with _warning_of_errors(self.name):
            self.renew()
        if self.lost or time.time() >= self.until:
            raise RunError(
                f"This process no longer holds {self.store.url}/{self.name}: it slept, or did not reach "
                f"the store, for more than {_LEASE_SECONDS:.0f} s, and another one may draw in its place. "
                "All that was written is whole; give the same command again once no other process draws it."
            )

    def _keep(self) -> None:
        while not self.lost and not self._ended.wait(_RENEW_SECONDS):
            with _warning_of_errors(self.name):
                self.renew()

    def start(self) -> None:
        """Renew from now on."""
        self._thread.start()

    def end(self) -> None:
        """Renew no more, and let others have the shard at once."""
        self._ended.set()
        self._thread.join()
        with _warning_of_errors(self.name):
            if self.is_owned():
                self.store.fs.rm_file(self.store.path(self.name))


@contextmanager
def _warning_of_errors(name: str) -> Iterator[None]:
    """Warn in place of raising: the next renewal may succeed, and a lease that is left runs out."""
    try:
        yield
    except Exception as error:  # each store has errors of its own
        log.warning("%s was not renewed or removed: %s: %s", name, type(error).__name__, error)


@contextmanager
def _take_lease(store: Store, name: str, shard: tuple[int, int]) -> Iterator[_Lease]:
    if _is_alive(store, name):
        raise RunError(_in_use(store, shard))
    lease = _Lease(store, name)
    lease.write()
    try:
        owned = lease.is_owned()
    except OSError as error:
        raise RunError(_unreadable(store, name, error)) from error
    if not owned:
        raise RunError(_in_use(store, shard))
    lease.start()
    try:
        yield lease
    finally:
        lease.end()
