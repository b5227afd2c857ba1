"""A GPU's quarter of an hour: tests, benchmarks and training in one command, at most 11 minutes in all.

    python experiments/gpu.py OUT                  on a machine with a GPU (`make gpu OUT=...`)
    python experiments/gpu.py OUT --size tiny      the same parts at tiny size, on the CPU

Each part has a time limit of its own and a log beside its results, and what it made stays when a later one
fails. `parts.json` says after each part how it ended. The order is that of what is least to be lost.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
LENS = (sys.executable, "-m", "diffusion_lens")
TINY = 3600  # seconds of a part at tiny size, which is tried on any machine, however loaded


@dataclass(frozen=True)
class Part:
    """One command and its limit in seconds."""

    name: str
    limit: int
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


def tests(tiny: bool) -> Part:
    """The tests that want a GPU; their own options only, as a lent machine lacks what the others need."""
    options = ("-m", "gpu", "-q", "-n", "0", "-o", "addopts=", "-p", "no:nbmake", "--import-mode=importlib")
    if not tiny:
        return Part("tests", 60, (sys.executable, "-m", "pytest", *options, "tests/gpu"))
    chosen = ("tests/gpu", "-k", "native", "-W", "default")
    environment = {"DIFFUSION_LENS_TEST_DEVICE": "cpu"}
    return Part("tests", TINY, (sys.executable, "-m", "pytest", *options, *chosen), environment)


def bench(architecture: str, limit: int, out: Path, tiny: bool) -> Part:
    """One architecture of random weights; Stable Diffusion 2.1 with its tuning, the others briefly."""
    command = [*LENS, "bench", "--architecture", architecture, "--out", str(out / architecture)]
    if tiny:
        command += ["--size", "tiny", "--rounds", "1", "--seeds", "1", "--steps", "1", "--device", "cpu"]
    elif architecture == "sd21":
        command += ["--tune", "--dtype", "float16", "--rounds", "2"]
    else:
        command += ["--rounds", "1", "--seeds", "1", "--steps", "4"]
    return Part(f"bench-{architecture}", TINY if tiny else limit, (*command, "--overwrite"))


def training(limit: int, out: Path, tiny: bool) -> Part:
    """The recipe of all models, or of one at tiny size; it stops by itself before its limit."""
    folder = ("--folder", str(out / "recipe"))
    if tiny:
        command = (*LENS, "testbed", "train", "--recipe", "emoji", "--quick", "--minutes", "1", *folder)
        return Part("recipe", TINY, (*command, "--device", "cpu", "--workers", "0"))
    minutes = f"{(limit - 90) / 60:.2f}"  # loading, encoding and exporting come on top
    return Part(
        "recipe", limit, (*LENS, "testbed", "train", "--recipe", "all", "--minutes", minutes, *folder)
    )


def prepare(out: Path, tiny: bool) -> list[Part]:
    """All parts: 1 minute of tests, 4 of benchmarks, 6 of training."""
    return [
        tests(tiny),
        bench("sd21", 140, out, tiny),
        bench("sdxl", 50, out, tiny),
        bench("flux", 50, out, tiny),
        training(360, out, tiny),
    ]


def run(part: Part, out: Path) -> dict[str, object]:
    """Run a part to its end or its limit; how it ended."""
    began = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **part.environment}
    with (out / f"{part.name}.log").open("wb") as file:
        try:
            ended = subprocess.run(
                part.command,
                cwd=ROOT,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=part.limit,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            ended = None
    return {**asdict(part), "seconds": round(time.monotonic() - began, 1), "exit": ended}


def main() -> int:
    """Run the parts one after the other; 0 if each of them ended well."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path, help="The folder of the results.")
    parser.add_argument("--size", choices=("full", "tiny"), default="full", help="Of models and training.")
    parser.add_argument("--only", nargs="*", metavar="PART", help="Some parts; all if left out.")
    given = parser.parse_args()
    out: Path = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    parts = prepare(out, given.size == "tiny")
    unknown = set(given.only or ()) - {part.name for part in parts}
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(part.name for part in parts)}")
    ended: list[dict[str, object]] = []
    for part in parts:
        if not given.only or part.name in given.only:
            ended.append(run(part, out))
            (out / "parts.json").write_text(json.dumps(ended, indent=1))
            how = {None: "reached its limit", 0: "done"}.get(ended[-1]["exit"], "failed")  # type: ignore[call-overload]
            sys.stdout.write(f"{part.name:12} {how} in {ended[-1]['seconds']} s\n")
            sys.stdout.flush()
    return int(any(one["exit"] != 0 for one in ended))


if __name__ == "__main__":
    sys.exit(main())
