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
        known = [self.store.read_json(name) for name in self.store.names("sessions", ".json")]
        halved: list[int] = [
            one["batch_size"]
            for one in known
            if one.get("device") == device and one["batch_size"] < one["asked_size"]
        ]
        return min([size, *halved[-1:]])
