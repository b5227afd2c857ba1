"""What works without torch imports none of it: the package itself, all help, and the rooms of saved data.

All in one new process, from what may import least to what may import most: what an earlier part has not
imported, a later one can't hide.
"""

import subprocess
import sys

PROGRAM = """
import importlib, pkgutil, sys

def check(what, *forbidden):
    loaded = sorted(set(forbidden) & set(sys.modules))
    if loaded:
        sys.exit(f"{what} imports {', '.join(loaded)}")

import diffusion_lens
assert {"DiffusionLens", "Reading", "run_sweep", "analyse", "__version__"} <= set(dir(diffusion_lens))
check("the package", "torch", "pandas")

from diffusion_lens.cli import main
from diffusion_lens.cli.verbs import verbs
for words in (["--help"], *([*one.path, "--help"] for one in verbs()), ["models"], ["--version"]):
    try:
        main(words)
    except SystemExit as stop:
        assert not stop.code, words
    check(" ".join(words), "torch", "transformers", "diffusers", "pandas")

from diffusion_lens.figures import diffusion, similarity
check("a figure of the textbook", "torch", "matplotlib.pyplot")

from diffusion_lens.figures.registry import study_figures
from diffusion_lens.scoring.registry import scorers
assert study_figures() and scorers()
import diffusion_lens.scoring.sheet
check("the list of figures or scorers", "torch")

try:
    main(["diagnose", "hello there", "--scorer", "oracle"])
except SystemExit as stop:
    assert stop.code == 2
check("what a scorer refuses", "torch")

for name in ("analysis", "checks", "figures", "pages", "runs"):
    room = importlib.import_module(f"diffusion_lens.{name}")
    found = [one.name for one in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")]
    assert len(found) > 3, room
    for module in found:
        importlib.import_module(module)
        check(module, "torch")
"""


def test_rooms_of_saved_data_and_all_help_need_no_torch():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
