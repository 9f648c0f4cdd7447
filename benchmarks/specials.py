"""Shapes that break engines which are fine with an ordinary world: very wide, very deep, very many results.

They are written beside a world and share no name with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.world import Question, Relationship

DEPTH = 20
_SUBFOLDERS = 10


@dataclass(frozen=True, slots=True)
class Specials:
    """How wide the special cases are."""

    members: int = 1_000_000
    """Of one group."""
    documents: int = 100_000
    """In one folder."""
    visible: tuple[int, ...] = (100, 10_000)
    """What the readers may see, one reader for each: multiples of the number of subfolders."""

    def group(self) -> Iterator[Relationship]:
        """One group with all its members, which may view a document."""
        yield Relationship("document:announcement", "viewer", "group:everyone#member")
        for member in range(self.members):
            yield Relationship("group:everyone", "member", f"user:m{member}")

    def folder(self) -> Iterator[Relationship]:
        """One folder with all its documents, which one person may view."""
        yield Relationship("folder:archive", "viewer", "user:archivist")
        for document in range(self.documents):
            yield Relationship(f"document:a{document}", "parent", "folder:archive")

    def chain(self) -> Iterator[Relationship]:
        """A document below a chain of folders, the topmost of which one person may view."""
        yield Relationship("folder:deep0", "viewer", "user:diver")
        for level in range(1, DEPTH):
            yield Relationship(f"folder:deep{level}", "parent", f"folder:deep{level - 1}")
        yield Relationship("document:deep", "parent", f"folder:deep{DEPTH - 1}")

    def shelf(self, count: int) -> Iterator[Relationship]:
        """What one reader may see: a folder of folders of documents."""
        yield Relationship(f"folder:shelf{count}", "viewer", reader(count))
        for number in range(_SUBFOLDERS):
            yield Relationship(f"folder:shelf{count}_{number}", "parent", f"folder:shelf{count}")
        for document in range(count):
            folder = f"folder:shelf{count}_{document % _SUBFOLDERS}"
            yield Relationship(_shelved(count, document), "parent", folder)

    def shelves(self) -> Iterator[Relationship]:
        """What all readers may see."""
        for count in self.visible:
            yield from self.shelf(count)

    def relationships(self) -> Iterator[Relationship]:
        """Everything."""
        yield from self.group()
        yield from self.folder()
        yield from self.chain()
        yield from self.shelves()

    def questions(self) -> dict[str, list[Question]]:
        """Ask about each shape; a hit and a miss alternate where the miss is hard."""
        announcement, deep = "document:announcement", "document:deep"
        members = range(0, self.members, max(1, self.members // 1000))
        documents = range(0, self.documents, max(1, self.documents // 1000))
        return {
            "large group, insider": [Question(f"user:m{m}", "viewer", announcement, True) for m in members],
            "large group, stranger": [Question(f"user:x{m}", "viewer", announcement, False) for m in members],
            "large folder, insider": [Question("user:archivist", "viewer", f"document:a{d}", True) for d in documents],
            "large folder, stranger": [Question(f"user:x{d}", "viewer", f"document:a{d}", False) for d in documents],
            f"chain of {DEPTH}, insider": [Question("user:diver", "viewer", deep, True)],
            f"chain of {DEPTH}, stranger": [Question("user:x0", "viewer", deep, False)],
        }


def reader(count: int) -> str:
    """Name the person who may see so many documents."""
    return f"user:reader{count}"


def seen_by_reader(count: int) -> set[str]:
    """Give what a reader sees: what a list of objects must be, no more and no less."""
    return {_shelved(count, document) for document in range(count)}


def _shelved(count: int, document: int) -> str:
    return f"document:s{count}_{document}"
