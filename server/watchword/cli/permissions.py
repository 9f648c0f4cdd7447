"""Questions about permissions, asked of the server."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from watchword.cli.command import Call, remote
from watchword.cli.failures import Code, Failure
from watchword.cli.values import json_object

if TYPE_CHECKING:
    from watchword.client import ConditionalName, Consistency

SUBJECT = Annotated[
    str, typer.Argument(metavar="SUBJECT", help="Who: user:ana, a set group:eng#member or everybody user:*.")
]
RELATION = Annotated[str, typer.Argument(metavar="RELATION", help="The relation, such as can_edit.")]
OBJECT = Annotated[str, typer.Argument(metavar="OBJECT", help="To what: document:42.")]
CONTEXT = Annotated[
    str | None, typer.Option(metavar="JSON", help='Values for the parameters of conditions, such as {"hour": 9}.')
]
EXAMPLE = '{"hour": 9}'
_FULL = Annotated[bool, typer.Option("--full", help="As fresh as the database is, not as the server's cache.")]
_AT_LEAST = Annotated[
    str | None, typer.Option(metavar="REVISION", help="At least as fresh as this revision, which a write showed.")
]
_LIMIT = Annotated[int | None, typer.Option(min=1, metavar="N", help="The most to show. Default: all.")]
_MAX_PAGE = 10_000


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    remote(app)(check)
    remote(app)(explain)
    remote(app)(list_objects)
    remote(app)(list_subjects)


def check(
    call: Call,
    *,
    subject: SUBJECT,
    relation: RELATION,
    object_: OBJECT,
    context: CONTEXT = None,
    full: _FULL = False,
    at_least: _AT_LEAST = None,
) -> None:
    """Tell whether a subject has a relation to an object. Exit code 0 only if it is allowed, 1 if not.

    Conditional is not allowed: the context lacks what is named then.
    """
    answer = call.client.permissions.check(
        subject, relation, object_, context=_context(context), consistency=_consistency(at_least, full=full)
    )
    if call.output.as_json:
        call.output.one({"decision": answer.decision, "missing_context": answer.missing_context})
    else:
        missing = f": the context lacks {', '.join(answer.missing_context)}" if answer.missing_context else ""
        call.output.lines([f"{answer.decision}{missing}"])
    if not answer.allowed:
        raise typer.Exit(Code.FAILED)


def explain(call: Call, *, subject: SUBJECT, relation: RELATION, object_: OBJECT, context: CONTEXT = None) -> None:
    """Say why a subject has a relation to an object, or has not; to decide by the exit code there is `check`.

    In the tree + stands before what holds, - before what does not, ? before what the context leaves open.
    """
    from watchword.client.explanation import explanation_lines  # noqa: PLC0415

    answer = call.client.permissions.explain(subject, relation, object_, context=_context(context))
    if call.output.as_json:
        call.output.one(answer)
    else:
        call.output.lines(explanation_lines(answer.tree, subject=subject))


def list_objects(
    call: Call,
    *,
    subject: SUBJECT,
    relation: RELATION,
    object_type: Annotated[str, typer.Argument(metavar="TYPE", help="The type of the objects, such as document.")],
    context: CONTEXT = None,
    full: _FULL = False,
    at_least: _AT_LEAST = None,
    limit: _LIMIT = None,
) -> None:
    """List the objects of a type to which a subject has a relation, one a line.

    On stdout stand those that are allowed, so that a script can go through them; which ones are conditional, and what
    the context lacks, is told on stderr.
    """
    arguments: dict[str, Any] = {
        "context": _context(context),
        "consistency": _consistency(at_least, full=full),
        "page_size": 0 if limit is None else min(limit + 1, _MAX_PAGE),
    }

    def page(token: str | None) -> Any:
        return call.client.permissions.list_objects_page(subject, relation, object_type, page_token=token, **arguments)

    _show(call, page, "objects", limit)


def list_subjects(
    call: Call,
    *,
    object_: OBJECT,
    relation: RELATION,
    filters: Annotated[
        list[str], typer.Argument(metavar="FILTER...", help="Which kinds: a type user, or a set group#member.")
    ],
    context: CONTEXT = None,
    full: _FULL = False,
    at_least: _AT_LEAST = None,
    limit: _LIMIT = None,
) -> None:
    """List the subjects that have a relation to an object, one a line.

    On stdout stand those that are allowed, so that a script can go through them. Which ones are conditional, and who
    is excluded although everybody (user:*) is allowed, is told on stderr.
    """
    arguments: dict[str, Any] = {
        "context": _context(context),
        "consistency": _consistency(at_least, full=full),
        "page_size": 0 if limit is None else min(limit + 1, _MAX_PAGE),
    }

    def page(token: str | None) -> Any:
        return call.client.permissions.list_subjects_page(object_, relation, filters, page_token=token, **arguments)

    _show(call, page, "subjects", limit)


def _show(call: Call, get_page: Callable[[str | None], Any], kind: str, limit: int | None) -> None:
    """Show all pages; each as soon as it is there, unless it is to be one piece of JSON."""
    collected: dict[str, list[Any]] = {kind: [], "conditional": [], **({"excluded": []} if kind == "subjects" else {})}
    left = limit
    for name, value in _names(get_page, list(collected)):
        if left == 0:
            break
        left = None if left is None else left - 1
        if call.output.as_json:
            collected[name].append(value)
        else:
            _show_one(call, name, kind, value)
    else:
        if call.output.as_json:
            call.output.one({**collected, "complete": True})
        return
    if call.output.as_json:
        call.output.one({**collected, "complete": False})
    call.output.note(f"There are more than {limit}: use --limit to see them.")


def _names(get_page: Callable[[str | None], Any], kinds: list[str]) -> Iterator[tuple[str, Any]]:
    token = None
    while True:
        page = get_page(token)
        for kind in kinds:
            for value in getattr(page, kind):
                yield kind, value
        token = page.next_page_token
        if token is None:
            return


def _show_one(call: Call, name: str, kind: str, value: "str | ConditionalName") -> None:
    if isinstance(value, str):
        if name == kind:
            call.output.lines([value])
        else:
            call.output.note(f"excluded: {value}")
        return
    missing = f" (the context lacks {', '.join(value.missing_context)})" if value.missing_context else ""
    call.output.note(f"conditional: {value.name}{missing}")


def _context(text: str | None) -> dict[str, Any] | None:
    return json_object(text, "--context", example=EXAMPLE)


def _consistency(at_least: str | None, *, full: bool) -> "Consistency | None":
    from watchword.client import Consistency  # noqa: PLC0415

    if full and at_least is not None:
        raise Failure("--full is fresher than any --at-least: use one of them.", code=Code.USAGE)
    if at_least == "":
        raise Failure("--at-least needs a revision, such as a write shows.", code=Code.USAGE)
    if full:
        return Consistency.full()
    return None if at_least is None else Consistency.at_least(at_least)
