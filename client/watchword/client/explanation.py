"""Explanations of permission checks as text: an indented tree in which every line says whether it holds.

The tree may come from the engine or from an answer of the server; what is asked of its steps stands in `Step`. The
marks work without colour: `+` holds, `-` does not, `?` hangs on values that the question did not give.
"""

from collections import deque
from collections.abc import Container, Iterator, Sequence
from datetime import datetime
from typing import Final, Protocol


class Relationship(Protocol):
    """`subject` has `relation` to `object`."""

    @property
    def object(self) -> str: ...  # noqa: D102 - see the class
    @property
    def relation(self) -> str: ...  # noqa: D102
    @property
    def subject(self) -> str: ...  # noqa: D102
    @property
    def condition(self) -> str | None: ...  # noqa: D102
    @property
    def expire_time(self) -> datetime | None: ...  # noqa: D102


class Step(Protocol):
    """A step of an explanation, such as `ExplanationStep`."""

    @property
    def kind(self) -> str:
        """What the step is.

        One of node, any, all, except, subject, grant, through, missing-grant, nothing, cycle and account-disabled.
        """
        ...

    @property
    def verdict(self) -> str:
        """What it comes to: allowed, denied or conditional."""
        ...

    @property
    def node(self) -> str:
        """Where it is, as `object#relation`."""
        ...

    @property
    def relationship(self) -> Relationship | None:
        """The relationship that a grant or a way through is."""
        ...

    @property
    def why(self) -> str | None:
        """Why the relationship does not count: expired, condition-false or context-missing."""
        ...

    @property
    def missing(self) -> Sequence[str]:
        """The parameters that its condition lacks."""
        ...

    @property
    def children(self) -> "Sequence[Step]":
        """What decided it."""
        ...

    @property
    def omitted(self) -> int:
        """How many steps below it are not there."""
        ...


MAX_NEAREST: Final = 5
"""How many of what is missing the last line names. More of them would no longer help to choose."""

_MARKS: Final = {"allowed": "+", "denied": "-", "conditional": "?"}
_DISABLED: Final = "the account {} is disabled"
_PLAIN: Final = {
    "subject": "{} is the subject itself",
    "nothing": "{}: nothing here leads on",
    "cycle": "{} leads back to itself",
    "account-disabled": _DISABLED,
}
_OPERATORS: Final = {"any", "all", "except"}
_LABELS: Final = {
    ("any", "allowed"): "one of these is enough",
    ("any", "denied"): "none of these holds",
    ("any", "conditional"): "these are open, and none holds",
    ("all", "allowed"): "all of these are needed",
    ("all", "denied"): "this is needed too",
    ("all", "conditional"): "these are needed too",
    ("except", "allowed"): "the first is needed, the second would take it away",
    ("except", "denied"): "this takes it away",
    ("except", "conditional"): "what gives it or what would take it away is open",
}


def explanation_lines(tree: Step, *, subject: str) -> list[str]:
    """Write why a subject may, or may not: the tree, and at the end what is missing, the nearest first."""
    told = {step.node for step in _breadth_first(tree) if step.kind == "node" and step.children}
    lines: list[str] = []
    # A stack of its own: how deep a tree is, a model decides, and Python's stack has an end.
    pending: list[tuple[Step | str, int]] = [(tree, 0)]
    while pending:
        step, depth = pending.pop()
        if isinstance(step, str):
            lines.append(f"{'  ' * depth}{step}")
            continue
        step = _plainest(step)
        # A node and the operator that defines it are told in one line.
        below = _plainest(step.children[0]) if step.kind == "node" and len(step.children) == 1 else step
        below = below if below.kind in _OPERATORS else step
        words = "" if step.kind in _OPERATORS else _words(step, subject, told)
        notes = ", ".join(filter(None, [step.verdict if depth == 0 else "", _LABELS.get((below.kind, below.verdict))]))
        lines.append(f"{'  ' * depth}{_MARKS[step.verdict]} {': '.join(filter(None, [words, notes]))}")
        if below.omitted:
            pending.append((f"({below.omitted} more that are not shown)", depth + 1))
        pending += [(child, depth + 1) for child in reversed(below.children)]
    return lines + _last_lines(tree)


def _breadth_first(tree: Step) -> Iterator[Step]:
    queue = deque([tree])
    while queue:
        step = queue.popleft()
        yield step
        queue.extend(step.children)


def _plainest(step: Step) -> Step:
    """A step without the operators that come to nothing but their one child."""
    while len(step.children) == 1 and not step.omitted:
        child = step.children[0]
        if step.kind != "any" and not (step.kind == "except" and step.verdict == child.verdict == "denied"):
            break
        step = child
    return step


def _words(step: Step, subject: str, told: Container[str]) -> str:
    object_, _, relation = step.node.partition("#")
    match step.kind:
        case "grant" | "through" if step.relationship is not None:
            return _grant(step, step.relationship)
        case "missing-grant":
            return f"{subject} is not granted {relation} of {object_}"
        case kind if kind in _PLAIN:
            return _PLAIN[kind].format(step.node)
        case _:
            pass
    return f"{step.node} (told elsewhere)" if not step.children and step.node in told else step.node


def _grant(step: Step, relationship: Relationship) -> str:
    condition = f"its condition {relationship.condition}"
    match step.why:
        case "expired":
            notes = ["expired" if relationship.expire_time is None else f"expired {_time(relationship.expire_time)}"]
        case "condition-false":
            notes = [f"{condition} does not hold"]
        case "context-missing":
            notes = [f"{condition} needs {', '.join(step.missing)}"]
        case _:
            notes = [f"{condition} holds"] if relationship.condition and step.verdict == "allowed" else []
            notes += [f"until {_time(relationship.expire_time)}"] if relationship.expire_time else []
    note = f" ({', '.join(notes)})" if notes else ""
    return f"{relationship.subject} is {relationship.relation} of {relationship.object}{note}"


def _time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _last_lines(tree: Step) -> list[str]:
    """What to do about an answer that is not an allow."""
    if tree.verdict == "allowed":
        return []
    if tree.verdict == "conditional":
        missing = sorted({name for step in _breadth_first(tree) for name in step.missing})
        return [f"Missing in the context: {', '.join(missing)}"] if missing else []
    found: dict[str, None] = {}
    for step in _breadth_first(tree):
        object_, _, relation = step.node.partition("#")
        if step.kind == "missing-grant":
            found[f"{relation} of {object_}"] = None
        elif step.kind == "account-disabled":
            found[_DISABLED.format(step.node)] = None
        elif step.why is not None and step.relationship is not None:
            found[_grant(step, step.relationship)] = None
    nearest = [*found][:MAX_NEAREST]
    if len(found) > len(nearest):
        nearest.append(f"and {len(found) - len(nearest)} more")
    return [f"Nearest missing: {'; '.join(nearest)}"] if nearest else []
