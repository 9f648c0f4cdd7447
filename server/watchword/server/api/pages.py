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

    def page(self, request: Message, call: Call) -> Page:
        """Read which page a list request asks for.

        Raises:
            InvalidField: the size is negative.
            InvalidPageToken: the token was not made for this query.

        """
        size, token = request.page_size, request.page_token  # type: ignore[attr-defined]  # every list request has them
        if size < 0:
            raise InvalidField([("page_size", "must not be negative")])
        query = type(request)()
        query.CopyFrom(request)
        query.ClearField("page_size")
        query.ClearField("page_token")
        digest = query.SerializeToString(deterministic=True).hex()
        context = f"{call.caller.service_account_id}/{call.method}/{digest}"
        return Page(min(size or DEFAULT_SIZE, MAX_SIZE), self._open(token, context) if token else "", context)

    def _open(self, token: str, context: str) -> str:
        try:
            return self._sealer.open(decode(token), context=context).decode()
        except (ValueError, SealBroken, UnknownMasterKey):
            raise InvalidPageToken from None

    def cut(self, page: Page, rows: Sequence[Row], key: Callable[[Row], object]) -> tuple[Sequence[Row], str]:
        """Cut what was fetched to the page's size; return it with the token of the next page, empty for none."""
        if len(rows) <= page.size:
            return rows, ""
        shown = rows[: page.size]
        return shown, encode(self._sealer.seal(str(key(shown[-1])).encode(), context=page.context))
