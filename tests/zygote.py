"""A process that has imported everything and built a tiny lens, and forks children to be mistreated.

A child is a process of its own, that can be killed, stopped or starved of memory, without the seconds that
a new interpreter needs to import torch and diffusers.
"""

import gc
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
import traceback
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
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # large blocks go back to the system at once, so that a limit on memory means the same each time
            env={
                **os.environ,
                "PYTHONPATH": os.getcwd(),
                "OMP_NUM_THREADS": "1",
                "MALLOC_ARENA_MAX": "1",
                "MALLOC_MMAP_THRESHOLD_": "65536",
            },
        )

    def ask(self, **command: Any) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, code: str, **values: Any) -> Child:
        """Run code in a child; `lens` and the names of the prelude are there, and `values`."""
        return Child(self, self.ask(code=code, values=values)["pid"])

    def run(self, code: str, **values: Any) -> tuple[int, str]:
        return self.start(code, **values).wait()

    def command(self, *arguments: str, cwd: Path) -> Child:
        """Start `diffusion-lens` with these arguments in a folder."""
        return self.start("os.chdir(cwd); main(arguments)", arguments=arguments, cwd=str(cwd))

    def close(self) -> None:
        with self.process:
            assert self.process.stdin is not None
            self.process.stdin.close()


def read(output: int) -> str:
    """What a file that another process writes to holds by now."""
    return os.pread(output, os.fstat(output).st_size, 0).decode(errors="replace")


def main() -> None:
    """Fork for every line of standard input."""
    from diffusion_lens.errors import DiffusionLensError
    from diffusion_lens.garbage import without_collection
    from tests.conftest import build_lens

    with without_collection():
        names: dict[str, Any] = {"lens": build_lens("sd"), "build_lens": build_lens}
        exec(PRELUDE, names)
        import diffusion_lens.sweep.worker  # noqa: F401
    gc.freeze()  # children share it, and end without going through it

    logging.basicConfig(format="%(message)s")
    outputs: dict[int, int] = {}
    for line in sys.stdin:
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
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
