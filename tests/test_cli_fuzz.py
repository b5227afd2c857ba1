"""Hostile values for every option of every verb: a message and exit code 2, never a traceback.

Nothing is drawn: each command line holds a value that no verb can use, or names a run, a model or a file
that is not there. `pytest -m fuzz` tries more of them.
"""

import inspect
import random
from pathlib import Path

import pytest

from diffusion_lens.cli.verbs import Verb, verbs
from tests.command_line import run

HOSTILE = [
    *("9" * 30, "-" + "9" * 30, "²", "٣", "1_000", "0x10", "1e999", "nan", "inf", "-inf", "", " "),
    *("\udce9", "caf\ud800", "\0", "a\0b", "x" * 300, "x/" * 3000, "../../evil", "/proc/self/mem"),
    *("<script>alert(1)</script>", "[red]x[/]", "{0}", "%s", "\u202eabc", "\N{ZERO WIDTH SPACE}", "None"),
    *("-", "--help=1", "=", "a=b", "1/0", "²/3", "0:24:0", "all", "native", "\n", "😀" * 70),
]
# what is not there: nothing is loaded, and nothing is drawn
MODEL = ["--model", "nowhere"]
OPTIONS = [
    *("--model", "--layers", "--seeds", "--seed", "--steps", "--guidance", "--height", "--out", "--device"),
    *("--dtype", "--batch-size", "--shard", "--limit", "--prompt", "--token", "--init", "--slots", "--key"),
    *("--rater", "--checks", "--scorer", "--by", "--contrast", "--level", "--resamples", "--cut", "--lr"),
    *("--replace", "--candidates", "--n", "--images", "--kinds", "--stage", "--minutes", "--concept"),
]
# these would do what they are asked for, or take long for it
SKIPPED = {"models", "new", "explore", "bench lens", "bench learning", "testbed scenes", "testbed train"}
TRIED = [one for one in verbs() if one.name not in SKIPPED]


def hostile(one: Verb, chance: random.Random) -> list[str]:
    """A command line of a verb with one to three values that it may not be ready for."""
    words = [*one.path, *(chance.choice(HOSTILE) for _ in range(chance.randint(1, 2)))]
    for _ in range(chance.randint(0, 2)):
        words += [chance.choice(OPTIONS), chance.choice(HOSTILE)]
    loads = "model" in inspect.signature(one.function).parameters and one.name != "doctor"
    return [*words, *MODEL] if loads else words


def attack(folder: Path, count: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(count):
        words = hostile(chance.choice(TRIED), chance)
        done = run(*words, cwd=folder)
        assert done.returncode == 2, (words, done)
        assert "Traceback" not in done.stderr, words
        assert done.stdout or done.stderr, words


@pytest.fixture
def offline(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def test_hostile_values_are_refused_in_one_message(offline):
    attack(offline, 120, seed=0)
    assert not any(path.suffix in (".png", ".parquet", ".safetensors") for path in offline.rglob("*"))


@pytest.mark.fuzz
def test_ten_thousand_hostile_values(offline):
    attack(offline, 10_000, seed=1)
