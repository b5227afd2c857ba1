"""Leases on runs in object stores: they outlive a store that fails, and are not taken back from others."""

import itertools
import json
import threading
import time
from typing import ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from diffusion_lens.errors import RunError
from diffusion_lens.runs.lock import use_lock
from diffusion_lens.runs.store import Store

LOCK = "locks/1-of-1.lock"
names = itertools.count()


class FailingStore(MemoryFileSystem):
    """A store that can't be written while it is down, and whose locks may be closed to reading."""

    protocol = "failing"
    down = threading.Event()
    unreadable: ClassVar[set[str]] = set()

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("failing://"))

    def pipe_file(self, *arguments, **options):
        if self.down.is_set():
            raise ConnectionResetError("connection reset by peer")
        return super().pipe_file(*arguments, **options)

    def _open(self, path, mode="rb", **options):
        if any(path.endswith(name) for name in self.unreadable):
            raise PermissionError("Forbidden")
        return super()._open(path, mode, **options)


fsspec.register_implementation("failing", FailingStore, clobber=True)


@pytest.fixture(autouse=True)
def renew_often(monkeypatch):
    monkeypatch.setattr("diffusion_lens.runs.lock._RENEW_SECONDS", 0.05)


@pytest.fixture
def store():
    yield Store(f"failing://run-{next(names)}")
    FailingStore.down.clear()
    FailingStore.unreadable.clear()


def until(store: Store) -> float:
    return json.loads(store.fs.cat_file(store.path(LOCK)))["until"]


def wait_for(happened) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_store_that_fails_for_a_while_ends_no_lease(store, caplog):
    with use_lock(store, (1, 1)) as check_held:
        FailingStore.down.set()
        wait_for(lambda: "was not renewed" in caplog.text)
        FailingStore.down.clear()
        before = until(store)
        wait_for(lambda: until(store) > before)
        check_held()
        with pytest.raises(RunError, match="is being drawn by another process"), use_lock(store, (1, 1)):
            pass
    assert not store.fs.exists(store.path(LOCK))


def test_a_lease_that_can_not_be_renewed_ends_with_its_time(store, monkeypatch):
    monkeypatch.setattr("diffusion_lens.runs.lock._LEASE_SECONDS", 0.5)
    with use_lock(store, (1, 1)) as check_held:
        FailingStore.down.set()
        wait_for(lambda: time.time() > until(store))
        with pytest.raises(RunError, match=r"no longer holds failing://run-.*did not reach the store"):
            check_held()


def test_a_lease_that_another_process_took_stays_its_own(store):
    theirs = json.dumps({"owner": "they", "until": time.time() + 1000}).encode()
    with use_lock(store, (1, 1)) as check_held:
        store.fs.pipe_file(store.path(LOCK), theirs)
        with pytest.raises(RunError, match="another one may draw in its place"):
            wait_for(check_held)  # until it is noticed
        with pytest.raises(RunError, match="All that was written is whole"):
            check_held()
    assert store.fs.cat_file(store.path(LOCK)) == theirs


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"until": "soon"}'])
def test_a_lease_that_can_not_be_read_is_taken_from_nobody(store, content):
    theirs = json.dumps({"owner": "they", "until": time.time() + 1000}).encode()
    for name in (LOCK, "locks/2-of-3.lock"):  # of the same shard, and of a run cut in another way
        store.fs.pipe_file(store.path(name), theirs)
        FailingStore.unreadable.add(name)
        with pytest.raises(RunError, match=rf"{name} can't be read .*Forbidden"), use_lock(store, (1, 1)):
            pass
        FailingStore.unreadable.clear()
        assert store.fs.cat_file(store.path(name)) == theirs
        store.fs.pipe_file(store.path(name), content)
        with pytest.raises(RunError, match="if no other process draws the run, delete it"):
            with use_lock(store, (1, 1)):
                pass
        store.fs.rm_file(store.path(name))
    with use_lock(store, (1, 1)) as check_held:
        check_held()


@pytest.mark.parametrize("name", [LOCK, "locks/2-of-3.lock"])
def test_a_local_lock_that_can_not_be_opened_is_named(tmp_path, name):
    (tmp_path / name).mkdir(parents=True)
    with pytest.raises(RunError, match=rf"{name} can't be read"), use_lock(Store(tmp_path), (1, 1)):
        pass
