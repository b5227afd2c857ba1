"""`main`: reads the command line, runs one verb, and turns errors into a message and an exit code."""

import atexit
import gc
import logging
import sys
from collections.abc import Sequence

import tyro
from rich.logging import RichHandler

from diffusion_lens.cli.console import err, fail, prepare_streams, say, warn
from diffusion_lens.cli.values import VALUES, ValueRefusedError
from diffusion_lens.cli.verbs import build_app, find_verb
from diffusion_lens.errors import DiffusionLensError
from diffusion_lens.models.quiet import drop_torchvision_notes
from diffusion_lens.threads import wait_shortly

__all__ = ["CONFIG", "main"]

_DESCRIPTION = (
    "See what a text-to-image model's text encoder knows at each of its layers, by letting the diffusion "
    "model draw it.\n\n"
    "Examples:\n"
    '  diffusion-lens show "a purple cat"\n'
    "  diffusion-lens sweep --help\n"
    "  diffusion-lens --version"
)
CONFIG = (
    tyro.conf.OmitArgPrefixes,
    tyro.conf.DisallowNone,
    tyro.conf.FlagCreatePairsOff,
    tyro.conf.PositionalMetavarFromFieldName,
    tyro.conf.HelptextFromCommentsOff,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb.

    Exits with 0 if all went well, 1 if what was examined or drawn failed, 2 if what was asked for can't be
    done (one message says why), and 130 after Ctrl-C.

    Args:
        arguments: the words after `diffusion-lens`; those of this process by default.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    # what is left at the end goes with the process: to search it for garbage takes a second
    atexit.register(gc.freeze)
    wait_shortly()
    prepare_streams()
    _prepare_log()
    if given == ["--version"]:
        from diffusion_lens import __version__

        say(f"diffusion-lens {__version__}")
        return
    try:
        _run(given)
    except ValueRefusedError as error:
        fail(f"error: {error.describe(given)}")
        sys.exit(2)
    except DiffusionLensError as error:
        fail(f"error: {error}")
        sys.exit(2)
    except BrokenPipeError:
        pass  # whoever read the output has read enough
    except OSError as error:
        fail(f"error: {_describe(error)}")
        sys.exit(2)
    except KeyboardInterrupt:
        warn("stopped")
        sys.exit(130)


def _run(given: list[str]) -> None:
    """Parse for one verb where one is named: what help and errors say is then of its options alone."""
    named = find_verb(given)
    if named is None:
        build_app().cli(
            prog="diffusion-lens",
            description=_DESCRIPTION,
            args=given,
            config=CONFIG,
            registry=VALUES,
        )
    else:
        tyro.cli(
            named.function,
            prog=f"diffusion-lens {named.name}",
            description=named.help,
            args=given[len(named.path) :],
            config=CONFIG,
            registry=VALUES,
        )


def _describe(error: OSError) -> str:
    """A full disk, a read-only folder, a file that is not there."""
    reason = error.strerror or str(error) or type(error).__name__
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{reason}. Check the path, its permissions and the room on its disk."


def _prepare_log() -> None:
    """Show what the package logs, its progress included; other libraries bring handlers of their own."""
    logger = logging.getLogger("diffusion_lens")
    if not any(isinstance(handler, RichHandler) for handler in logger.handlers):
        logger.addHandler(RichHandler(console=err, show_time=False, show_path=False))
    logger.propagate = False
    logger.setLevel(logging.INFO)
    drop_torchvision_notes()
