"""Threads of the processes that the package starts wait shortly, unless the user has said how they wait."""

import os

import pytest

from diffusion_lens.threads import children_wait_shortly, wait_shortly

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.fixture
def environment(monkeypatch):
    """An environment that says nothing of how threads wait."""
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that it is put back as it was
        monkeypatch.delenv(name)
    return monkeypatch


def said() -> dict[str, str]:
    return {name: os.environ[name] for name in NAMES if name in os.environ}


def test_threads_of_each_library_wait_shortly(environment):
    wait_shortly()
    assert said() == {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}


@pytest.mark.parametrize("name", NAMES)
def test_what_a_user_has_set_stays_alone(environment, name):
    environment.setenv(name, "7")
    wait_shortly()
    with children_wait_shortly():
        assert said() == {name: "7"}
    assert said() == {name: "7"}


def test_only_children_wait_shortly(environment):
    with children_wait_shortly():
        assert len(said()) == 2
    assert said() == {}
