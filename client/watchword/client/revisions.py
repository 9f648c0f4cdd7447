"""Revisions on their way: so that who has written sees its own write, also in another service.

A write answers with a revision. The client notes it: from then on no answer is older, and an answer that is asked for
elsewhere in its name need not be either, if the revision travels along: between services as gRPC metadata or as an
HTTP header. The integrations do both by themselves.

A revision that came with a request counts within the context of that request alone. Threat: whoever can reach a
service can make one up; then their own request is answered by the server instead of the cache, and nobody else's.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from watchword.client._transport import PerProcess

REVISION_METADATA: Final = "watchword-revision"
"""The gRPC metadata by which a revision travels."""

REVISION_HEADER: Final = "Watchword-Revision"
"""The HTTP header by which a revision travels."""

_MAX_BYTES: Final = 128
_MAX_XID_DIGITS: Final = 20
_MAX_NOTED: Final = 1_000


@lru_cache(maxsize=64)  # a hundred answers that come together have one
def parse_revision(text: str) -> tuple[str, int] | None:
    """The epoch and the transaction id of "<epoch>.<transaction id>"; None for anything else."""
    epoch, _, xid = text.rpartition(".")
    if not epoch or len(text) > _MAX_BYTES or not text.isascii() or not text.isprintable() or " " in text:
        return None
    return (epoch, int(xid)) if xid.isdigit() and len(xid) <= _MAX_XID_DIGITS else None


def monotonic() -> float:
    """What the monotonic clock shows. Looked up each time, since tests move it (`watchword.client.testing`)."""
    return time.monotonic()


@dataclass(frozen=True, slots=True)
class Noted:
    """A revision, and when it was noted, on the monotonic clock."""

    text: str
    epoch: str
    xid: int
    noted_at: float


class _Context:
    """The newest revision of a context, shared with the tasks and threads that inherit it.

    A request may write in a task of its own, or by gRPC, whose interceptors run in one: it must see that write too.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class Revisions:
    """The revisions that one client has heard of."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        # Not the one of the process before a fork: a thread that is not there any more may hold it.
        self._locks = PerProcess(threading.Lock)
        self._noted: deque[Noted] = deque(maxlen=_MAX_NOTED)
        self._newest = ""
        # Of this client alone: its revisions say nothing to a client of another deployment.
        self._context: ContextVar[_Context | None] = ContextVar("watchword_revision", default=None)
        self.count = 0
        """How many have been noted."""

    @property
    def current(self) -> str:
        """The newest revision of this context, else the newest that was noted; "" if there is none."""
        return self.of_context or self._newest

    @property
    def of_context(self) -> str:
        """The newest revision of this context alone."""
        context = self._context.get()
        return "" if context is None else context.text

    def note(self, text: str) -> None:
        """Note a revision for the whole client: from now on no answer is older. What is no revision is ignored."""
        parsed = parse_revision(text)
        if parsed is None:
            return
        with self._locks.get():
            self._noted.append(Noted(text, *parsed, self._clock()))
            self._newest = text
            self.count += 1
        # It is later than any that this context knew of: what was written here was written after that was known.
        context = self._context.get()
        if context is None:
            self._context.set(_Context(text))
        else:
            context.text = text

    @contextmanager
    def at_least(self, text: str) -> Generator[None]:
        """Let no answer within the block be older than a revision. What is no revision is ignored.

        What is noted within the block holds after it too, but not in a context that knew of nothing before: a thread
        that serves requests, each in a block, would carry what one wrote over to the next.
        """
        outer = self._context.get()
        before = text if parse_revision(text) is not None else self.of_context
        inner = _Context(before)
        token = self._context.set(inner)
        try:
            yield
        finally:
            self._context.reset(token)
            if outer is not None and inner.text not in {before, ""}:
                outer.text = inner.text

    def forget(self, text: str) -> None:
        """Forget one that the server does not know: it is of a history that is gone, or was made up."""
        context = self._context.get()
        if context is not None and context.text == text:
            context.text = ""
        with self._locks.get():
            if self._newest == text:
                self._newest = ""
            kept = [noted for noted in self._noted if noted.text != text]
            self._noted = deque(kept, maxlen=_MAX_NOTED)

    def after(self, number: int) -> list[Noted]:
        """Those that were noted after so many; fewer if some of them are forgotten."""
        with self._locks.get():
            count = min(self.count - number, len(self._noted))
            return list(self._noted)[len(self._noted) - count :]
