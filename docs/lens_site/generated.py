"""Writes the pages that are made from the code and the results to `generated/` before Sphinx runs."""

import filecmp
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from sphinx.application import Sphinx

from lens_site.api import api_pages
from lens_site.errors import error_pages
from lens_site.families import family_pages
from lens_site.glossary import glossary_pages
from lens_site.notebooks import notebook_pages
from lens_site.results import result_pages

__all__ = ["setup", "write_pages"]


def write_pages(docs: Path, root: Path, examined: str) -> None:
    """Write all generated pages. One that is as it was keeps its time, and Sphinx does not build it anew.

    Args:
        docs: the folder of the documents.
        root: the repository.
        examined: on which tiny pipelines `doctor` is run; see `families.family_pages`.
    """
    with TemporaryDirectory() as folder:
        out = Path(folder)
        pages = {
            **dict(family_pages(examined)),
            **dict(error_pages()),
            **dict(glossary_pages()),
            **dict(result_pages(root, out)),
            **dict(notebook_pages(root, out)),
        }
        texts = {f"{name}.md": text for name, text in pages.items()}
        texts |= {f"{name}.rst": text for name, text in api_pages()}
        for name, text in texts.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        _take_over(out, docs / "generated")


def _take_over(new: Path, kept: Path) -> None:
    """Let a folder hold the files of another, and touch only those that differ."""
    for path in kept.rglob("*"):
        if path.is_file() and not (new / path.relative_to(kept)).exists():
            path.unlink()
    for path in new.rglob("*"):
        target = kept / path.relative_to(new)
        if path.is_file() and not (target.exists() and filecmp.cmp(path, target, shallow=False)):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _write(app: Sphinx) -> None:
    docs = Path(app.srcdir)
    write_pages(docs, docs.parent, app.config.lens_examined)


def setup(app: Sphinx) -> dict[str, bool]:
    """Write them when the configuration is read."""
    app.add_config_value("lens_examined", "all", "env", types=(str,))
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}
