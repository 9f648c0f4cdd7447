"""Relationships in bulk: imported from files and exported into them."""

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Final

import typer

from watchword.cli.command import Call, remote
from watchword.cli.failures import Code, Failure
from watchword.cli.progress import progress
from watchword.cli.relationship_files import Format, Reader, Writer, format_of
from watchword.cli.relationships import (
    OF_OBJECT,
    OF_OBJECT_TYPE,
    OF_RELATION,
    OF_SUBJECT,
    OF_SUBJECT_TYPE,
    filter_of,
)
from watchword.cli.replacing import replacing

if TYPE_CHECKING:
    from watchword.client import InvalidArgumentError

_BATCH: Final = 1_000
_STDIN: Final = Path("-")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    remote(app, "import")(import_)
    remote(app)(export)


def import_(
    call: Call,
    *,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="CSV or lines of JSON, as OpenFGA's CLI has them. - is standard input."),
    ],
    form: Annotated[
        Format | None, typer.Option("--format", help="What FILE is. Default: by the end of its name.")
    ] = None,
    skip: Annotated[
        int, typer.Option(min=0, metavar="N", help="Leave out the first N relationships: they were imported before.")
    ] = 0,
) -> None:
    """Write the relationships of a file, a thousand in each transaction; those that exist are replaced.

    If it fails, it says how many are committed and how to go on.
    """
    form = form or format_of(file.name)
    if form is None:
        raise Failure(f"The name {file} does not say what it is: use --format csv or jsonl.", code=Code.USAGE)
    with _opened(file) as (source, size), progress("Importing", total=size) as show:
        reader = Reader(source, str(file), form, skip)

        def committed(count: int) -> None:
            reader.commit(count)
            show(reader.at, count)

        with _telling_how_to_go_on(call, reader, file, form):
            done = call.client.relationships.import_(reader, batch_size=_BATCH, on_progress=committed)
            if reader.failure is not None:
                raise reader.failure
    call.output.one(done)


def export(
    call: Call,
    *,
    form: Annotated[
        Format | None, typer.Option("--format", help="What to write. Default: by the end of FILE's name, else jsonl.")
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Where to write to. Default: shown here.")
    ] = None,
    object_: OF_OBJECT = None,
    object_type: OF_OBJECT_TYPE = None,
    relation: OF_RELATION = None,
    subject: OF_SUBJECT = None,
    subject_type: OF_SUBJECT_TYPE = None,
) -> None:
    """Write all relationships, or those that fit, so that `relationships import` can read them back.

    The CSV is for machines: cells are written as they are, even if a spreadsheet takes one for a formula. With --json
    and without --output, each line is JSON.
    """
    asked = filter_of(
        object=object_, object_type=object_type, relation=relation, subject=subject, subject_type=subject_type
    )
    form = form or (format_of(target.name) if target else None) or Format.JSONL
    if call.output.as_json and target is None and form is Format.CSV:
        raise Failure("--json and --format csv cannot both be shown here: use --output for the CSV.", code=Code.USAGE)
    count = 0
    # A bar among the lines of the same terminal would help nobody.
    shown = target is not None or not sys.stdout.isatty()
    with progress("Exporting", shown=shown) as show, replacing(target) as file:
        writer = Writer(file, form)
        for relationship in call.client.relationships.export(asked):
            writer.write(relationship)
            count += 1
            show(count, count)
    if target is not None:
        call.output.one({"relationship_count": count})


@contextmanager
def _opened(file: Path) -> Iterator[tuple[IO[bytes], int | None]]:
    if file == _STDIN:
        yield sys.stdin.buffer, None
        return
    try:
        opened = file.open("rb")
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}.", code=Code.USAGE) from None
    with opened:
        # A pipe has no size.
        yield opened, file.stat().st_size or None


@contextmanager
def _telling_how_to_go_on(call: Call, reader: Reader, file: Path, form: Format) -> Iterator[None]:
    """Whatever ended the import, say what is committed; and which line is wrong, if one is."""

    def how() -> str:
        total = reader.skip + reader.committed
        return (
            f"Committed: the first {total:,} relationships of the file. To go on: `watchword relationships import "
            f"{shlex.quote(str(file))} --format {form} --skip {total}`."
        )

    try:
        with _naming_lines(reader):
            yield
    except Failure as failure:
        message = f"{failure.message}\n{how()}"
        raise Failure(message, code=failure.code, reason=failure.reason, request_id=failure.request_id) from None
    except BaseException:
        call.output.note(how())
        raise


@contextmanager
def _naming_lines(reader: Reader) -> Iterator[None]:
    from watchword.client import InvalidArgumentError  # noqa: PLC0415

    try:
        yield
    except InvalidArgumentError as error:
        raise Failure(_refused(reader, error), reason=error.reason, request_id=error.request_id) from None
    except (ValueError, TypeError) as error:
        # It cannot even be sent, and was read last.
        raise Failure(f"{reader.last_place()}: cannot be sent: {error}.") from None
    except OSError as error:
        raise Failure(f"{reader.name} cannot be read on: {error.strerror}.") from None


def _refused(reader: Reader, error: "InvalidArgumentError") -> str:
    lines = []
    for violation in error.field_violations:
        match = re.match(r"relationships\[(\d+)\](\.?)(.*)", violation.field)
        if match is None:
            lines.append(f"{violation.field}: {violation.description}")
            continue
        # What does not fit the model is counted among the different ones of a message.
        place = reader.place(int(match[1]), distinct=None if match[2] else _BATCH)
        lines.append(f"{place}: {match[3] + ': ' if match[3] else ''}{violation.description}")
    return "\n".join(lines or [error.message])
