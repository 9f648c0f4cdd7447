"""Users taken elsewhere, into a file: lines of JSON, or CSV."""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TextIO

import typer

from watchword.cli.command import YES, Call, confirm, remote
from watchword.cli.failures import Code, Failure
from watchword.cli.progress import progress
from watchword.cli.replacing import replacing
from watchword.cli.users import OF_EMAIL_PREFIX, OF_STATUS, statuses_of

if TYPE_CHECKING:
    from watchword.client import ExportedUser

_COLUMNS: Final = (
    *("user_id", "external_id", "email", "username", "display_name", "locale", "status", "attributes"),
    *("create_time", "update_time", "delete_time", "last_sign_in_time"),
)
_HASH: Final = "password_hash"


class Form(StrEnum):
    """How a file holds users."""

    CSV = "csv"
    JSONL = "jsonl"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    remote(app)(export)


def export(
    call: Call,
    *,
    form: Annotated[
        Form | None, typer.Option("--format", help="What to write. Default: by the end of FILE's name, else jsonl.")
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Where to write to. Default: shown here.")
    ] = None,
    status: OF_STATUS = None,
    email_prefix: OF_EMAIL_PREFIX = None,
    with_password_hashes: Annotated[
        bool,
        typer.Option(
            "--with-password-hashes",
            help="With the hashes of the passwords, as they are stored. The event log says who had them.",
        ),
    ] = False,
    yes: YES = False,
) -> None:
    """Write all users, or those that fit, with all that is known of them, oldest first.

    JSON has null, and CSV an empty cell, for what is not set. The CSV is for machines: cells are written as they are,
    even if a spreadsheet takes one for a formula. A file with hashes can be read by its owner only.
    """
    form = form or _form_of(target) or Form.JSONL
    if call.output.as_json and target is None and form is Form.CSV:
        raise Failure("--json and --format csv cannot both be shown here: use --output for the CSV.", code=Code.USAGE)
    if with_password_hashes:
        confirm(
            "Write the password hashes too? Whoever gets hold of them can try passwords as fast as they can hash.",
            yes=yes,
        )
    users = call.client.users.export(
        statuses=statuses_of(status), email_prefix=email_prefix, include_password_hashes=with_password_hashes
    )
    count = 0
    # A bar among the lines of the same terminal would help nobody.
    shown = target is not None or not sys.stdout.isatty()
    with (
        progress("Exporting", shown=shown, counted="users") as show,
        replacing(target, private=with_password_hashes) as file,
    ):
        writer = _Writer(file, form, [*_COLUMNS, _HASH] if with_password_hashes else _COLUMNS)
        for count, user in enumerate(users, start=1):
            writer.write(user)
            show(count, count)
    if target is not None:
        call.output.one({"user_count": count})


def _form_of(target: Path | None) -> Form | None:
    end = target.name.rpartition(".")[2].lower() if target else ""
    return Form(end) if end in set(Form) else Form.JSONL if end == "ndjson" else None


class _Writer:
    def __init__(self, file: TextIO, form: Form, columns: Sequence[str]) -> None:
        self._file = file
        self._columns = columns
        self._rows = csv.writer(file, lineterminator="\n") if form is Form.CSV else None
        if self._rows is not None:
            self._rows.writerow(columns)

    def write(self, user: "ExportedUser") -> None:
        members = {name: _member(user, name) for name in self._columns}
        if self._rows is None:
            self._file.write(json.dumps(members) + "\n")
        else:
            self._rows.writerow(map(_cell, members.values()))


def _member(user: "ExportedUser", name: str) -> Any:
    value: Any = getattr(user, name) if name in {"last_sign_in_time", _HASH} else getattr(user.user, name)
    if name == "attributes" and value:
        # In one order, so that two exports can be compared.
        return json.loads(json.dumps(value, sort_keys=True))
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return json.dumps(value) if value else ""
    return "" if value is None else str(value)
