"""Pages of the reference results and of the experiments: the files of the repository and their pictures."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

__all__ = ["result_pages"]

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)")


def result_pages(root: Path, out: Path) -> Iterator[tuple[str, str]]:
    """Name and text of each page, in Markdown; pictures are copied beside them.

    A link to a file that is no page becomes the file's name as code: it is in the repository.

    Args:
        root: the repository.
        out: where the pages will be.
    """
    results, experiments = root / "results", root / "experiments"
    files = [*sorted(results.rglob("*.md")), *sorted(experiments.rglob("README.md"))]
    for file in files:
        text = file.read_text(encoding="utf-8")
        if file.name == "findings.md":
            text = _titled(text, file) + _pictures(file)
        text = _LINK.sub(lambda found, file=file: _link(found, file, set(files)), text)
        for picture in _shown(text, file):
            target = out / picture.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture, target)
        name = str(file.relative_to(root).with_suffix(""))
        if file == results / "README.md":
            text += _toctree(results, files)
        elif file == experiments / "README.md":
            text += _toctree(experiments, files)
        yield name, text


def _titled(text: str, file: Path) -> str:
    """Findings under their study's name in words."""
    name = file.parent.name.replace("_", " ")
    return re.sub(r"^# .*$", f"# {name[0].upper()}{name[1:]}", text, count=1, flags=re.MULTILINE)


def _pictures(file: Path) -> str:
    """The figures that the repository keeps of a study."""
    said = {
        "curves-emoji-oracle": "The share of images that are right, by layer.",
        "examples-emoji": "Examples: one row a prompt, one column a layer.",
    }
    shown = [
        f"{said[path.stem]}\n\n![{said[path.stem]}](figures/{path.name})\n"
        for path in sorted((file.parent / "figures").glob("*.png"))
        if path.stem in said
    ]
    return "\n## Figures\n\n" + "\n".join(shown) if shown else ""


def _link(found: re.Match[str], file: Path, pages: set[Path]) -> str:
    picture, text, target = found[1], found[2], (file.parent / found[3]).resolve()
    if picture or target in pages:
        return found[0]
    readme = target / "README.md"
    if readme in pages:
        return f"[{text}]({found[3].rstrip('/')}/README.md)"
    return text


def _shown(text: str, file: Path) -> Iterator[Path]:
    for found in _LINK.finditer(text):
        if found[1]:
            yield (file.parent / found[3]).resolve()


def _toctree(folder: Path, files: list[Path]) -> str:
    below = [file for file in files if folder in file.parents and file.parent != folder]
    names = "\n".join(str(file.relative_to(folder).with_suffix("")) for file in below)
    return f"\n```{{toctree}}\n:hidden:\n\n{names}\n```\n" if below else ""
