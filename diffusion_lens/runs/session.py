"""`Session`: when, where, by which versions and how fast a run was drawn."""

import uuid
from datetime import datetime, timezone
from typing import Any

from diffusion_lens.runs.store import Store

__all__ = ["Session"]


class Session:
    """One call of `Run.draw`, as the run remembers it.

    Args:
        store: the run.
        engine: the engine's name.
        shard: which of how many.
    """

    def __init__(self, store: Store, engine: str, shard: tuple[int, int]) -> None:
        self.store = store
        self.content: dict[str, Any] = {
            "engine": engine,
            "shard": list(shard),
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        stamp = self.content["started"].replace(":", "").replace("+0000", "")
        self.name = f"sessions/{stamp}-{uuid.uuid4().hex[:8]}.json"

    def begin(self, **content: Any) -> None:
        """Write what is known now."""
        self.content |= content
        self.store.write_json(self.name, self.content)

    def note(self, **content: Any) -> None:
        """Write what has changed, if anything has."""
        if self.content | content != self.content:
            self.begin(**content)

    def end(self, **content: Any) -> None:
        """Write the outcome."""
        self.begin(**content, ended=datetime.now(timezone.utc).isoformat(timespec="seconds"))

    def remembered(self, device: str, size: int) -> int:
        """The batch size to begin with: less than `size` where memory ran out on such a device before."""
        halved: list[int] = [
            one["batch_size"]
            for one in self.store.sessions()
            if one.get("device") == device and one.get("batch_size", 0) < one.get("asked_size", 0)
        ]
        return min([size, *halved[-1:]])
