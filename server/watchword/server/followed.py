"""Answers that stand until an event names one of their nodes (DESIGN.md section 2, items 4 and 6)."""

from collections.abc import Iterable, Sequence
from typing import Final, Generic, TypeVar

from watchword.server.feed import Feed
from watchword.server.storage.events import Change
from watchword.server.storage.snapshot import Visible

_MAX_ENTRIES: Final = 10_000

K = TypeVar("K")
V = TypeVar("V")


class FollowedCache(Generic[K, V]):
    """Whole answers by key, each with the nodes that it read. Unlike nodes' contents they are never combined."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._entries: dict[K, tuple[V, Sequence[int]]] = {}
        self._by_node: dict[int, set[K]] = {}
        feed.follow(self)

    def get(self, key: K) -> V | None:
        """The answer, if there is one and the feed is fresh."""
        found = self._entries.get(key)
        return found[0] if found is not None and self._feed.is_fresh else None

    def put(self, key: K, value: V, *, nodes: Sequence[int], epoch: str, horizon: int) -> None:
        """Keep an answer that was computed at a horizon, unless something has changed since."""
        if epoch != self._feed.epoch or not self._feed.recent.permits(nodes, horizon):
            return
        self._drop((key,))
        if len(self._entries) >= _MAX_ENTRIES:
            self._drop((next(iter(self._entries)),))
        self._entries[key] = (value, nodes)
        for node in nodes:
            self._by_node.setdefault(node, set()).add(key)

    def apply(self, changes: Sequence[Change], _visible: Visible) -> None:
        """See `Follower`."""
        for change in changes:
            for node in change.nodes:
                keys = self._by_node.get(node)
                if keys:
                    self._drop(tuple(keys))

    def forget(self, _visible: Visible | None, _epoch: str) -> None:
        """See `Follower`."""
        self._entries.clear()
        self._by_node.clear()

    def _drop(self, keys: Iterable[K]) -> None:
        for key in keys:
            found = self._entries.pop(key, None)
            for node in found[1] if found is not None else ():
                others = self._by_node[node]
                others.discard(key)
                if not others:
                    del self._by_node[node]
