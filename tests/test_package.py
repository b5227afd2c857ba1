"""What the package promises as a whole."""

import ast
import importlib
import pkgutil
import re
import statistics
from graphlib import TopologicalSorter
from pathlib import Path

import pandas as pd
from packaging.requirements import Requirement

import diffusion_lens


def test_what_is_exported_is_there():
    for name in diffusion_lens.__all__:
        assert getattr(diffusion_lens, name) is not None
    assert set(dir(diffusion_lens)) == set(diffusion_lens.__all__)


def test_every_module_has_a_first_line_and_exports_what_it_has():
    for module in pkgutil.walk_packages(diffusion_lens.__path__, "diffusion_lens."):
        if module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        assert loaded.__doc__, module.name
        for name in getattr(loaded, "__all__", []):
            assert hasattr(loaded, name), (module.name, name)


def test_modules_are_small():
    sizes = {
        path: len(path.read_text(encoding="utf-8").splitlines())
        for path in Path(diffusion_lens.__file__).parent.rglob("*.py")
    }
    assert not [f"{path}: {lines} lines" for path, lines in sizes.items() if lines > 300]
    assert statistics.median(sizes.values()) < 150


def test_each_python_of_the_workflow_has_versions_to_install():
    root = Path(__file__).parents[1]
    workflow = (root / ".github/workflows/ci.yml").read_text()
    pythons = re.search(r"python: \[(.+)\]", workflow).group(1).replace('"', "").split(", ")
    needed = re.search(r'requires-python = ">=(.+)"', (root / "pyproject.toml").read_text()).group(1)
    assert pythons[0] == needed
    lines = (root / "constraints.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if not line.startswith("#")]
    for python in pythons:
        here = [
            one for one in pinned if one.marker is None or one.marker.evaluate({"python_version": python})
        ]
        names = sorted(one.name for one in here)
        assert names == ["diffusers", "jsonschema", "torch", "transformers"], python


def test_no_modules_import_each_other_in_a_circle_not_even_for_types():
    package = Path(diffusion_lens.__file__).parent
    modules = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts): path
        for path in package.rglob("*.py")
        if path.stem != "__init__"
    }
    imports = TopologicalSorter()
    for name, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                named = [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
                imports.add(name, *(one for one in named if one in modules))
    imports.prepare()  # or it raises a CycleError that names the circle


def test_the_demo_is_the_picture_in_the_readme():
    root = Path(__file__).parents[1]
    demo = re.search("^DEMO := (.+)$", (root / "Makefile").read_text(), re.MULTILINE).group(1)
    assert (
        f"diffusion-lens show {demo} --out results/demo/grid.png"
        in (root / "results/README.md").read_text()
    )
    drawn = pd.read_parquet(root / "results/demo/grid.parquet", columns=["prompt", "seed"])
    assert set(drawn["prompt"]) == set(re.findall('"(.+?)"', demo))
    assert set(map(str, drawn["seed"])) == set(demo.partition("--seeds ")[2].split())
