"""Families from elsewhere: those that installed packages register, and those named as "module:NAME"."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import TypeVar

from diffusion_lens.errors import InputError

__all__ = ["load_entry_points", "resolve"]

T = TypeVar("T")


def load_entry_points(group: str, kind: type[T]) -> dict[str, T]:
    """What installed packages register under an entry point group, by the name they give it.

    Args:
        group: such as "diffusion_lens.families".
        kind: the type that each must have.

    Raises:
        InputError: a package registers something else, or it can't be imported.
    """
    found = {}
    for point in entry_points(group=group):
        package = point.dist.name if point.dist else "an installed package"
        try:
            value = point.load()
        except Exception as error:  # a broken package may raise anything
            raise InputError(
                f"{package} registers {point.name} = {point.value} under {group}, which can't be loaded "
                f"({type(error).__name__}: {error}). Mend or uninstall it."
            ) from error
        found[point.name] = _checked(value, kind, f"{package}: {point.value}")
    return found


def resolve(name: str, known: Mapping[str, T], kind: type[T]) -> T:
    """A value by the name of a known class, or by "package.module:NAME".

    Args:
        name: one of `known`, or where in an importable module the value is. The module is imported.
        known: the values that have a name.
        kind: the type that the value must have.

    Raises:
        InputError: there is no such name, the module can't be imported, or it holds something else.
    """
    if name in known:
        return known[name]
    if ":" not in name:
        raise InputError(
            f"{name!r} is no {kind.__name__}. Known: {', '.join(known)}; or name one of your own as "
            '"package.module:NAME".'
        )
    try:
        value = resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"{name!r} can't be imported ({type(error).__name__}: {error}). Give a {kind.__name__} of an "
            'installed package, or of a module on PYTHONPATH, as "package.module:NAME".'
        ) from error
    return _checked(value, kind, name)


def _checked(value: object, kind: type[T], where: str) -> T:
    if not isinstance(value, kind):
        raise InputError(f"{where} is a {type(value).__name__}; a {kind.__name__} is needed.")
    return value
