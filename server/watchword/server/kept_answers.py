"""Answers that were given from the cache, kept for whoever asks the same again.

The rule is the one of DESIGN.md section 2: an answer stands until a change at or after its horizon names one of its
nodes. Here it is applied when the answer is asked for again, by looking its nodes up among the recent changes; so an
answer costs nothing until then, and no index from nodes to answers is needed. An answer that stands is what would be
computed at the snapshot that the cache is at now, so such answers can be given together in a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from watchword.server.feed import Feed
from watchword.server.permissions.answers import Answer
from watchword.server.storage.events import Change
from watchword.server.storage.snapshot import Visible

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Standings:
    """What an answer stands on: hashes of nodes, and the horizon as text; no horizon if it must not be cached."""

    nodes: Sequence[int]
    horizon: str
    remaining: timedelta | None


NOT_TO_BE_KEPT: Final = Standings((), "", None)


@dataclass(slots=True)
class Answered:
    """An answer with what it stands on.

    message: what the API made of it, so that it need not be made again while the answer is kept.
    """

    answer: Answer
    standings: Standings
    message: Any = field(default=None, compare=False, repr=False)

    def at(self, horizon: str) -> "Answered":
        """The same answer, known to stand at a later horizon."""
        if not self.standings.horizon or self.standings.horizon == horizon:
            return self
        return Answered(self.answer, replace(self.standings, horizon=horizon))


class _Kept:
    __slots__ = ("answered", "horizon", "looked")

    def __init__(self, answered: Answered, horizon: int, looked: int) -> None:
        self.answered = answered
        self.horizon = horizon
        self.looked = looked


class KeptAnswers:
    """Answers by subject, relation and object; of questions without context and without relationships of their own."""

    def __init__(self, feed: Feed, *, max_entries: int) -> None:
        self._recent = feed.recent
        self._max_entries = max_entries
        # Two generations, as in `node_cache`.
        self._young: dict[Key, _Kept] = {}
        self._old: dict[Key, _Kept] = {}
        feed.follow(self)

    def get(self, key: Key) -> Answered | None:
        """The answer, if there is one that stands."""
        kept = self._young.get(key)
        if kept is None:
            kept = self._old.pop(key, None)
            if kept is None:
                return None
            self._add(key, kept)
        if kept.looked != self._recent.count:
            if not self._recent.permits(kept.answered.standings.nodes, kept.horizon):
                self._young.pop(key, None)
                return None
            kept.looked = self._recent.count
        return kept.answered

    def put(self, key: Key, answered: Answered, *, horizon: int) -> None:
        """Keep an answer that was computed at the snapshot of this horizon, unless it ends by itself."""
        standings = answered.standings
        if self._max_entries and standings.horizon and standings.remaining is None:
            # Changes may have been delivered since its horizon, which it has seen. It is asked whether it stands when
            # it is asked for.
            self._add(key, _Kept(answered, horizon, -1))

    def _add(self, key: Key, kept: _Kept) -> None:
        self._young[key] = kept
        if len(self._young) > self._max_entries // 2:
            self._old, self._young = self._young, {}

    def apply(self, changes: Sequence[Change], visible: Visible) -> None:
        """See `Follower`: nothing to do until an answer is asked for."""

    def forget(self, _visible: Visible | None, _epoch: str) -> None:
        """See `Follower`."""
        self._young.clear()
        self._old.clear()
