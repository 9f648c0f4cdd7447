"""What happens on a server, line by line."""

import sys
from collections.abc import Collection, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Final

import typer

from watchword.cli.command import Call, group, remote
from watchword.cli.failures import Code

if TYPE_CHECKING:
    from watchword.client import Event, EventBatch

app = group("events", "What changes, as the log has it.")

_SHOWN: Final = 5
"""Objects, and relationships, in one line; --json has all."""


@remote(app)
def tail(
    call: Call,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C. Without --since that is so in any case.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(metavar="CHECKPOINT", help="Begin there, as --json wrote it before. Default: from now on."),
    ] = None,
    event_type: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Only events of this type. Repeatable.")
    ] = None,
    object_type: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPE", help="Only events that concern objects of this type. Repeatable."),
    ] = None,
) -> None:
    """Show changes as they happen, one a line; with --json one JSON object a line.

    These are the events by which answers change: of relationships and models, and of accounts, sessions and keys that
    end or change. That a user was created, or has signed in, is not among them.

    In JSON the last event of those that became visible together has a checkpoint: with --since it goes on there, and
    ends with what had happened by then unless it is told to --follow. The API key needs the permissions watch and
    read_relationships.
    """
    until_now = since is not None and not follow
    try:
        for batch in call.client.watch(since=since, object_types=object_type or (), until_now=until_now):
            _show(call, batch, frozenset(event_type or ()))
            sys.stdout.flush()  # somebody may be waiting for it at the other end of a pipe
    except KeyboardInterrupt:
        raise typer.Exit(Code.OK) from None  # that is how it ends


def _show(call: Call, batch: "EventBatch", types: Collection[str]) -> None:
    if batch.is_gap:
        call.output.note(
            "The database has another history since a restore: events may be missing here. It goes on from now."
        )
    elif not batch.events:
        call.output.note(f"It begins at {batch.checkpoint}")
    wanted = [event for event in batch.events if not types or event.type in types]
    if not call.output.as_json:
        call.output.lines(map(_line, wanted))
        return
    for event in wanted:
        told = {field.name: getattr(event, field.name) for field in fields(event)}
        call.output.one(told | {"checkpoint": batch.checkpoint if event is wanted[-1] else None})


def _line(event: "Event") -> str:
    rows = [f"+{row.object}#{row.relation}@{row.subject}" for row in event.written]
    rows += [f"-{row.object}#{row.relation}@{row.subject}" for row in event.deleted]
    facts = [f"{name}={value}" for name, value in event.facts.items()]
    # The relationships name the objects already.
    told = [*_some(rows or event.objects), *facts]
    return f"{event.event_time:%Y-%m-%d %H:%M:%S}  {event.type:<24}  {event.actor}  {' '.join(told)}".rstrip()


def _some(texts: Sequence[str]) -> list[str]:
    left = len(texts) - _SHOWN
    return [*texts[:_SHOWN], *([f"(and {left} more)"] if left > 0 else [])]
