"""What a row of a table says, made into a user.

A row is read with patience: databases without types hold anything. What cannot be told of a user's times is left out
and counted; what is wrong with names, flags and hashes refuses the row, and no other.
"""

import base64
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from typing import Any, Final

from watchword.cli.importing.hash_kinds import kind_of
from watchword.cli.importing.layouts import Layout
from watchword.client import ImportedUser
from watchword.server.foreign_hashes import ForeignHash, HashRefused, Refusal, recognise
from watchword.server.validation import checker
from watchword.v1 import users_pb2

_TRUE: Final = frozenset({"1", "t", "true", "y", "yes", "on"})
_FALSE: Final = frozenset({"0", "f", "false", "n", "no", "off", ""})
_NO_TIME: Final = ("", "0000-00-00", "0000-00-00 00:00:00")  # MySQL's nothing
_GROUPS: Final = ""
_MAX_INTEGER: Final = 2**53  # that a JSON number holds exactly
_check: Final = checker(users_pb2.ImportedUser.DESCRIPTOR)


class RowRefused(Exception):
    """A row is no user that can be imported. Never quotes the row."""

    def __init__(self, source_id: str, field: str, description: str) -> None:
        super().__init__(description)
        self.source_id = source_id
        self.field = field
        self.description = description


@dataclass(frozen=True, slots=True)
class Row:
    """A row that was read."""

    source_id: str
    user: ImportedUser
    hash: ForeignHash | None
    is_mixed: bool
    """Whether the hash is taken for one of an HMAC, see `Reading.hash_prefix`."""
    hash_dropped: bool
    """Whether there is a hash that cannot be verified, and the user is to come without."""
    email_dropped: bool
    """Whether there is an e-mail address that is invalid, and the user is to come with the username only."""
    flags: tuple[str, ...]
    """Those that are set."""
    times_left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How rows are read."""

    layout: Layout
    now: datetime
    id_prefix: str = ""
    time_zone: tzinfo = UTC
    """Of times that do not tell theirs."""
    hash_prefix: str = ""
    """Put before hashes in the modular format, those that begin with "$"."""
    prefixes_all: bool = False
    """Whether it is put before all others, too."""
    drop_bad_hashes: bool = False
    drop_invalid_emails: bool = False

    def row(self, values: Mapping[str, Any]) -> Row:
        """Read a row.

        Raises:
            RowRefused: Something is wrong with it.

        """
        source_id = _id(values[self.layout.id])
        try:
            return self._row(source_id, _checked(values))
        except _Wrong as wrong:
            raise RowRefused(source_id or f"without {self.layout.id}", *wrong.args) from None

    def _row(self, source_id: str, values: Mapping[str, Any]) -> Row:
        if not source_id:
            raise _Wrong("external_id", "is required")
        layout = self.layout
        email, username = _text(values, layout.email), _text(values, layout.username)
        if username and "@" in username and (not email or username.casefold() == email.casefold()):
            # Signed in with the address, which needs no name beside it.
            email, username = email or username, ""
        email_dropped = self._drops_email(email, username)
        hash_text, found, hash_dropped = self._hash(_text(values, layout.password))
        is_mixed = bool(self.hash_prefix) and hash_text.startswith(self.hash_prefix)
        flags = tuple(name for name in layout.flags if _truth(values, name))
        times = list(self._times(values))
        left_out = sum(time is None for _, time in times)
        created = [time for name, time in times if time and name == layout.create_time]
        signed_in = [time for name, time in times if time and name in layout.last_sign_in]
        user = ImportedUser(
            external_id=self.id_prefix + source_id,
            email=None if email_dropped else email or None,
            username=username or None,
            display_name=" ".join(filter(None, (_text(values, name) for name in layout.display_name))) or None,
            locale=_text(values, layout.locale) or None,
            attributes=_attributes(layout, values, flags),
            suspended=layout.active is not None and not _truth(values, layout.active),
            password_hash=hash_text or None,
            create_time=created[0] if created else None,
            last_sign_in_time=max(signed_in, default=None),
        )
        return Row(source_id, user, found, is_mixed, hash_dropped, email_dropped, flags, left_out)

    def _drops_email(self, email: str, username: str) -> bool:
        """Whether a user is to come with the username only, for the e-mail address is invalid."""
        if not email or not username:
            return False
        wrong = dict(_check(users_pb2.ImportedUser(email=email, username=username)))
        if "email" not in wrong or "username" in wrong:
            return False
        if not self.drop_invalid_emails:
            instead = "with --drop-invalid-emails the user comes with the username only"
            raise _Wrong("email", f"{wrong['email']}; {instead}")
        return True

    def _hash(self, text: str) -> tuple[str, ForeignHash | None, bool]:
        # Django's mark of somebody who has no password, or may not use one.
        if not text or text.startswith("!"):
            return "", None, False
        whole = self.hash_prefix + text if self.prefixes_all or text.startswith("$") else text
        try:
            return whole, recognise(whole), False
        except HashRefused as refused:
            if self.drop_bad_hashes:
                return "", None, True
            more = f": {kind_of(text)}" if refused.why is Refusal.UNKNOWN else ""
            raise _Wrong("password_hash", f"{refused}{more}") from None

    def _times(self, values: Mapping[str, Any]) -> Iterator[tuple[str, datetime | None]]:
        names = (self.layout.create_time, *self.layout.last_sign_in)
        for name in names:
            if name is not None and values[name] is not None and values[name] not in _NO_TIME:
                time = _time(values[name], self.time_zone)
                yield name, time if time is not None and time <= self.now else None


def flask_security_prefix(salt: str) -> str:
    """What tells that a hash was made of an HMAC of the password under SECURITY_PASSWORD_SALT."""
    return f"$hmac-sha512${base64.b64encode(salt.encode()).decode()}$" if salt else ""


class _Wrong(Exception):
    """A field and what is wrong with it."""


def _checked(values: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        for value in values.values():
            for text in value if isinstance(value, list) else (value,):
                if isinstance(text, str):
                    text.encode()
    except UnicodeEncodeError:
        raise _Wrong("", "holds what is not text in UTF-8") from None
    return values


def _id(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        content = bytes(value)
        return content.decode() if content.isascii() and content.decode().isprintable() else content.hex()
    if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
        return str(int(value))  # 7.0 is 7
    return "" if value is None else str(value).strip()


def _text(values: Mapping[str, Any], name: str | None) -> str:
    value = None if name is None else values[name]
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            value = bytes(value).decode()
        except UnicodeDecodeError:
            raise _Wrong("", "holds what is not text in UTF-8") from None
    # Columns of a fixed length are filled up with spaces.
    return "" if value is None else str(value).strip(" ")


def _truth(values: Mapping[str, Any], name: str) -> bool:
    value = values[name]
    if value is None:
        return False
    if isinstance(value, bytes):  # MySQL's BIT
        return any(value)
    if isinstance(value, bool | int | float | Decimal):
        return bool(value)
    text = str(value).strip().lower()
    if text not in _TRUE | _FALSE:
        raise _Wrong(name, "is neither true nor false")
    return text in _TRUE


def _time(value: Any, zone: tzinfo) -> datetime | None:
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(re.sub(r"\.(\d{1,9})", _six_digits, value.strip()))
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - its zone follows
        elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            value = datetime.fromtimestamp(float(value), UTC)
        if not isinstance(value, datetime):
            return None
        return (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _six_digits(match: re.Match[str]) -> str:
    return f".{match[1][:6]:0<6}"


def _attributes(layout: Layout, values: Mapping[str, Any], flags: tuple[str, ...]) -> dict[str, Any] | None:
    attributes: dict[str, Any] = dict.fromkeys(flags, True)
    for name in layout.attributes:
        if values[name] is not None:
            attributes[name] = _plain(name, values[name])
    if layout.groups is not None and (names := values[_GROUPS]):
        attributes[layout.groups.attribute] = sorted(str(name) for name in names if name is not None)
    return attributes or None


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        raise _Wrong(name, "holds bytes, which no attribute can")
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        return str(value)
    if isinstance(value, list | dict):
        return json.loads(json.dumps(value, default=str))
    return value if isinstance(value, bool | int | float | str) else str(value)
