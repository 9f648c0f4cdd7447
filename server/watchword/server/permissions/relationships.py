"""Relationships, what the engine asks of whoever holds them, and the plainest holder: dictionaries.

A reader answers for one snapshot and without waiting. The questions are by node (`object#relation`), so that a store
can gather the nodes a question needs in one statement and so that an answer can name what it read. A direct grant is
probed for one subject: a node with a million members is never loaded to find out about one of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any, Final, Protocol

from watchword.server.permissions.names import WILDCARD


@dataclass(frozen=True, slots=True)
class Relationship:
    """`subject` has `relation` to `object`, perhaps only under a condition, perhaps only for a time.

    context: values for the condition's parameters; they go before those of a question.
    expire_time: from then on (inclusive) it counts as absent.
    """

    object: str
    relation: str
    subject: str
    condition: str | None = None
    context: Mapping[str, Any] | None = None
    expire_time: datetime | None = None

    @property
    def node(self) -> str:
        """What changes with it: `object#relation`."""
        return f"{self.object}#{self.relation}"


class RelationshipReader(Protocol):
    """Relationships of one snapshot. No two of them have the same object, relation and subject."""

    def direct(self, node: str, subject: str) -> Relationship | None:
        """The relationship of exactly this subject at a node."""

    def sets(self, node: str) -> Iterable[Relationship]:
        """The relationships at a node whose subject is a set, `type:id#relation`."""

    def all(self, node: str) -> Iterable[Relationship]:
        """Every relationship at a node."""

    def reverse(self, subject: str, type_: str, relation: str) -> Iterable[Relationship]:
        """The relationships of exactly this subject at the nodes of one relation of one type. For lists of objects."""


_Rows = dict[str, Relationship]
_NO_ROWS: Final[_Rows] = {}


class Relationships:
    """A reader over relationships in memory. The last of several with the same object, relation and subject counts."""

    def __init__(self, relationships: Iterable[Relationship] = ()) -> None:
        self._nodes: dict[str, tuple[_Rows, _Rows]] = {}
        """All relationships at a node, and those whose subject is a set, by subject. One place to look for both."""
        self._reverse: dict[tuple[str, str, str], _Rows] = {}
        for relationship in relationships:
            node, subject = relationship.node, relationship.subject
            rows, sets = self._nodes.get(node) or ({}, _NO_ROWS)
            rows[subject] = relationship
            if "#" in subject:
                sets = sets or {}
                sets[subject] = relationship
            self._nodes[node] = rows, sets
            key = (subject, relationship.object.partition(":")[0], relationship.relation)
            self._reverse.setdefault(key, {})[node] = relationship

    def direct(self, node: str, subject: str) -> Relationship | None:
        """See `RelationshipReader`."""
        found = self._nodes.get(node)
        return found[0].get(subject) if found else None

    def sets(self, node: str) -> Iterable[Relationship]:
        """See `RelationshipReader`."""
        found = self._nodes.get(node)
        return found[1].values() if found else ()

    def all(self, node: str) -> Iterable[Relationship]:
        """See `RelationshipReader`."""
        found = self._nodes.get(node)
        return found[0].values() if found else ()

    def reverse(self, subject: str, type_: str, relation: str) -> Iterable[Relationship]:
        """See `RelationshipReader`."""
        rows = self._reverse.get((subject, type_, relation))
        return rows.values() if rows else ()


class Overlay:
    """A reader with a question's contextual relationships laid over another; they hide stored ones of the same key."""

    def __init__(self, below: RelationshipReader, contextual: Sequence[Relationship]) -> None:
        self._below = below
        self._above = Relationships(contextual)

    def direct(self, node: str, subject: str) -> Relationship | None:
        """See `RelationshipReader`."""
        return self._above.direct(node, subject) or self._below.direct(node, subject)

    def sets(self, node: str) -> Iterable[Relationship]:
        """See `RelationshipReader`."""
        return chain(self._above.sets(node), self._not_hidden(self._below.sets(node)))

    def all(self, node: str) -> Iterable[Relationship]:
        """See `RelationshipReader`."""
        return chain(self._above.all(node), self._not_hidden(self._below.all(node)))

    def reverse(self, subject: str, type_: str, relation: str) -> Iterable[Relationship]:
        """See `RelationshipReader`."""
        above = self._above.reverse(subject, type_, relation)
        return chain(above, self._not_hidden(self._below.reverse(subject, type_, relation)))

    def _not_hidden(self, rows: Iterable[Relationship]) -> Iterable[Relationship]:
        return (row for row in rows if self._above.direct(row.node, row.subject) is None)


def shape(subject: str) -> str:
    """What a type restriction says of such subjects: `user`, `user:*` or `group#member`."""
    type_, _, id_ = subject.partition(":")
    if "#" not in subject:
        return f"{type_}:{WILDCARD}" if id_ == WILDCARD else type_
    object_, _, relation = subject.partition("#")
    return f"{object_.partition(':')[0]}#{relation}"
