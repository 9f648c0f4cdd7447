"""An import from beginning to end: read, looked at, sent, told."""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TextIO

from watchword.cli.failures import Code, Failure
from watchword.cli.importing.databases import Source, opened
from watchword.cli.importing.layouts import FLASK_SECURITY, Framework, Layout
from watchword.cli.importing.rows import Reading, RowRefused
from watchword.cli.importing.summary import Summary
from watchword.cli.importing.trial import trial
from watchword.cli.output import Output
from watchword.cli.progress import progress
from watchword.client import Client, ImportedUser, ImportOutcome, UserImportResult

Show = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be imported, and how."""

    address: str
    layout: Layout
    framework: Framework | None = None
    """None: the layout is as somebody said, and must fit."""
    id_prefix: str = ""
    time_zone: tzinfo = UTC
    hash_prefix: str = ""
    prefixes_all: bool = False
    drop_bad_hashes: bool = False
    drop_invalid_emails: bool = False
    dry_run: bool = False
    refused: Path | None = None


def carry_out(order: Order, output: Output, connect: Callable[[], AbstractContextManager[Client]]) -> Summary:
    """Import users, or find out what would become of them."""
    with _refusals(order.refused) as file, opened(order.address) as source:
        layout = _layout(order, source, output)
        reading = Reading(
            layout=layout,
            now=datetime.now(UTC),
            id_prefix=order.id_prefix,
            time_zone=order.time_zone,
            hash_prefix=order.hash_prefix,
            prefixes_all=order.prefixes_all,
            drop_bad_hashes=order.drop_bad_hashes,
            drop_invalid_emails=order.drop_invalid_emails,
        )
        of_flask_security = order.framework is FLASK_SECURITY
        summary = Summary(dry_run=order.dry_run, refused_to=file, of_flask_security=of_flask_security)
        # Before a million users are counted: is there a server at all?
        with nullcontext() if order.dry_run else connect() as client:
            title = "Reading" if client is None else "Importing"
            with (
                progress(title, total=source.count(layout), counted="users") as show,
                # Whatever ends it, the source is let go of before its connection is closed.
                closing(_users(source, reading, summary)) as users,
            ):
                if client is None:
                    _try(users, order.id_prefix, summary, show)
                else:
                    with _telling_how_to_go_on(output, summary):
                        _send(client, users, order.id_prefix, summary, show)
    return summary


def _layout(order: Order, source: Source, output: Output) -> Layout:
    if order.framework is None:
        source.require(order.layout)
        return order.layout
    layout = source.fit(order.framework, order.layout)
    wanted = order.layout.groups
    if wanted is not None and layout.groups is None:
        output.note(
            f"There are no {wanted.attribute}: no table {wanted.link} leads from {layout.table} to {wanted.table}."
        )
    return layout


def _users(source: Source, reading: Reading, summary: Summary) -> Generator[ImportedUser]:
    """Read those who can be sent; count them, and refuse the others."""
    with closing(source.rows(reading.layout)) as rows:
        for values in rows:
            summary.read += 1
            try:
                row = reading.row(values)
            except RowRefused as refused:
                summary.refuse(refused.source_id, refused.field, refused.description)
                continue
            summary.note(row)
            yield row.user


def _try(users: Iterator[ImportedUser], id_prefix: str, summary: Summary, show: Show) -> None:
    with trial() as looking:
        for user in users:
            source_id = user.external_id.removeprefix(id_prefix)
            refusal = looking.refusal(user, source_id)
            if refusal is None:
                summary.created += 1
            else:
                summary.refuse(source_id, *refusal)
            show(summary.read, summary.read)


def _send(client: Client, users: Iterator[ImportedUser], id_prefix: str, summary: Summary, show: Show) -> None:
    def became(result: UserImportResult) -> None:
        if result.outcome is ImportOutcome.CREATED:
            summary.created += 1
        elif result.outcome is ImportOutcome.EXISTS:
            summary.existing += 1
        else:
            source_id = result.external_id.removeprefix(id_prefix)
            summary.refuse(source_id, result.field or "", result.description or str(result.reason))
        done = summary.created + summary.existing + summary.refused
        show(done, done)

    client.users.import_(users, on_result=became)


@contextmanager
def _refusals(path: Path | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
        return
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}.", code=Code.USAGE) from None
    with file:
        yield file


@contextmanager
def _telling_how_to_go_on(output: Output, summary: Summary) -> Iterator[None]:
    try:
        yield
    except BaseException:
        output.note(
            f"Imported until now: {summary.created:,}. To go on, repeat the command: it leaves those who are there as "
            "they are, and adds nobody twice."
        )
        raise
