"""What `gather` read, as the engine and the cache want it, and what it is to be asked for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from watchword.server.permissions.known import Content, Contents, KnownNodes
from watchword.server.permissions.names import WILDCARD
from watchword.server.permissions.reach import Backward, Forward, Stored
from watchword.server.permissions.relationships import Relationship
from watchword.server.storage.models import STARTER
from watchword.server.storage.snapshot import Visible
from watchword.server.storage.statement import array

_SNAPSHOT, _DISABLED = -1, -2

Start = tuple[int, str, str]
"""Who asks (a number), an object and the relation that it is entered by."""


Place = tuple[tuple[str, bool, bool, int], ...]
"""What is read of an object that was entered in some way. Of each relation, as `#relation`: whether all, whether its
sets, and for how many of the names that an asker has (`names_of`) it is looked through."""


@dataclass(slots=True)
class Steps:
    """The steps of some questions: as parameters, and what they read at each place they come to."""

    forward: Forward
    parameters: dict[str, str] = field(init=False)
    _places: dict[str, Place] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write the parameters once for all questions."""
        self.parameters = step_parameters(self.forward)

    def place(self, at: str) -> Place:
        """What is read of an object that was entered by `type#relation`."""
        found = self._places.get(at)
        if found is None:
            type_, _, entry = at.partition("#")
            found = self._places[at] = _place(self.forward.at(type_, entry))
        return found


def _place(stored: Stored) -> Place:
    return tuple(
        (
            f"#{name}",
            name in stored.followed,
            name in stored.sets,
            (name in stored.probed) + (name in stored.public),
        )
        for name in dict.fromkeys((*stored.followed, *stored.sets, *stored.probed))
    )


@dataclass(slots=True)
class Gathered:
    """What was read on one snapshot.

    disabled: accounts among those asked about that are suspended or deleted.
    accounts: all accounts asked about.
    size: how many nodes and relationships it is.
    reached: objects and the relations they were entered by, if it was read backwards; without those that lead nowhere.
    """

    visible: Visible
    epoch: str
    model_id: UUID
    accounts: frozenset[str]
    disabled: set[str] = field(default_factory=set)
    contents: Contents = field(default_factory=Contents)
    reverse: dict[tuple[str, str, str], list[Relationship]] = field(default_factory=dict)
    entered: set[str] = field(default_factory=set)
    reached: list[tuple[str, str]] = field(default_factory=list)
    size: int = 0

    def reader(self) -> KnownNodes:
        """The same as the engine reads it."""
        return KnownNodes(self.contents, reverse=self.reverse, entered=self.entered)

    def add(self, other: "Gathered") -> None:
        """Add what another statement read on the same snapshot."""
        for node, content in other.contents.items():
            mine = self.contents.get(node)
            if mine is None:
                self.contents[node] = content
            else:
                mine.merge(content)
        self.disabled |= other.disabled
        self.accounts |= other.accounts
        self.size += other.size


def account_parameters(accounts: Iterable[str]) -> dict[str, Any]:
    """The parameters that ask for accounts' statuses. A name that cannot be an account's is left out."""
    user_ids, service_ids = [], []
    for name in accounts:
        type_, _, id_ = name.partition(":")
        if type_ == "service":
            service_ids.append(id_)
        elif type_ == "user" and _is_uuid(id_):
            user_ids.append(id_)
    return {"user_ids": array(user_ids), "service_ids": array(service_ids)}


def _is_uuid(text: str) -> bool:
    try:
        # The one spelling that names of accounts have: another one names somebody else, or nobody.
        return str(UUID(text)) == text
    except ValueError:
        return False


def names_of(subject: str) -> tuple[str, ...]:
    """Under which names a subject that is no set may be granted something directly."""
    if "#" in subject:
        return ()
    type_ = subject.partition(":")[0]
    everybody = f"{type_}:{WILDCARD}"
    return (subject,) if subject == everybody else (subject, everybody)


def forward_parameters(steps: Steps, starts: Sequence[Start], subjects: Sequence[str], *, limit: int) -> dict[str, Any]:
    """The parameters of `gather_for` and GATHER_MEMBERS. `who` in a start is the index of its subject."""
    names = [(*names_of(subject), "", "")[:2] for subject in subjects]
    return {
        **steps.parameters,
        "name": array(name for name, _ in names),
        "everybody": array(everybody for _, everybody in names),
        "who": array(start[0] for start in starts),
        "object": array(start[1] for start in starts),
        "at": array(f"{start[1].partition(':')[0]}#{start[2]}" for start in starts),
        "limit": limit,
    }


def backward_parameters(steps: Backward, starts: Sequence[tuple[str, str]], *, limit: int) -> dict[str, Any]:
    """The parameters of GATHER_OBJECTS."""
    return {
        **backward_step_parameters(steps),
        "object": array(start[0] for start in starts),
        "entry": array(start[1] for start in starts),
        "limit": limit,
    }


def step_parameters(steps: Forward) -> dict[str, str]:
    """The part of the parameters that is the same for all questions about the same relations."""
    places = list(dict.fromkeys((step[0], step[1]) for step in (*steps.sets, *steps.followed, *steps.probed)))
    stored = [steps.at(*place) for place in places]
    return {
        "step_at": array(f"{type_}#{entry}" for type_, entry in places),
        "step_probed": array(array(read.probed) for read in stored),
        "step_public": array(_bool(bool(read.public)) for read in stored),
        "step_sets": array(array(read.sets) for read in stored),
        "step_followed": array(array(read.followed) for read in stored),
        **_columns(
            "following",
            ("at", "stored", "next"),
            [(f"{type_}#{entry}", tupleset, next_) for type_, entry, tupleset, next_ in steps.followed],
        ),
    }


def backward_step_parameters(steps: Backward) -> dict[str, str]:
    """The same for lists of objects."""
    leading = steps.leading()
    return {
        **_columns(
            "granted",
            ("type", "entry", "stored", "object_type", "leads_on"),
            [(*step, _bool((step[3], step[2]) in leading)) for step in steps.granted],
        ),
        **_columns("computed", ("type", "entry", "next"), [s for s in steps.computed if (s[0], s[2]) in leading]),
        **_columns(
            "followed",
            ("type", "entry", "stored", "object_type", "next", "leads_on"),
            [(*step, _bool((step[3], step[4]) in leading)) for step in steps.followed],
        ),
    }


def _bool(value: bool) -> str:  # noqa: FBT001 - PostgreSQL's text form of it
    return "t" if value else "f"


def _columns(prefix: str, names: Sequence[str], rows: Sequence[tuple[str, ...]]) -> dict[str, str]:
    return {f"{prefix}_{name}": array(row[number] for row in rows) for number, name in enumerate(names)}


def size_of(rows: Sequence[tuple[Any, ...]]) -> int:
    """How many nodes and relationships the rows of a statement of `gather` tell of: many may stand in one."""
    return sum(row[1].count(" ") + 1 for row in rows)


def _head(rows: Sequence[tuple[Any, ...]], accounts: Iterable[str]) -> Gathered:
    found: Gathered | None = None
    disabled: set[str] = set()
    for row in rows:
        if row[0] == _SNAPSHOT:
            model_id = UUID(row[3]) if row[3] else STARTER
            found = Gathered(Visible.parse(row[1]), row[2], model_id, frozenset(accounts), size=size_of(rows))
        elif row[0] == _DISABLED:
            disabled.add(row[1])
        else:
            break  # they come first
    if found is None:
        raise AssertionError("the snapshot is in every answer")
    found.disabled = disabled
    return found


def gathered(
    rows: Sequence[tuple[Any, ...]],
    steps: Steps,
    subjects: Sequence[str],
    accounts: Iterable[str],
    *,
    limit: int | None = None,
) -> Gathered:
    """Read the rows of `gather_for`; if they reach the limit, and are of no use, no more than what they begin with."""
    found = _head(rows, accounts)
    if limit is not None and found.size >= limit:
        return found
    contents = found.contents
    names = [names_of(subject) for subject in subjects]
    for who, objects, at, relation, named, subject_relation, condition, context, expire_time in rows:
        if who < 0:
            continue
        listed = objects.split(" ")
        if relation is None:
            _visit(contents, listed, steps.place(at), names[who - 1])
            continue
        suffix = f"#{subject_relation}" if subject_relation else ""
        for object_, subject in zip(listed, named.split(" "), strict=True):
            content = contents[f"{object_}#{relation}"]
            name = subject + suffix
            row = Relationship(object_, relation, name, condition, context, expire_time)
            if content.everything is not None:
                content.everything[name] = row
            if not suffix:
                content.direct[name] = row
                content.absent.pop(name, None)
            elif content.sets is not None:
                content.sets[name] = row
    return found


def _visit(contents: dict[str, Content], objects: Sequence[str], place: Place, names: Sequence[str]) -> None:
    """Note that what is read of objects is known, and that somebody was looked for there by name: be it in vain.

    What was found comes later, in rows of its own.
    """
    for suffix, is_all, has_sets, probed in place:
        wanted = names[:probed]
        for object_ in objects:
            node = object_ + suffix
            content = contents.get(node)
            if content is None:
                content = contents[node] = Content()
            if is_all and content.everything is None:
                content.everything = {}
            if has_sets and content.sets is None:
                content.sets = {}
            for name in wanted:
                content.absent[name] = None


def gathered_members(rows: Sequence[tuple[Any, ...]], steps: Steps, accounts: Iterable[str]) -> Gathered:
    """Read the rows of GATHER_MEMBERS."""
    found = _head(rows, accounts)
    contents = found.contents
    for who, objects, at, relation, named, subject_relation, condition, context, expire_time in rows:
        if who < 0:
            continue
        listed = objects.split(" ")
        if relation is None:
            for suffix, *_ in steps.place(at):
                for object_ in listed:
                    content = contents.setdefault(object_ + suffix, Content())
                    content.everything = content.everything or {}
            continue
        suffix = f"#{subject_relation}" if subject_relation else ""
        for object_, subject in zip(listed, named.split(" "), strict=True):
            everything = contents[f"{object_}#{relation}"].everything
            if everything is not None:
                name = subject + suffix
                everything[name] = Relationship(object_, relation, name, condition, context, expire_time)
    return found


def gathered_objects(rows: Sequence[tuple[Any, ...]], accounts: Iterable[str]) -> Gathered:
    """Read the rows of GATHER_OBJECTS."""
    found = _head(rows, accounts)
    reverse = found.reverse
    # What names an object as a subject is read again for each relation that the object was entered by.
    readers: dict[tuple[str, str, str], tuple[str, str]] = {}
    for who, objects, entry, relation, object_, name, condition, context, expire_time in rows:
        if who < 0:
            continue
        if relation is None:
            found.reached.append((objects, entry))
            found.entered.add(objects)
            found.entered.add(f"{objects}#{entry}" if entry else objects)
            continue
        listed = objects.split(" ")
        key = (name, listed[0].partition(":")[0], relation)
        reader = object_, entry
        if readers.setdefault(key, reader) == reader:
            reverse.setdefault(key, []).extend(
                [Relationship(target, relation, name, condition, context, expire_time) for target in listed]
            )
    return found
