"""The documents: they are built without a warning, hold what they must, and name commands that exist."""

import importlib
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import tyro

from diffusion_lens import errors
from diffusion_lens.cli.entry import CONFIG
from diffusion_lens.cli.values import VALUES
from diffusion_lens.cli.verbs import find_verb
from diffusion_lens.garbage import without_collection
from diffusion_lens.models import known_families
from tests.few_steps import few_steps

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "experiments/README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(path: Path) -> list[str]:
    """The commands of this package in the fenced blocks and the tables of a page."""
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`(diffusion-lens [^`]+ [^`]+)`", text)
    return [line for line in lines if line.startswith("diffusion-lens ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_pages_are_understood(page: Path) -> None:
    for command in commands(page):
        words = shlex.split(command, comments=True)[1:]
        verb = find_verb(words)
        assert verb is not None or words in (["--help"], ["--version"]), command
        if verb is None:
            continue

        def receive(*given: object, **options: object) -> bool:
            return True

        receive.__signature__ = __import__("inspect").signature(verb.function)  # type: ignore[attr-defined]
        receive.__annotations__ = verb.function.__annotations__
        try:
            tyro.cli(receive, args=words[len(verb.path) :], config=CONFIG, registry=VALUES)
        except SystemExit:
            pytest.fail(f"{page.name}: {command} is not understood")


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "results").rglob("*.md"))], ids=str)
def test_links_between_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    generated = [link for link in links if link.startswith("generated/")]  # looked at in the built pages
    broken = [link for link in links if link not in generated and not (page.parent / link).exists()]
    assert not broken


def test_the_readme_is_short_and_its_package_page_has_no_link_into_the_repository() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 120
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    hook = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    for one in hook["substitutions"]:
        text = re.sub(one["pattern"], one["replacement"], text)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links and all(link.startswith("https://") for link in links)
    assert "![" not in text and "[quickstart]" not in text and "quickstart" in text


class _Addresses(HTMLParser):
    """What a page loads, and where its links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in ("script", "img", "iframe") and "src" in given:
            self.loads.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "preload"):
            self.loads.append(given["href"])
        if tag == "a":
            self.links.append(given.get("href", ""))


@pytest.fixture(scope="module")
def site(pytestconfig: pytest.Config) -> Path:
    """The pages of `make docs`, with `doctor` run on one tiny pipeline, and images of few steps.

    They are kept from one run of the tests to the next: what has changed is built, and what runs code.
    """
    from sphinx.cmd.build import main

    assert pytestconfig.cache is not None
    out = pytestconfig.cache.mkdir("site")
    arguments = ["-W", "--keep-going", "-q", "-b", "html", "-D", "lens_examined=flux"]
    log = out / "log.txt"
    with log.open("w") as file, pytest.MonkeyPatch.context() as patch, few_steps(2):
        patch.setattr("sys.stderr", file)
        patch.syspath_prepend(ROOT / "docs")
        run = importlib.import_module("lens_site.run")
        patch.setattr(run, "run_block", partial(run_fewer, run.run_block))
        with without_collection():  # of nodes there are millions
            code = main([*arguments, "-d", str(out / "trees"), str(ROOT / "docs"), str(out / "html")])
    if code:
        said = log.read_text()[-3000:]
        shutil.rmtree(out)  # the next build would not warn of what this one has read
        pytest.fail(said)
    sources = {
        path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.*")
    }
    for page in (out / "html").rglob("*.html"):
        name = page.relative_to(out / "html")
        if name not in sources and name.stem not in ("genindex", "py-modindex", "search"):
            page.unlink()  # its source is gone
    return out / "html"


def run_fewer(run_block: Callable[..., Any], source: str, names: dict[str, Any]) -> Any:
    """Run a block of a page with a step that there is, where it names one of twenty."""
    return run_block(source.replace("only(10:)", "only(1:)"), names)


@pytest.mark.filterwarnings("default")
def test_pages_are_built_and_load_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    names = {str(page.relative_to(site)) for page in pages}
    assert {f"generated/families/{name}.html" for name in known_families()} <= names
    kinds = set(errors.__all__) - {"nearest", "DiffusionLensError"}
    assert {f"generated/errors/{name}.html" for name in kinds} <= names
    for page in pages:
        found = _Addresses()
        found.feed(page.read_text(encoding="utf-8"))
        outside = [address for address in found.loads if address.startswith(("http", "//"))]
        assert not outside, (page, outside)
        for address in found.links:
            path = address.partition("#")[0]
            if path and ":" not in path:
                assert (page.parent / path).resolve().exists(), (page.name, address)


@pytest.mark.filterwarnings("default")
def test_the_glossary_has_a_picture_for_each_term_that_needs_one(site: Path) -> None:
    text = (site / "generated/glossary.html").read_text(encoding="utf-8")
    for word in ("layer", "readout", "pooled", "slot", "identical"):
        section = re.search(rf'<section id="{word}">(.*?)</section>', text, re.DOTALL)
        assert section and "<img" in section[1], word


@pytest.mark.filterwarnings("default")
def test_a_family_page_says_what_doctor_found(site: Path) -> None:
    text = (site / "generated/families/FluxPipeline.html").read_text(encoding="utf-8")
    assert "native image against the plain pipeline" in text
