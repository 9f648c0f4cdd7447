"""Files that commands write as a whole."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from watchword.cli.failures import Code, Failure

_STDOUT = Path("-")


@contextmanager
def replacing(target: Path | None, *, private: bool = False) -> Iterator[TextIO]:
    """A file to write to that takes its place when it is complete, so that a failure spoils nothing.

    Threat: a private one that others read while it is written, or because one of the name was there before.
    """
    if target is None or target == _STDOUT:
        yield sys.stdout
        return
    target = target.resolve()  # a link stays one
    whole = target.is_file() or not target.exists()
    written = target.with_name(f".{target.name}.part") if whole else target

    def opened(path: str, flags: int) -> int:
        return os.open(path, flags | (os.O_EXCL if whole else 0), 0o600 if private else 0o666)

    try:
        if whole:
            written.unlink(missing_ok=True)
        with open(written, "w", encoding="utf-8", newline="", opener=opened) as file:
            yield file
        if whole:
            os.replace(written, target)  # noqa: PTH105 - the same
    except OSError as error:
        raise Failure(f"{target} cannot be written: {error.strerror}.", code=Code.USAGE) from None
    finally:
        if whole:
            written.unlink(missing_ok=True)
