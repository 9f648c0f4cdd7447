"""What `gather` read, as the engine and the cache want it, and what it is to be asked for."""

from collections.abc import Callable, Iterable, Sequence
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


@dataclass(slots=True)
class Steps:
    """The steps of some questions: as parameters, and what they read at each place they come to."""

    forward: Forward
    parameters: dict[str, str] = field(init=False)
    _stored: dict[str, Stored] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Write the parameters once for all questions."""
        self.parameters = step_parameters(self.forward)

    def stored_at(self, at: str) -> Stored:
        """What is read of an object that was entered by `type#relation`."""
        found = self._stored.get(at)
        if found is None:
            type_, _, entry = at.partition("#")
            found = self._stored[at] = self.forward.at(type_, entry)
        return found


@dataclass(slots=True)
class Gathered:
    """What was read on one snapshot.

    disabled: accounts among those asked about that are suspended or deleted.
    accounts: all accounts asked about.
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
    row_count: int = 0

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
        self.row_count += other.row_count


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


def _head(rows: Sequence[tuple[Any, ...]], accounts: Iterable[str]) -> Gathered:
    found: Gathered | None = None
    disabled: set[str] = set()
    for row in rows:
        if row[0] == _SNAPSHOT:
            model_id = UUID(row[3]) if row[3] else STARTER
            found = Gathered(Visible.parse(row[1]), row[2], model_id, frozenset(accounts), row_count=len(rows))
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
    stored_at: Callable[[str], Stored],
    subjects: Sequence[str],
    accounts: Iterable[str],
) -> Gathered:
    """Read the rows of `gather_for`."""
    found = _head(rows, accounts)
    contents = found.contents
    names = [names_of(subject) for subject in subjects]
    for who, object_, at, relation, subject, subject_relation, condition, context, expire_time in rows:
        if who < 0:
            continue
        if relation is None:
            if who == 0:
                _visit(contents, object_, stored_at(at))
            else:
                objects = object_.split(" ")
                found.row_count += len(objects)
                _note_probes(contents, objects, stored_at(at), names[who - 1])
            continue
        content = contents[f"{object_}#{relation}"]
        name = f"{subject}#{subject_relation}" if subject_relation else subject
        row = Relationship(object_, relation, name, condition, context, expire_time)
        if content.everything is not None:
            content.everything[name] = row
        if not subject_relation:
            content.direct[name] = row
            content.absent.pop(name, None)
        elif content.sets is not None:
            content.sets[name] = row
    return found


def _visit(contents: dict[str, Content], object_: str, stored: Stored) -> None:
    """Note that what is stored at an object is known, be it nothing."""
    for relation in stored.followed:
        content = _content(contents, f"{object_}#{relation}")
        if content.everything is None:
            content.everything = {}
    for relation in stored.sets:
        content = _content(contents, f"{object_}#{relation}")
        if content.sets is None:
            content.sets = {}
    for relation in stored.probed:
        _content(contents, f"{object_}#{relation}")


def _note_probes(contents: dict[str, Content], objects: Sequence[str], stored: Stored, names: Sequence[str]) -> None:
    """Note that somebody was looked for by these names, their own and everybody's, be it in vain."""
    for relation in stored.probed:
        wanted = names if relation in stored.public else names[:1]
        for object_ in objects:
            content = contents[f"{object_}#{relation}"]
            content.absent.update((name, None) for name in wanted if name not in content.direct)


def _content(contents: dict[str, Content], node: str) -> Content:
    content = contents.get(node)
    if content is None:
        content = contents[node] = Content()
    return content


def gathered_members(
    rows: Sequence[tuple[Any, ...]], stored_at: Callable[[str], Stored], accounts: Iterable[str]
) -> Gathered:
    """Read the rows of GATHER_MEMBERS."""
    found = _head(rows, accounts)
    visited: set[tuple[str, str]] = set()
    for who, object_, at, relation, subject, subject_relation, condition, context, expire_time in rows:
        if who < 0:
            continue
        if (object_, at) not in visited:
            visited.add((object_, at))
            stored = stored_at(at)
            for name in (*stored.sets, *stored.followed, *stored.probed):
                content = _content(found.contents, f"{object_}#{name}")
                if content.everything is None:
                    content.everything = {}
        if relation is not None:
            name = f"{subject}#{subject_relation}" if subject_relation else subject
            everything = found.contents[f"{object_}#{relation}"].everything
            if everything is not None:
                everything[name] = Relationship(object_, relation, name, condition, context, expire_time)
    return found


def gathered_objects(rows: Sequence[tuple[Any, ...]], accounts: Iterable[str]) -> Gathered:
    """Read the rows of GATHER_OBJECTS."""
    found = _head(rows, accounts)
    reverse = found.reverse
    # What names an object as a subject is read again for each relation that the object was entered by.
    readers: dict[tuple[str, str, str], tuple[str, str]] = {}
    for who, object_, entry, relation, targets, name, condition, context, expire_time in rows:
        if who < 0:
            continue
        reader = object_, entry
        if relation is None:
            found.reached.append(reader)
            found.entered.add(object_)
            found.entered.add(f"{object_}#{entry}" if entry else object_)
            continue
        objects = targets.split(" ")
        found.row_count += len(objects)
        key = (name, objects[0].partition(":")[0], relation)
        if readers.setdefault(key, reader) == reader:
            reverse.setdefault(key, []).extend(
                [Relationship(target, relation, name, condition, context, expire_time) for target in objects]
            )
    return found
