"""Described files: tensors and a JSON description of them, as one safetensors file.

The digest of such a file is part of the id of whatever reads with it: a run can't go on with another file
of the same name. Nothing here loads torch before a file is read or written.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusion_lens.errors import InputError
from diffusion_lens.files import read_file, why_unreadable, write_whole

if TYPE_CHECKING:
    import torch

__all__ = ["DAMAGED", "DescribedFile"]

DAMAGED = (ValueError, KeyError, TypeError, IndexError)
"""What is raised where a file does not hold what its kind should."""


@dataclass(frozen=True)
class DescribedFile:
    """A kind of file.

    Attributes:
        key: what its description is called in the metadata.
        what: what it holds, such as "a direction".
        advice: how one is made, as a sentence.
    """

    key: str
    what: str
    advice: str

    def to_bytes(self, described: Mapping[str, Any], tensors: "Mapping[str, torch.Tensor]") -> bytes:
        """The content of a file."""
        from safetensors.torch import save

        plain = {name: one.contiguous().cpu() for name, one in tensors.items()}
        saved: bytes = save(plain, metadata={self.key: json.dumps(dict(described))})
        return saved

    def from_bytes(self, content: bytes) -> "tuple[dict[str, Any], dict[str, torch.Tensor]]":
        """Description and tensors of a file.

        Raises:
            ValueError, KeyError: the content is cut short, or of another kind.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            tensors: dict[str, torch.Tensor] = load(content)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        # safetensors opens with its header: eight bytes of length, then JSON
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        described: dict[str, Any] = json.loads(header["__metadata__"][self.key])
        return described, tensors

    def write(
        self,
        path: str | os.PathLike[str],
        described: Mapping[str, Any],
        tensors: "Mapping[str, torch.Tensor]",
    ) -> None:
        """Write a file.

        Raises:
            OutputError: it can't be written.
        """
        content = self.to_bytes(described, tensors)
        write_whole(Path(path), lambda file: file.write(content))

    def read(self, path: str | os.PathLike[str]) -> bytes:
        """The content of a file that is there.

        Raises:
            InputError: it can't be read.
        """
        try:
            return read_file(path)
        except OSError as error:
            raise InputError(
                f"The file of {self.what} {path} can't be read ({why_unreadable(error)}). {self.advice}"
            ) from error

    def digest(self, path: str | os.PathLike[str]) -> str:
        """What tells the content of a file from others: 16 hex digits.

        Raises:
            InputError: it can't be read.
        """
        try:
            found = Path(path).stat()
        except OSError:
            self.read(path)  # which says what is wrong
            raise
        return _digest(self, str(path), found.st_mtime_ns, found.st_size)

    def check_digest(self, path: str | os.PathLike[str], digest: str) -> str:
        """The digest of a file, which must be this one; any will do if it is empty.

        Raises:
            InputError: it can't be read, or has another digest.
        """
        found = self.digest(path)
        if digest and found != digest:
            raise InputError(
                f"{path} is not the file of {self.what} that was asked for: its digest is {found}, not "
                f"{digest}. "
                "Give the file that the run began with, or leave the digest out for a new run."
            )
        return found

    def damaged(self, name: str, error: Exception) -> InputError:
        """What to raise of a file that does not hold what it should."""
        return InputError(f"{name} is no whole file of {self.what} ({error}). {self.advice}")


@lru_cache(maxsize=8)
def _digest(kind: DescribedFile, path: str, _changed: int, _size: int) -> str:
    return hashlib.sha256(kind.read(path)).hexdigest()[:16]
