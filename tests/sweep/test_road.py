"""The road of an experiment, from its file to a stored image: short, and always down."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import diffusion_lens
from diffusion_lens.runs.experiment import Experiment
from diffusion_lens.runs.plan import Plan
from diffusion_lens.sweep.job import Job
from tests.command_line import run
from tests.conftest import build_lens
from tests.sweep.helpers import read

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = Path(diffusion_lens.__file__).parent
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
ROOMS: list[str] = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
Step = tuple[str, str]  # the function that gives the experiment on, and the one that takes it
HELD = (Experiment, Plan, Job)  # an experiment, and what holds it whole


def place(frame: FrameType | None) -> str | None:
    """Room, module and function of the nearest frame of the package, this one or one that called it."""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            return f"{path.relative_to(PACKAGE).with_suffix('')}:{frame.f_code.co_name}"
        frame = frame.f_back
    return None


@contextmanager
def followed(steps: list[Step]) -> Iterator[None]:
    """Note each call that takes an experiment, or what holds it, as an argument, or gives one back."""

    def note(frame: FrameType, event: str, value: object) -> None:
        if event not in ("call", "return") or not frame.f_code.co_filename.startswith(str(PACKAGE)):
            return
        code = frame.f_code
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        held = [frame.f_locals.get(name) for name in names] if event == "call" else [value]
        if any(isinstance(one, HELD) for one in held):
            here = place(frame)
            assert here is not None
            steps.append((place(frame.f_back) or here, here))

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


def test_an_experiment_passes_few_functions_and_never_goes_up_to_a_room_above(tmp_path):
    build_lens("sd").pipeline.save_pretrained(tmp_path / "model")
    (tmp_path / "study.toml").write_text(
        f'model = "{tmp_path}/model"\nprompts = ["a red fox"]\nlayers = [0, "native"]\n'
        'sampler = {steps = 1, guidance = 0.0, height = 16, width = 16}\nmachine = {dtype = "float32"}\n'
    )
    steps: list[Step] = []
    with followed(steps):
        done = run("sweep", str(tmp_path / "study.toml"), "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert len(read(tmp_path / "run")) == 2
    passed = {taker for _, taker in steps}
    assert {"runs/plan:make_plan", "sweep/open:open_run", "sweep/worker:__init__"} <= passed
    assert len(passed) <= 26, sorted(passed)
    room = {name: ROOMS.index(name.split("/")[0]) for name in passed | {giver for giver, _ in steps}}
    up = {(giver, taker) for giver, taker in steps if room[taker] < room[giver]}
    assert not up
