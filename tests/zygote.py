"""A process that the tests' process forks once all is imported; it forks children to be mistreated.

A child is a process of its own, that can be killed, stopped or starved of memory, without the seconds that
a new interpreter needs to import torch and diffusers. The first fork comes before the first test: threads
that tests leave running, and what torch knows of its own, are in no child.
"""

import ctypes
import json
import logging
import os
import re
import signal
import socket
import sys
import time
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRELUDE = """
import dataclasses, os, resource, signal, sys, time
from pathlib import Path
from diffusion_lens.cli import main
from diffusion_lens.runs.experiment import Experiment
from diffusion_lens.sweep.open import open_run, run_sweep
from diffusion_lens.runs.store import Store
from tests.few_steps import few_steps
"""


@dataclass
class Child:
    """A forked process: what it printed comes with `wait`."""

    zygote: "Zygote"
    pid: int

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.zygote.ask(runs=self.pid)["runs"]

    def said(self, pattern: str) -> str:
        """All output so far, once it holds what a regular expression finds."""
        while not re.search(pattern, output := self.zygote.ask(read=self.pid)["output"]):
            assert self.runs(), f"it ended, saying {output}"
            time.sleep(0.02)
        return output

    def wait(self) -> tuple[int, str]:
        """The exit code (negative: the signal that ended it) and all output."""
        answer = self.zygote.ask(wait=self.pid)
        return answer["code"], answer["output"]


class Zygote:
    """The process, from the tests' side."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other threads: the one that talks to pytest-xdist
            self.pid = os.fork()
        if self.pid == 0:
            try:
                ours.close()
                serve(theirs)
            finally:  # whatever went wrong, it must not go on as a second process of the tests
                os._exit(0)
        theirs.close()
        self.socket, self.lines = ours, ours.makefile("r")

    def ask(self, **command: Any) -> Any:
        self.socket.sendall(json.dumps(command).encode() + b"\n")
        return json.loads(self.lines.readline())

    def start(self, code: str, **values: Any) -> Child:
        """Run code in a child; `lens` and the names of the prelude are there, and `values`."""
        return Child(self, self.ask(code=code, values=values)["pid"])

    def run(self, code: str, **values: Any) -> tuple[int, str]:
        return self.start(code, **values).wait()

    def command(self, *arguments: str, cwd: Path) -> Child:
        """Start `diffusion-lens` with these arguments in a folder."""
        return self.start("os.chdir(cwd); main(arguments)", arguments=arguments, cwd=str(cwd))

    def close(self) -> None:
        self.lines.close()
        self.socket.close()
        os.waitpid(self.pid, 0)


def read(output: int) -> str:
    """What a file that another process writes to holds by now."""
    return os.pread(output, os.fstat(output).st_size, 0).decode(errors="replace")


def serve(asked: socket.socket) -> None:
    """Fork for every line that comes in."""
    from diffusion_lens.errors import DiffusionLensError
    from tests.conftest import build_lens

    leave_pytest()
    names: dict[str, Any] = {}
    outputs: dict[int, int] = {}
    for line in asked.makefile("r"):
        command = json.loads(line)
        if "wait" in command:
            pid = command["wait"]
            _, status = os.waitpid(pid, 0)
            answer: dict[str, Any] = {
                "code": os.waitstatus_to_exitcode(status),
                "output": read(outputs[pid]),
            }
            os.close(outputs.pop(pid))
        elif "read" in command:
            answer = {"output": read(outputs[command["read"]])}
        elif "runs" in command:
            ended = os.waitid(os.P_PID, command["runs"], os.WEXITED | os.WNOHANG | os.WNOWAIT)
            answer = {"runs": ended is None}
        else:
            if not names:
                names |= {"lens": build_lens("sd"), "build_lens": build_lens}
                exec(PRELUDE, names)
            output = os.memfd_create("output")
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    signal.signal(signal.SIGINT, signal.default_int_handler)
                    os.dup2(output, 1)
                    os.dup2(output, 2)
                    exec(command["code"], {**names, **command["values"]})
                    code = 0
                except SystemExit as stop:
                    code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
                except DiffusionLensError as error:
                    sys.stderr.write(f"{type(error).__name__}: {error}\n")
                    code = 2
                except BaseException:
                    traceback.print_exc()
                finally:
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(code)
            outputs[pid] = output
            answer = {"pid": pid}
        asked.sendall(json.dumps(answer).encode() + b"\n")


def leave_pytest() -> None:
    """Write to the file descriptors, warn and log as a process of its own, and keep no freed memory."""
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    warnings.resetwarnings()
    logging.basicConfig(format="%(message)s", force=True)
    os.environ["PYTHONPATH"] = os.getcwd()
    # large blocks go back to the system at once, so that a limit on memory means the same each time
    libc = ctypes.CDLL(None)
    libc.mallopt(-8, 1)  # M_ARENA_MAX
    libc.mallopt(-3, 65536)  # M_MMAP_THRESHOLD
    libc.malloc_trim(0)
