"""A benchmark as files: tables, and a README that says where and by what command they were measured."""

import importlib.metadata
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from diffusion_lens.bench.approximation_error import ApproximationError
from diffusion_lens.bench.timing import Timing
from diffusion_lens.files import write_whole
from diffusion_lens.runs.provenance import find_commit

__all__ = ["describe_machine", "write_report"]

_README = """# Speed

`{command}`

{machine}

`timings.csv`: seconds of an image, and how many times as fast as one call of the pipeline an image
(`speedup`) and as one call a layer with all its seeds (`over_layers`).

{timings}
"""
_APPROXIMATIONS = """
`approximation_error.csv`: what approximations save, and what they do to the images of each layer against
exact ones (the row without a name: exact, drawn again). Means over layers:

{errors}
"""


def write_report(
    folder: Path, command: str, timings: Sequence[Timing], errors: Sequence[ApproximationError]
) -> None:
    """Write timings.csv, approximation_error.csv if any were measured, and README.md.

    Raises:
        OutputError: a file can't be written.
    """
    times = pd.DataFrame([asdict(one) for one in timings])
    shown = times[["way", "batch", "optimizations", "seconds", "speedup", "over_layers", "share"]]
    text = _README.format(command=command, machine=describe_machine(), timings=_markdown(shown))
    _write(folder / "timings.csv", times.to_csv(index=False, float_format="%.4g"))
    if errors:
        rows = pd.DataFrame([asdict(one) for one in errors])
        _write(folder / "approximation_error.csv", rows.to_csv(index=False, float_format="%.4g"))
        text += _APPROXIMATIONS.format(errors=_markdown(summarise(errors)))
    _write(folder / "README.md", text)


def summarise(errors: Sequence[ApproximationError]) -> pd.DataFrame:
    """One row by approximation: means over its layers, and the worst layer's root mean square error."""
    rows = pd.DataFrame([asdict(one) for one in errors])
    grouped = rows.groupby("approximation", sort=False)
    columns = {
        name: grouped[name].agg("first" if name in ("speedup", "note") else "mean")
        for name in ("speedup", "rmse", "agreement", "note")
    }
    return pd.DataFrame(columns).assign(worst=grouped["rmse"].max()).reset_index()


def describe_machine() -> str:
    """Processor or GPU, what of it is used, how busy it is, and by which versions; a few lines."""
    processor = platform.processor() or platform.machine()
    try:
        found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        processor = found.group(1) if found else processor
    except OSError:
        pass  # no Linux
    lines = [
        f"- {processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads of torch",
        *(f"- {torch.cuda.get_device_name(one)}" for one in range(torch.cuda.device_count())),
    ]
    if hasattr(os, "getloadavg"):
        lines.append(f"- load of the last minute, this measurement included: {os.getloadavg()[0]:.1f}")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "diffusers")]
    lines.append(f"- {', '.join(versions)}, {find_commit() or 'no checkout'}")
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write(text.encode()))


def _markdown(table: pd.DataFrame) -> str:
    """A table as GitHub shows it."""

    def show(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    rows = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy(dtype=object).tolist()]
    return "\n".join(f"| {' | '.join(map(show, row))} |" for row in rows)
