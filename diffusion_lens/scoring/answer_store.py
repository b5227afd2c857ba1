"""`AnswerStore`: what a scorer has said of a run so far, part by part, so that scoring can be resumed.

    RUN/scores/parts/<scorer>/<digest of its version>/part-*.parquet

An answer belongs to an item (an image) and to what was asked of it: `asked`, a digest of the checks. What
was asked otherwise, or by another version, stays where it is and is not used.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from diffusion_lens.checks.checks import Check, Judgement
from diffusion_lens.errors import ScoresError
from diffusion_lens.runs.store import Store

__all__ = ["AnswerStore", "digest_of", "digest_of_checks", "printable", "table_path"]

_SCHEMA = pa.schema(
    {
        "item": pa.string(),
        "asked": pa.string(),
        "check": pa.string(),
        "p": pa.float64(),
        "label": pa.bool_(),
        "reason": pa.string(),
        "chance": pa.float64(),
        "retry": pa.bool_(),
        "raw": pa.string(),
        "version": pa.string(),
    }
)
_COLUMNS = [name for name in _SCHEMA.names if name not in ("raw", "version")]


def printable(text: str) -> str:
    """The text without lone surrogates, which a server's JSON may hold and no file can."""
    return text.encode("utf-8", "replace").decode("utf-8")


def digest_of(content: Any) -> str:
    """Sixteen hex digits of plain data."""
    text = json.dumps(content, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def digest_of_checks(checks: Sequence[Check]) -> str:
    """Sixteen hex digits of all that a scorer is asked of one image."""
    return digest_of([asdict(check) for check in checks])


def table_path(scorer: str) -> str:
    """Where the table of a scorer lies, below the run."""
    return f"scores/{quote(scorer, safe='@:+ ')}.parquet"


class AnswerStore:
    """Reads and writes one scorer's answers.

    Args:
        store: the run's folder.
        scorer: the scorer's name.
        version: its version.

    Raises:
        OutputError: a folder that answers would go to is a symbolic link.
    """

    def __init__(self, store: Store, scorer: str, version: str) -> None:
        self.store, self.version = store, version
        self.folder = f"scores/parts/{quote(scorer, safe='@:+ ')}/{digest_of(version)}"
        store.check_within(f"{self.folder}/part")
        self._next = 0
        self._waiting: list[dict[str, Any]] = []

    def read(self) -> pd.DataFrame:
        """All answers, one row by item, asked and check; of several the last one given.

        Raises:
            ScoresError: a part is damaged.
        """
        names = self.store.names(self.folder, ".parquet")
        tables = []
        for name in names:
            try:
                with self.store.fs.open(self.store.path(name), "rb") as file:
                    tables.append(pq.read_table(file, columns=_COLUMNS))
            except (OSError, pa.ArrowException) as error:
                raise ScoresError(
                    f"{self.store.url}/{name} is cut short or damaged ({str(error).splitlines()[0]}). "
                    "Delete it; the same command then scores again what is missing."
                ) from error
        # a damaged part may have been deleted: what is written next comes after all that are there
        self._next = 1 + max((int(name.rpartition("part-")[2][:6]) for name in names), default=-1)
        if not tables:
            return _SCHEMA.empty_table().select(_COLUMNS).to_pandas()
        frame = pa.concat_tables(tables).to_pandas()
        return frame.drop_duplicates(["item", "asked", "check"], keep="last", ignore_index=True)

    def done(self) -> set[tuple[str, str]]:
        """The (item, asked) that need not be scored again."""
        frame = self.read()
        if frame.empty:
            return set()
        settled = ~frame["retry"].astype(bool).groupby([frame["item"], frame["asked"]]).any()
        return set(settled[settled].index)

    def add(self, item: str, asked: str, judgements: Sequence[Judgement]) -> None:
        """Take the answers on one image; they are safe after the next `flush`."""
        for one in judgements:
            raw = json.dumps(one.raw, default=str) if one.raw else None
            self._waiting.append(
                {
                    "item": item,
                    "asked": asked,
                    "check": one.check_id,
                    "p": one.p,
                    "label": one.label,
                    "reason": None if one.reason is None else printable(one.reason),
                    "chance": one.chance,
                    "retry": one.retry,
                    "raw": raw,
                    "version": printable(self.version),
                }
            )

    def flush(self) -> None:
        """Write what was added, as one part.

        Raises:
            OutputError: it can't be written.
        """
        if not self._waiting:
            return
        # named by its content too, so that two processes do not write over each other
        content = digest_of([(row["item"], row["asked"], row["check"]) for row in self._waiting])
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(self._waiting, _SCHEMA), buffer, compression="zstd")
        self.store.write(
            f"{self.folder}/part-{self._next:06d}-{content}.parquet", buffer.getvalue().to_pybytes()
        )
        self._next += 1
        self._waiting.clear()
