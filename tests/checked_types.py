"""Annotations of the package are checked while the tests run, by an import hook of their own.

jaxtyping has such a hook. This one checks the same and takes a fraction of the time, which is spent in each
process: what takes or returns an annotated array is decorated by jaxtyping, which follows the names of axes
from one argument to the next; all else by beartype alone; and bytecode is kept apart for the package, while
jaxtyping's hook keeps it apart for all that the package imports.
"""

import ast
import dataclasses
import functools
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType, SimpleNamespace
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from unittest.mock import patch

import jaxtyping
from beartype import BeartypeConf, beartype

__all__ = ["checked", "install"]

_DECORATOR = f"__import__({__name__!r}, fromlist=['checked']).checked"
_MARKER = "checked2"  # in the names of files of bytecode
# a value of another type is a `TypeError`, as it is in jaxtyping
_check = beartype(conf=BeartypeConf(violation_type=TypeError))


def install(package: str) -> None:
    """Check what a package's functions take and return, and what its dataclasses are made of.

    Raises:
        RuntimeError: the package is imported already.
    """
    if package in sys.modules:
        raise RuntimeError(f"{package} is imported before the hook that checks its types.")
    sys.meta_path.insert(0, _Finder(package))


def checked(given: Any) -> Any:
    """A function or class whose types are checked, unless `jaxtyping.config.jaxtyping_disable` is set."""
    if inspect.isclass(given):
        if dataclasses.is_dataclass(given) and "__init__" in vars(given):
            given.__init__ = _checked(given.__init__)
        return given
    if isinstance(given, (classmethod, staticmethod)):
        return type(given)(_checked(given.__func__))
    if isinstance(given, property):
        return property(*(one and _checked(one) for one in (given.fget, given.fset, given.fdel)))
    return _checked(given) if inspect.isfunction(given) else given


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    written, hints = function.__annotations__, _known_hints(function)
    if not hints:
        return function
    function.__annotations__ = hints
    try:
        if any(map(_names_array, hints.values())):
            run = jaxtyping.jaxtyped(function, typechecker=_check)
        else:
            run = _switched(function, _check(function))
    finally:
        function.__annotations__ = written
    run.__annotations__ = written
    return run


def _known_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The types that can be checked; those that only mypy imports are left out."""
    known = {}
    for name, annotation in function.__annotations__.items():
        one = SimpleNamespace(__annotations__={name: annotation})
        with suppress(Exception):
            known |= get_type_hints(one, globalns=function.__globals__, include_extras=True)
    return {name: hint for name, hint in known.items() if not _holds_name(hint)}


def _holds_name(hint: Any) -> bool:
    """Whether a part is a name yet to be looked up, as Python 3.10 leaves those within a collection."""
    if get_origin(hint) in (Annotated, Literal):
        return False
    return isinstance(hint, str) or any(map(_holds_name, get_args(hint)))


def _switched(function: Callable[..., Any], checking: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        return (function if jaxtyping.config.jaxtyping_disable else checking)(*args, **kwargs)

    return run


def _names_array(hint: Any) -> bool:
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(map(_names_array, get_args(hint)))


class _Decorate(ast.NodeTransformer):
    """Writes the decorator below those of a function and above those of a class."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        # not those inside, which would be decorated at each call, in milliseconds
        node.decorator_list.append(self._decorator(node))
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.decorator_list.insert(0, self._decorator(node))
        return self.generic_visit(node)

    def _decorator(self, node: ast.AST) -> ast.expr:
        written = ast.parse(_DECORATOR, mode="eval").body
        for part in ast.walk(written):
            ast.copy_location(part, node)
        return written


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType | None:
        named = functools.partial(importlib.util.cache_from_source, optimization=_MARKER)
        with patch("importlib._bootstrap_external.cache_from_source", lambda path, **_: named(path)):
            return super().get_code(fullname)

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> CodeType:  # type: ignore[override]
        tree = _Decorate().visit(ast.parse(importlib.util.decode_source(data), path))
        code: CodeType = compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)
        return code


class _Finder(PathFinder):
    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(  # type: ignore[override]
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != self.package:
            return None
        spec = super().find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec
