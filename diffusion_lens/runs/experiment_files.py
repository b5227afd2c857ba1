"""Experiment files: read as plain data, and laid over each other."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffusion_lens.errors import ExperimentError
from diffusion_lens.files import read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["find_study", "load_experiment", "load_experiments"]

_PACKAGE = Path(__file__).parents[1]
# in an installed package, and in the repository
_STUDIES = (_PACKAGE / "experiments", _PACKAGE.parent / "experiments")


def find_study(name: str) -> Path:
    """The file of a study that comes with the package.

    Args:
        name: "relations", or with its folder "paper/relations" or "models/sdxl".

    Raises:
        ExperimentError: there is none of that name; those that there are are listed.
    """
    folder = next((one for one in _STUDIES if one.is_dir()), _STUDIES[0])
    known = {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.glob("*.toml")) + sorted(folder.glob("*/*.toml"))
    }
    if name not in known:
        raise ExperimentError(
            f"No study {name!r} comes with the package. Known: {', '.join(known)}. A file of your own is "
            "named by its path, without --study."
        )
    return known[name]


def load_experiment(path: Path) -> dict[str, Any]:
    """The plain data of an experiment file, so that flags can be laid over it.

    Raises:
        ExperimentError: it can't be read, or is no TOML.
    """
    try:
        loaded: dict[str, Any] = tomllib.loads(read_text(path))
        return loaded
    except OSError as error:
        raise ExperimentError(
            f"The experiment {path} can't be read: {error.strerror}. Give the path of a TOML file; "
            "`diffusion-lens new` writes one."
        ) from error
    except (ValueError, RecursionError) as error:  # of TOML, of text, of its numbers, nested too deep
        raise ExperimentError(f"{path} is no valid TOML: {error}.") from error


def load_experiments(paths: Sequence[Path]) -> tuple[dict[str, Any], Path]:
    """Lay experiment files over each other, such as a study and the model to run it on.

    A key of a later file replaces that of an earlier one; tables are laid over each other key by key, but
    for `prompts`.

    Returns:
        The plain data, and the folder that relative paths of its prompts start at.

    Raises:
        ExperimentError: a file can't be read, is no TOML, or none was given.
    """
    if not paths:
        raise ExperimentError(
            "No experiment was given. Name a TOML file, which `diffusion-lens new` writes, or a study that "
            "comes with the package: --study relations."
        )
    data: dict[str, Any] = {}
    base = paths[0].parent
    for path in paths:
        for key, value in load_experiment(path).items():
            old = data.get(key)
            merge = key != "prompts" and isinstance(old, dict) and isinstance(value, dict)
            data[key] = {**old, **value} if merge else value  # type: ignore[dict-item]
            base = path.parent if key == "prompts" else base
    return data, base
