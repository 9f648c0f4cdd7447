"""Answers that are kept in the caller's process, for as long as they stand.

Whether one stands is asked when it is asked for (see `_recent`): most of the time that is one comparison of two
numbers, for nothing has changed since the last time. One that is found to stand is as good as if it had been computed
at the snapshot that the feed is at now, and is given that horizon.

Memory is bounded. What was not used while half of it filled goes: two generations, of which the young one takes what is
added and used. An exact order of use would cost each hit a lock and several look-ups.
"""

import threading
from collections.abc import Hashable, Sequence
from typing import Final, Generic, TypeVar

from watchword.client._following import Following
from watchword.client._recent import Recent

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_NEVER: Final = float("inf")
# What CPython takes for an entry with its key, and for each node it stands on.
_ENTRY_BYTES: Final = 700
_NODE_BYTES: Final = 40


class _Entry(Generic[V]):
    __slots__ = ("horizon", "looked", "nodes", "size", "until", "value")

    def __init__(self, value: V, nodes: Sequence[int], horizon: int, until: float, size: int) -> None:
        self.value = value
        self.nodes = nodes
        self.horizon = horizon
        self.until = until
        self.looked = -1  # of no count of changes: whether it stands is asked before it is first used
        self.size = size


class Kept(Generic[K, V]):
    """Answers by what was asked. Safe for many threads; a hit takes no lock."""

    def __init__(self, following: Following, changes: Recent, *, max_bytes: int) -> None:
        self._following = following
        self._recent = changes
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._young: dict[K, _Entry[V]] = {}
        self._old: dict[K, _Entry[V]] = {}
        self._young_bytes = self._old_bytes = 0
        self.generation = 0
        """How often all was forgotten."""
        following.on_forget(self.clear)

    def get(self, key: K, now: float) -> V | None:
        """The answer, if there is one that stands."""
        entry = self._young.get(key)
        if entry is None:
            entry = self._promote(key)
            if entry is None:
                return None
        recent = self._recent
        count = recent.count
        if entry.looked != count and not self._stands(entry, count):
            self._drop(key, entry)
            return None
        if now >= entry.until:
            self._drop(key, entry)
            return None
        return entry.value

    def put(
        self,
        key: K,
        value: V,
        *,
        generation: int,
        nodes: Sequence[int],
        horizon: int,
        size: int,
        until: float | None = None,
    ) -> None:
        """Keep an answer, unless all was forgotten since it was asked for: it may be of another history.

        Args:
            key: What was asked.
            value: The answer.
            generation: What `generation` was before it was asked for.
            nodes: What it depends on.
            horizon: The horizon of the snapshot that it was computed on.
            size: The bytes of key and answer, about.
            until: When it ends by itself, on the monotonic clock. Default: never.

        """
        size += _ENTRY_BYTES + _NODE_BYTES * len(nodes)
        entry = _Entry(value, nodes, horizon, _NEVER if until is None else until, size)
        with self._lock:
            if generation == self.generation:
                self._add(key, entry)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self.generation += 1
            self._young, self._old = {}, {}
            self._young_bytes = self._old_bytes = 0

    @property
    def entries(self) -> int:
        """How many there are."""
        return len(self._young) + len(self._old)

    @property
    def bytes(self) -> int:
        """About how much memory they take."""
        return self._young_bytes + self._old_bytes

    def _stands(self, entry: _Entry[V], count: int) -> bool:
        # Before the changes are looked at: all changes before this horizon are among them, so an answer that stands by
        # them stands at this horizon too. Read after, it might be that of a change which was not looked at.
        horizon = self._following.horizon
        if not self._recent.permits(entry.nodes, entry.horizon):
            return False
        entry.horizon = max(entry.horizon, horizon)
        entry.looked = count
        return True

    def _add(self, key: K, entry: _Entry[V]) -> None:
        before = self._young.pop(key, None)
        if before is not None:
            self._young_bytes -= before.size
        if entry.size > self._max_bytes // 2:
            return
        if self._young_bytes + entry.size > self._max_bytes // 2:
            self._old, self._old_bytes = self._young, self._young_bytes
            self._young, self._young_bytes = {}, 0
        self._young[key] = entry
        self._young_bytes += entry.size

    def _promote(self, key: K) -> _Entry[V] | None:
        if key not in self._old:
            return None
        with self._lock:
            entry = self._old.pop(key, None)
            if entry is not None:
                self._old_bytes -= entry.size
                self._add(key, entry)
        return entry

    def _drop(self, key: K, entry: _Entry[V]) -> None:
        with self._lock:
            if self._young.get(key) is entry:
                del self._young[key]
                self._young_bytes -= entry.size
