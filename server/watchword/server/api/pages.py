"""Pages of lists: sizes, and tokens that say where the next page begins (AIP-158).

A token holds the last key of its page, sealed, and opens for the same query only: nobody can read from it, make one
up, or use it to step into a list that they did not ask for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from watchword.server.call import Call
from watchword.server.errors import InvalidField, InvalidPageToken
from watchword.server.sealing import Keyring, SealBroken, UnknownMasterKey
from watchword.server.tokens import decode, encode

DEFAULT_SIZE = 50
MAX_SIZE = 500

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page:
    """Which page is asked for."""

    size: int
    after: str
    """The last key of the page before; empty for the first."""
    context: str

    @property
    def fetch(self) -> int:
        """How many rows to read: one more than the page holds tells whether there is a next one."""
        return self.size + 1


class Pages:
    """Reads and writes page tokens."""

    def __init__(self, keyring: Keyring) -> None:
        self._sealer = keyring.sealer("page_tokens")

    def page(self, request: Message, call: Call, *, default_size: int = DEFAULT_SIZE, max_size: int = MAX_SIZE) -> Page:
        """Read which page a list request asks for.

        Raises:
            InvalidField: the size is negative.
            InvalidPageToken: the token was not made for this query.

        """
        size, token = request.page_size, request.page_token  # type: ignore[attr-defined]  # every list request has them
        if size < 0:
            raise InvalidField([("page_size", "must not be negative")])
        context = _context(request, call, "page_size", "page_token")
        return Page(min(size or default_size, max_size), self._open(token, context) if token else "", context)

    def resumed(self, request: Message, token: str, call: Call) -> Page:
        """Read where a stream is to be resumed.

        Raises:
            InvalidPageToken: the token was not made for this query.

        """
        context = _context(request, call, "resume_token")
        return Page(0, self._open(token, context, field="resume_token") if token else "", context)

    def _open(self, token: str, context: str, *, field: str = "page_token") -> str:
        try:
            return self._sealer.open(decode(token), context=context).decode()
        except (ValueError, SealBroken, UnknownMasterKey):
            raise InvalidPageToken(field) from None

    def cut(self, page: Page, rows: Sequence[Row], key: Callable[[Row], object]) -> tuple[Sequence[Row], str]:
        """Cut what was fetched to the page's size; return it with the token of the next page, empty for none."""
        if len(rows) <= page.size:
            return rows, ""
        shown = rows[: page.size]
        return shown, self.token(page, str(key(shown[-1])))

    def token(self, page: Page, after: str) -> str:
        """Make the token of the page that begins behind a key."""
        return encode(self._sealer.seal(after.encode(), context=page.context))


def _context(request: Message, call: Call, *left_out: str) -> str:
    """What a token belongs to: the query, and who asks."""
    query = type(request)()
    query.CopyFrom(request)
    for name in left_out:
        query.ClearField(name)
    digest = query.SerializeToString(deterministic=True).hex()
    return f"{call.caller.service_account_id}/{call.method}/{digest}"
