"""The registry of verbs: a module of this package that decorates a function adds a verb.

    @verb("show", Topic.LOOK, examples=['diffusion-lens show "a purple cat"'])
    def show(prompts: Prompts, /, ...) -> None: ...

A verb of two words, such as `latent edit`, belongs to a group, which `group` describes.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import ParamSpec, TypeVar

from tyro.extras import SubcommandApp

import diffusion_lens.cli

__all__ = ["Topic", "Verb", "build_app", "find_verb", "group", "verb", "verbs"]

P = ParamSpec("P")
R = TypeVar("R")


class Topic(IntEnum):
    """What a verb is for; help lists verbs in this order."""

    LOOK = 1
    STUDY = 2
    SCORE = 3
    LEARN = 4
    MODELS = 5


@dataclass(frozen=True)
class Verb:
    """One job of the command line.

    Attributes:
        name: one word, or two for a verb of a group.
        function: what does the job; its signature is the options, its docstring the help.
        topic: where help lists it.
        examples: whole commands, shown in its help.
    """

    name: str
    function: Callable[..., object]
    topic: Topic
    examples: tuple[str, ...]

    @property
    def path(self) -> tuple[str, ...]:
        """The words of the name."""
        return tuple(self.name.split())

    @property
    def summary(self) -> str:
        """The first paragraph of the docstring, as one line."""
        return _paragraphs(self.function)[0]

    @property
    def help(self) -> str:
        """What `--help` says before the options: the docstring without its arguments, and the examples."""
        shown = "\n".join(f"  {example}" for example in self.examples)
        return "\n\n".join([*_paragraphs(self.function), f"Examples:\n{shown}"])


_VERBS: dict[str, Verb] = {}
_GROUPS: dict[str, str] = {}


def verb(name: str, topic: Topic, *, examples: Sequence[str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Register a function as a verb. At least one example is needed: a test runs the parser on each."""

    def register(function: Callable[P, R]) -> Callable[P, R]:
        # tyro shows the lines of a docstring as they are wrapped in the source
        function.__doc__ = _unwrap(inspect.getdoc(function) or "")
        _VERBS[name] = Verb(name, function, topic, tuple(examples))
        return function

    return register


def group(name: str, description: str) -> None:
    """Describe the verbs whose first word is `name`."""
    _GROUPS[name] = description


@cache
def verbs() -> tuple[Verb, ...]:
    """All verbs in the order of their topics, whichever module of this package they are in."""
    for module in pkgutil.iter_modules(diffusion_lens.cli.__path__, "diffusion_lens.cli."):
        importlib.import_module(module.name)
    return tuple(sorted(_VERBS.values(), key=lambda one: one.topic))


def find_verb(arguments: Sequence[str]) -> Verb | None:
    """The verb that a command line names with its first words."""
    return next((one for one in verbs() if tuple(arguments[: len(one.path)]) == one.path), None)


def build_app() -> SubcommandApp:
    """The parser of all verbs, with a line of help for each."""
    app = SubcommandApp()
    groups: dict[str, SubcommandApp] = {}
    for one in verbs():
        *above, name = one.path
        parent = app
        if above:
            (word,) = above
            if word not in groups:
                groups[word] = SubcommandApp()
                app.command(groups[word], name=word, help=_GROUPS[word])
            parent = groups[word]
        parent.command(name=name, help=one.summary)(one.function)
    return app


def _paragraphs(function: Callable[..., object]) -> list[str]:
    text = re.split(r"^Args:$", inspect.getdoc(function) or "", flags=re.MULTILINE)[0]
    return [" ".join(part.split()) for part in text.strip().split("\n\n")]


def _unwrap(docstring: str) -> str:
    """The docstring with each argument's description on one line."""
    return re.sub(r"(?<=\S)\n {8,}(?=\S)", " ", docstring)
