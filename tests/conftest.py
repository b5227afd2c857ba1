"""Shared fixtures: the embedded lens, and a tiny real pipeline of each family."""

import importlib.metadata
import os

# the tests run in several processes; more threads than cores only wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gc
import logging
import signal
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import jaxtyping
import pytest
from hypothesis import settings
from packaging.version import Version

if TYPE_CHECKING:  # at run time where they are used: the process that only hands out the tests needs none
    from playwright.sync_api import Browser

    from diffusion_lens import DiffusionLens, Sampler
    from diffusion_lens.learning.latent_inversion import LatentInversion
    from tests.zygote import Zygote

# a shell that starts the tests in the background lets its children ignore Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("default", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("default")
gc.disable()  # while all tests are imported


def tiny_sampler(family: str) -> "Sampler":
    """The settings that make a family's tiny pipeline fast."""
    from diffusion_lens import Sampler
    from diffusion_lens.testing import FAMILIES

    call = dict(FAMILIES[family].call)
    return Sampler(
        steps=call.pop("num_inference_steps", 2),
        guidance=call.pop("guidance_scale", None),
        height=call.pop("height", None),
        width=call.pop("width", None),
        options=call,
    )


def build_lens(family: str) -> "DiffusionLens":
    """A new lens on a new tiny pipeline, with settings that make it fast."""
    from diffusion_lens import DiffusionLens
    from diffusion_lens.testing import FAMILIES

    return DiffusionLens(FAMILIES[family].build(), defaults=tiny_sampler(family), name=family)


@cache
def shared_lens(family: str) -> "DiffusionLens":
    """A lens on a family's tiny pipeline, built once a process."""
    return build_lens(family)


@pytest.fixture
def tiny_lens() -> "Callable[[str], DiffusionLens]":
    """A lens on a family's tiny pipeline, built once a process; for tests that leave it as it is."""
    return shared_lens


@pytest.fixture
def new_lens() -> "Callable[[str], DiffusionLens]":
    """A lens on a family's tiny pipeline of the test's own, to be broken at will."""
    return build_lens


@pytest.fixture(scope="session")
def emoji() -> "DiffusionLens":
    """A lens on the embedded model."""
    from diffusion_lens import DiffusionLens

    return DiffusionLens.from_pretrained("emoji")


@pytest.fixture(scope="session")
def inversion(emoji: "DiffusionLens") -> "LatentInversion":
    """The embedded model, which the lens on it shares, with its R."""
    from diffusion_lens.learning.latent_inversion import LatentInversion
    from diffusion_lens.models.embedded import weights_of
    from diffusion_lens.testbed.inverter import LatentInverter

    with weights_of("emoji") as folder:
        return LatentInversion(emoji, LatentInverter.from_pretrained(folder / "inverter"))


def needs(package: str, version: str) -> pytest.MarkDecorator:
    """For tests of what older versions can't do by themselves; the versions of today skip none."""
    old = Version(importlib.metadata.version(package)) < Version(version)
    return pytest.mark.skipif(old, reason=f"{package} before {version} can't")


# where a CLIP's text encoder has its blocks and its norm: from transformers 5.6 on, and before
CLIP_KEYS = (
    ("encoder.layers", "text_model.encoder.layers"),
    ("final_layer_norm", "text_model.final_layer_norm"),
)


def clip_body(encoder: Any) -> Any:
    """The part of a CLIP's text encoder that has its blocks and its norm."""
    return getattr(encoder, "text_model", encoder)


@pytest.fixture
def untyped() -> Iterator[None]:
    """Without the checks of types at run time, which users do not have: what the code itself says."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


ZYGOTE = pytest.StashKey["Zygote"]()


@pytest.fixture(scope="session")
def zygote(pytestconfig: pytest.Config) -> "Zygote":
    """A process that forks children to be killed, stopped or starved, one for all tests of a process."""
    zygote = pytestconfig.stash[ZYGOTE]
    zygote.run("pass")  # it has built what they need, and its children are timed without that
    return zygote


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """Chromium, one for all tests of a process: Playwright can't be started twice in one."""
    from tests.browser import open_browser

    with open_browser() as found:
        yield found


# of several minutes in all: begun last, one of them would keep one process at work when the other has ended
LONGEST = ("tests/test_documents.py", "tests/test_notebooks.py", "tests/sweep/test_ray.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


def spare_the_collector() -> None:
    """What is there now stays: the garbage collector need not go through all of it again and again."""
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After a file of tests, which has imported libraries and built models for those after it."""
    if nextitem is not None and nextitem.path != item.path:
        spare_the_collector()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Before pytest and Python go through all of it once more."""
    spare_the_collector()
    if ZYGOTE in session.config.stash:
        session.config.stash[ZYGOTE].close()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Once all is imported: what takes a tenth of the tests' time if it is left as it is."""
    gc.enable()
    spare_the_collector()
    # and each call quietens libraries that are not quiet
    for library in ("transformers", "diffusers", "huggingface_hub"):
        logging.getLogger(library).setLevel(logging.ERROR)
    if any("zygote" in getattr(item, "fixturenames", ()) for item in session.items):
        from tests.zygote import Zygote

        session.config.stash[ZYGOTE] = Zygote()
