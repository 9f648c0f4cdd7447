"""The world that is asked about: people, nested groups, nested folders and documents, as in Google Docs.

Every edge is a pure function of the seed and of numbers, so nothing is stored, two runs ask the same, and whether a
person may see a document is known from how the world was made. No engine is trusted for that: `World.may_view` is
what the answers of all of them are held against.

Three levels each: person in team in department in division; document in leaf folder in middle folder in top folder.
"""

import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

T = TypeVar("T")

MODEL = """\
model
  schema 1.1

type user

type group
  relations
    define member: [user, group#member]

type folder
  relations
    define parent: [folder]
    define owner: [user]
    define editor: [user, group#member] or owner or editor from parent
    define viewer: [user, group#member] or editor or viewer from parent

type document
  relations
    define parent: [folder]
    define owner: [user]
    define editor: [user, group#member] or owner or editor from parent
    define viewer: [user, group#member] or editor or viewer from parent
"""
"""The model in OpenFGA's language."""

KINDS = ("direct", "miss", "folder", "group")
"""The kinds of questions: a grant on the document itself; no path; by a folder three levels up; by a group of three."""

_VIEWERS = 2
_TOP_VIEWERS = 3
_GROUP_EVERY = 10
_MASK = (1 << 64) - 1
_TRIES = 1000


class Relationship(NamedTuple):
    """One grant or edge, spelled as Watchword spells it."""

    object: str
    relation: str
    subject: str


class Question(NamedTuple):
    """Whether the subject has the relation, and the truth."""

    subject: str
    relation: str
    object: str
    expected: bool


@dataclass(frozen=True, slots=True)
class _Counts:
    """How many there are of each, for a number of relationships."""

    users: int
    teams: int
    departments: int
    divisions: int
    tops: int
    middles: int
    leaves: int
    documents: int

    @classmethod
    def of(cls, size: int) -> "_Counts":
        users = max(50, size // 20)
        teams = max(8, users // 25)
        departments = max(4, teams // 10)
        documents = size * 16 // 100
        leaves = max(8, documents // 20)
        middles = max(4, leaves // 10)
        return cls(
            users=users,
            teams=teams,
            departments=departments,
            divisions=max(2, departments // 4),
            tops=max(2, middles // 10),
            middles=middles,
            leaves=leaves,
            documents=documents,
        )

    @property
    def least(self) -> int:
        """Relationships if every document has as few viewers as may be."""
        groups = 2 * self.users + self.teams + self.departments
        folders = 3 * self.leaves + 2 * self.middles + (1 + _TOP_VIEWERS) * self.tops
        granted = -(-self.documents // _GROUP_EVERY)
        return groups + folders + (3 + _VIEWERS) * self.documents + granted


_Draw = Callable[[random.Random], tuple[int, int, bool] | None]


class World:
    """A world of exactly `size` relationships."""

    def __init__(self, size: int, *, seed: int = 1) -> None:
        self.size = size
        self.counts = _Counts.of(size)
        self._seed = seed
        self._rest = size - self.counts.least
        if self._rest < 0:
            raise ValueError(f"a world needs more than {size} relationships")

    def relationships(self) -> Iterator[Relationship]:
        """Give them all, each once."""
        yield from self._groups()
        yield from self._folders()
        for document in range(self.counts.documents):
            yield from self._document(document)

    def questions(self, kind: str, number: int) -> list[Question]:
        """Make questions of a kind, the same ones each time."""
        chance = random.Random(f"{self._seed}/{self.size}/{kind}")
        make = {"direct": self._direct, "miss": self._miss, "folder": self._by_folder, "group": self._by_group}[kind]
        return [self._first(make, chance) for _ in range(number)]

    def mixed(self, number: int) -> list[Question]:
        """Make questions of all kinds in equal parts, shuffled: for `number` 1000 this is the hot set."""
        questions = [q for kind in KINDS for q in self.questions(kind, -(-number // len(KINDS)))]
        random.Random(f"{self._seed}/{self.size}/mixed").shuffle(questions)
        return questions[:number]

    def may_view(self, user: int, document: int) -> bool:
        """Tell whether a person may view a document, by any path."""
        return (
            user in self._document_people(document)
            or self._views_folder(user, document)
            or self._in_group(user, document)
        )

    def visible(self, user: int) -> set[str]:
        """Tell all that a person may view: what a list of objects must be, no more and no less."""
        return {f"document:d{d}" for d in range(self.counts.documents) if self.may_view(user, d)}

    def _pick(self, purpose: str, number: int, among: int) -> int:
        """Draw a number; the same for the same purpose (splitmix64 over all that it depends on)."""
        x = (self._seed * 0x9E3779B97F4A7C15 + sum(purpose.encode()) * 0xD1342543DE82EF95 + number + 1) & _MASK
        x = (x * 0x9E3779B97F4A7C15) & _MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
        return (x ^ (x >> 31)) % among

    # Who is where.

    def _teams(self, user: int) -> tuple[int, int]:
        teams = self.counts.teams
        first = user % teams
        return first, (first + 1 + self._pick("team", user, teams - 1)) % teams

    def _department(self, team: int) -> int:
        return team % self.counts.departments

    def _division(self, department: int) -> int:
        return department % self.counts.divisions

    def _leaf(self, document: int) -> int:
        return document % self.counts.leaves

    def _middle(self, leaf: int) -> int:
        return leaf % self.counts.middles

    def _top(self, middle: int) -> int:
        return middle % self.counts.tops

    # Who was granted what.

    def _document_people(self, document: int) -> list[int]:
        """The owner, the editor and then the viewers, all different."""
        viewers = _VIEWERS + self._rest // self.counts.documents
        viewers += document < self._rest % self.counts.documents
        return self._different("document", document, 2 + viewers)

    def _different(self, purpose: str, number: int, count: int) -> list[int]:
        users = self.counts.users
        first = self._pick(purpose, number, users)
        stride = 1 + self._pick(purpose + " stride", number, (users - 1) // count)
        return [(first + slot * stride) % users for slot in range(count)]

    def _document_division(self, document: int) -> int | None:
        return self._pick("grant", document, self.counts.divisions) if document % _GROUP_EVERY == 0 else None

    def _top_people(self, top: int) -> list[int]:
        """The owner and then the viewers of a top folder."""
        return self._different("top", top, 1 + _TOP_VIEWERS)

    def _leaf_owner(self, leaf: int) -> int:
        return self._pick("leaf owner", leaf, self.counts.users)

    def _leaf_team(self, leaf: int) -> int:
        return self._pick("leaf team", leaf, self.counts.teams)

    def _middle_department(self, middle: int) -> int:
        return self._pick("middle department", middle, self.counts.departments)

    def _views_folder(self, user: int, document: int) -> bool:
        leaf = self._leaf(document)
        middle = self._middle(leaf)
        teams = self._teams(user)
        return (
            user in self._top_people(self._top(middle))
            or user == self._leaf_owner(leaf)
            or self._leaf_team(leaf) in teams
            or self._middle_department(middle) in map(self._department, teams)
        )

    def _in_group(self, user: int, document: int) -> bool:
        granted = self._document_division(document)
        return granted is not None and granted in (self._division(self._department(t)) for t in self._teams(user))

    # The relationships.

    def _groups(self) -> Iterator[Relationship]:
        for user in range(self.counts.users):
            for team in self._teams(user):
                yield Relationship(f"group:team{team}", "member", f"user:u{user}")
        for team in range(self.counts.teams):
            yield Relationship(f"group:department{self._department(team)}", "member", f"group:team{team}#member")
        for department in range(self.counts.departments):
            division = f"group:division{self._division(department)}"
            yield Relationship(division, "member", f"group:department{department}#member")

    def _folders(self) -> Iterator[Relationship]:
        for top in range(self.counts.tops):
            owner, *viewers = self._top_people(top)
            yield Relationship(f"folder:top{top}", "owner", f"user:u{owner}")
            for user in viewers:
                yield Relationship(f"folder:top{top}", "viewer", f"user:u{user}")
        for middle in range(self.counts.middles):
            folder, department = f"folder:middle{middle}", self._middle_department(middle)
            yield Relationship(folder, "parent", f"folder:top{self._top(middle)}")
            yield Relationship(folder, "viewer", f"group:department{department}#member")
        for leaf in range(self.counts.leaves):
            folder = f"folder:leaf{leaf}"
            yield Relationship(folder, "parent", f"folder:middle{self._middle(leaf)}")
            yield Relationship(folder, "owner", f"user:u{self._leaf_owner(leaf)}")
            yield Relationship(folder, "viewer", f"group:team{self._leaf_team(leaf)}#member")

    def _document(self, document: int) -> Iterator[Relationship]:
        name = f"document:d{document}"
        owner, editor, *viewers = self._document_people(document)
        yield Relationship(name, "parent", f"folder:leaf{self._leaf(document)}")
        yield Relationship(name, "owner", f"user:u{owner}")
        yield Relationship(name, "editor", f"user:u{editor}")
        for user in viewers:
            yield Relationship(name, "viewer", f"user:u{user}")
        division = self._document_division(document)
        if division is not None:
            yield Relationship(name, "viewer", f"group:division{division}#member")

    # The questions. Each draws a person and a document, or gives up if the draw is not of the kind.

    def _first(self, make: _Draw, chance: random.Random) -> Question:
        for _ in range(_TRIES):
            found = make(chance)
            if found is not None:
                user, document, expected = found
                return Question(f"user:u{user}", "viewer", f"document:d{document}", expected)
        raise ValueError(f"a world of {self.size} relationships is too small for this kind of question")

    def _direct(self, chance: random.Random) -> tuple[int, int, bool] | None:
        document = chance.randrange(self.counts.documents)
        return self._document_people(document)[2], document, True

    def _miss(self, chance: random.Random) -> tuple[int, int, bool] | None:
        document, user = chance.randrange(self.counts.documents), chance.randrange(self.counts.users)
        return None if self.may_view(user, document) else (user, document, False)

    def _by_folder(self, chance: random.Random) -> tuple[int, int, bool] | None:
        document = chance.randrange(self.counts.documents)
        leaf = self._leaf(document)
        middle = self._middle(leaf)
        user = chance.choice(self._top_people(self._top(middle))[1:])
        teams = self._teams(user)
        nearer = (
            user in self._document_people(document)
            or self._in_group(user, document)
            or user == self._leaf_owner(leaf)
            or self._leaf_team(leaf) in teams
            or self._middle_department(middle) in map(self._department, teams)
        )
        return None if nearer else (user, document, True)

    def _by_group(self, chance: random.Random) -> tuple[int, int, bool] | None:
        document = chance.randrange(-(-self.counts.documents // _GROUP_EVERY)) * _GROUP_EVERY
        user = chance.randrange(self.counts.users)
        nearer = user in self._document_people(document) or self._views_folder(user, document)
        return (user, document, True) if self._in_group(user, document) and not nearer else None


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut into lists of so many (`itertools.batched` comes with Python 3.12)."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
