"""Nodes whose relationships are known, as the engine's reader: what a statement gathered, or a cache holds.

What is not known is never taken for absent: the reader raises `NotKnown`, and whoever asked goes and finds out.
"""

from collections.abc import Iterable, Mapping

from watchword.server.permissions.relationships import Relationship


class NotKnown(Exception):
    """The engine needs what the reader does not have."""


class Content:
    """What is known of the relationships at one node.

    everything: all of them, by subject; None: not known.
    sets: those whose subject is a set; None: not known.
    direct: by subject, those that were looked for one by one and found.
    absent: the subjects that were looked for in vain.
    """

    __slots__ = ("absent", "direct", "everything", "sets")

    def __init__(self) -> None:
        self.everything: dict[str, Relationship] | None = None
        self.sets: dict[str, Relationship] | None = None
        self.direct: dict[str, Relationship] = {}
        self.absent: dict[str, None] = {}  # a set takes more even when it is empty

    def merge(self, other: "Content") -> None:
        """Add what is known of the same node in the same snapshot from elsewhere."""
        if other.everything is not None:
            self.everything = other.everything
        if other.sets is not None:
            self.sets = other.sets
        self.direct.update(other.direct)
        self.absent |= other.absent

    def rows(self) -> Iterable[Relationship]:
        """Every relationship held."""
        yield from (self.everything or {}).values()
        yield from (self.sets or {}).values()
        yield from self.direct.values()


class Contents(dict[str, Content]):
    """Contents by node. To ask for one that is not there raises `NotKnown`."""

    __slots__ = ()

    def __missing__(self, node: str) -> Content:
        """Called for what is not there only, so that what is there costs a look-up and no call."""
        raise NotKnown


class KnownNodes:
    """The engine's reader over contents (see `relationships.RelationshipReader`)."""

    __slots__ = ("_contents", "_entered", "_reverse")

    def __init__(
        self,
        contents: Contents,
        *,
        reverse: Mapping[tuple[str, str, str], list[Relationship]] | None = None,
        entered: frozenset[str] | set[str] = frozenset(),
    ) -> None:
        self._contents = contents
        self._reverse = reverse or {}
        self._entered = entered

    def direct(self, node: str, subject: str) -> Relationship | None:
        """See `RelationshipReader`."""
        content = self._contents[node]
        if content.everything is not None:
            return content.everything.get(subject)
        row = content.direct.get(subject)
        if row is not None or subject in content.absent:
            return row
        if content.sets is not None and "#" in subject:
            return content.sets.get(subject)
        raise NotKnown

    def sets(self, node: str) -> Iterable[Relationship]:
        """See `RelationshipReader`."""
        content = self._contents[node]
        if content.sets is not None:
            return content.sets.values()
        if content.everything is not None:
            return [row for row in content.everything.values() if "#" in row.subject]
        raise NotKnown

    def all(self, node: str) -> Iterable[Relationship]:
        """See `RelationshipReader`."""
        everything = self._contents[node].everything
        if everything is None:
            raise NotKnown
        return everything.values()

    def reverse(self, subject: str, type_: str, relation: str) -> Iterable[Relationship]:
        """See `RelationshipReader`."""
        if subject not in self._entered:
            raise NotKnown
        return self._reverse.get((subject, type_, relation), ())
