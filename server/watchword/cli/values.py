"""Values that people write after options, read."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from watchword.cli.failures import Code, Failure

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def span(text: str) -> timedelta:
    """Read a span of time, such as 90d."""
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if match is None:
        raise Failure(f"{text!r} is no span of time: write 90d, 12h, 30m or 60s.", code=Code.USAGE)
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def expire_time(expires_in: str | None) -> datetime | None:
    """Tell when something ends that is to last for a span."""
    return None if expires_in is None else datetime.now(UTC) + span(expires_in)


def json_object(text: str | None, option: str, *, example: str) -> dict[str, Any] | None:
    """Read a JSON object, if there is one."""
    if text is None:
        return None
    try:
        value = json.loads(text)
        # What a terminal cannot even encode does not reach the server either.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Failure(f"{option} is a JSON object, such as {example}.", code=Code.USAGE)
    return value
