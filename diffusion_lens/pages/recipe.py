"""The shell command and the Python line that make one image again, from its row of the table."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from diffusion_lens.text.interventions import split_interventions

__all__ = ["command_of", "python_of"]

# column -> flag of `diffusion-lens show` and argument of a call, where the default is not the same for all
_READING = {"encoder": "all", "readout": "native", "pooled": "hold", "slots": "all"}
_SAMPLER = ("steps", "guidance", "height", "width", "negative_prompt", "scheduler")
# what a row holds a hash or a name of, and no more; and what only Python can say
_UNSAID, _OPTIONS = ("edits", "embeddings", "approximations", "upscale"), "options"


def _layer(row: Mapping[str, Any]) -> str:
    if row.get("native"):
        return "native"
    site = row.get("site")
    return str(site) if site else str(row["layer"])


def _settings(row: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from the defaults of a call, by argument."""
    found: dict[str, Any] = {}
    for name, default in _READING.items():
        value = row.get(name)
        if value is not None and str(value) != default:
            found[name] = value
    for name in _SAMPLER:
        value = row.get(name)
        if value is not None:
            found[name] = int(value) if name in ("steps", "height", "width") else value
    return found


def _interventions(row: Mapping[str, Any]) -> list[str]:
    """The interventions of a row, each as its text."""
    return list(split_interventions(str(row.get("interventions") or "")))


def _without(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """A comment that names what an image was made with besides; empty if there is nothing.

    The columns alone are named: a value could be of any text, and end the comment.
    """
    held = [name for name in names if row.get(name) not in (None, "", "{}")]
    return f"  # without its {', '.join(held)}" if held else ""


def command_of(row: Mapping[str, Any]) -> str:
    """The `diffusion-lens show` command of an image, quoted for a POSIX shell.

    What the command can't say, such as learned words and options of the pipeline, is named in a comment.

    Args:
        row: a row of a run's or result's table.
    """
    words = ["diffusion-lens", "show", str(row["prompt"])]
    if row.get("model") is not None:
        words += ["--model", str(row["model"])]
    if row.get("revision"):
        words += ["--revision", str(row["revision"])]
    words += ["--layers", _layer(row), "--seeds", str(row["seed"])]
    for name, value in _settings(row).items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    if _interventions(row):
        words += ["--intervene", *_interventions(row)]
    return shlex.join(words) + _without(row, (_OPTIONS, *_UNSAID))


def python_of(row: Mapping[str, Any]) -> str:
    """The Python that makes an image again; what it can't say, such as learned words, is in a comment.

    Args:
        row: a row of a run's or result's table.
    """
    layer = _layer(row)
    told = int(layer) if layer.isdigit() else layer
    arguments = [repr(str(row["prompt"])), f"layers={told!r}", f"seeds={int(row['seed'])}"]
    arguments += [f"{name}={value!r}" for name, value in _settings(row).items()]
    arguments += [f"{name}={value!r}" for name, value in json.loads(row.get("options") or "{}").items()]
    if _interventions(row):
        arguments.append(f"interventions={_interventions(row)!r}")
    model = row.get("model")
    given = [repr(str(model if model is not None else "emoji"))]
    if row.get("revision"):
        given.append(f"revision={row['revision']!r}")
    return (
        "from diffusion_lens import DiffusionLens\n\n"
        f"lens = DiffusionLens.from_pretrained({', '.join(given)})\n"
        f"result = lens({', '.join(arguments)}){_without(row, _UNSAID)}\n"
        f"result.image({told!r}, seed={int(row['seed'])})"
    )
