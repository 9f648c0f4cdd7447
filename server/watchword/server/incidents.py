"""What the log may say of an unexpected error: where it happened and of which kind, not what it was about.

Threat: personal data in logs. The text of an exception often quotes the value at fault; PostgreSQL's DETAIL
prints whole rows. So texts are left out; the frames and SQLSTATE are enough to find the cause.
"""

import traceback
from pathlib import Path

import psycopg


def describe(error: BaseException) -> dict[str, object]:
    """Give the fields to log for an error."""
    frames = traceback.extract_tb(error.__traceback__)
    fields: dict[str, object] = {
        "error": type(error).__qualname__,
        "frames": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[-12:]],
    }
    if isinstance(error, psycopg.Error):
        fields["sqlstate"] = error.sqlstate
        fields["constraint"] = error.diag.constraint_name
    if error.__cause__ is not None:
        fields["cause"] = type(error.__cause__).__qualname__
    return fields
