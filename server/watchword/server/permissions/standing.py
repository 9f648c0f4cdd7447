"""Under which nodes an answer stands, and which nodes a change names, so that the one falls by the other.

The names are those that permissions.proto gives:

    document:42#viewer   the relationships at this node; named by each change of one
    document#viewer      those at all such nodes; named by changes in bulk, which do not name each node
    document:*#viewer    those at any such node; named by every change of one, and in bulk

An answer depends on the first two kinds of each node it read. If those are too many, it depends on the third kind
alone: it falls more often, and never too late.
"""

from collections.abc import Iterable
from typing import Final

from watchword.server.identifiers import node as hash_of

MAX_NODES: Final = 1_000
"""Nodes that an answer or a change carries one by one."""
_MAX_REMEMBERED: Final = 100_000
"""About 30 MiB of them. More, and they are worked out anew."""


class Standing:
    """Turns names of nodes into the hashes that answers and events carry, and remembers them."""

    __slots__ = ("_any", "_bulk", "_nodes", "_plain")

    def __init__(self) -> None:
        self._nodes: dict[str, tuple[int, int]] = {}
        self._bulk: dict[str, int] = {}
        self._any: dict[str, int] = {}
        self._plain: dict[str, int] = {}

    def plain(self, name: str) -> int:
        """The hash of a name as it is, such as `user:ana`."""
        found = self._plain.get(name)
        if found is None:
            if len(self._plain) > _MAX_REMEMBERED:
                self._plain.clear()
            found = self._plain[name] = hash_of(name)
        return found

    def node(self, node: str) -> tuple[int, int]:
        """The hashes of a node, `type:id#relation`, by itself and in bulk."""
        found = self._nodes.get(node)
        if found is None:
            if len(self._nodes) > _MAX_REMEMBERED:
                self._nodes.clear()
            object_, _, relation = node.partition("#")
            found = self._nodes[node] = (hash_of(node), self.bulk(f"{object_.partition(':')[0]}#{relation}"))
        return found

    def bulk(self, relation: str) -> int:
        """The hash of all nodes of one relation, `type#relation`, changed in bulk."""
        found = self._bulk.get(relation)
        if found is None:
            found = self._bulk[relation] = hash_of(relation)
        return found

    def bulks(self, hashes: Iterable[int]) -> set[str]:
        """The relations, `type#relation`, of those hashes that name a change in bulk of nodes met so far."""
        names = {hash_: relation for relation, hash_ in self._bulk.items()}
        return {names[hash_] for hash_ in hashes if hash_ in names}

    def any(self, relation: str) -> int:
        """The hash of any node of one relation, `type#relation`."""
        found = self._any.get(relation)
        if found is None:
            type_, _, name = relation.partition("#")
            found = self._any[relation] = hash_of(f"{type_}:*#{name}")
        return found

    def of_answer(self, read: Iterable[str], others: Iterable[str]) -> list[int]:
        """What an answer depends on that read nodes, whole relations `type#relation`, and others as they are."""
        read = read if isinstance(read, frozenset | set) else set(read)
        found: set[int] = {self.plain(name) for name in others}
        nodes = self._nodes
        if len(read) <= MAX_NODES:
            for name in read:
                found.update(nodes.get(name) or self._of_read(name))
        else:
            found.update(self.any(_relation_of(name)) for name in read)
        return list(found)

    def _of_read(self, name: str) -> tuple[int, ...]:
        return self.node(name) if ":" in name else (self.any(name),)

    def of_change(self, nodes: Iterable[str], *, in_bulk: bool = False) -> list[int]:
        """What a change of relationships at some nodes names. In bulk if there are too many."""
        nodes = set(nodes)
        relations = {_relation_of(name) for name in nodes}
        found = {self.any(relation) for relation in relations}
        if in_bulk or len(nodes) > MAX_NODES:
            found.update(self.bulk(relation) for relation in relations)
        else:
            found.update(self.node(name)[0] for name in nodes)
        return sorted(found)


def _relation_of(name: str) -> str:
    """`type#relation` of a node, or of such a name itself."""
    object_, _, relation = name.partition("#")
    return f"{object_.partition(':')[0]}#{relation}"
