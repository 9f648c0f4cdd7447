# Made by client/make_sync.py from client/watchword/client/_async/sessions.py: do not edit.
"""Sessions of users."""

from collections.abc import Iterator

from watchword.client import _convert
from watchword.client._sync.connection import Connection
from watchword.client._sync.pages import walk
from watchword.client._transport import new_id
from watchword.client.models import Device, Page, Session, SessionTokens
from watchword.v1 import sessions_pb2


class Sessions:
    """Sessions of users. What is common to all methods is described at `Client`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def refresh(
        self, refresh_token: str, *, device: Device | None = None, request_id: str | None = None
    ) -> SessionTokens:
        """Exchange a session's newest refresh token for new tokens. It works once.

        Args:
            refresh_token: The token; sent again within 30 seconds it gets the same successor.
            device: The device now. Default: as it was.
            request_id: See `Client`.

        Raises:
            RefreshTokenInvalidError: The token is unknown or its session has ended.
            RefreshTokenReusedError: The token was used before. Its session has been ended.

        """
        request = sessions_pb2.RefreshSessionRequest(
            refresh_token=refresh_token,
            device=_convert.device_message(device),
            request_id=request_id or new_id(),
        )
        response = self._connection.call(request, sessions_pb2.RefreshSessionResponse)
        return _convert.session_tokens(response.tokens)

    def get(self, session_id: str) -> Session:
        """Get a session, ended or not.

        Raises:
            NotFoundError: There is none.

        """
        request = sessions_pb2.GetSessionRequest(session_id=session_id)
        response = self._connection.call(request, sessions_pb2.GetSessionResponse)
        return _convert.session(response.session)

    def list(self, user_id: str, *, include_ended: bool = False, page_size: int = 0) -> Iterator[Session]:
        """Walk through a user's sessions, newest first. Arguments as in `list_page`."""
        return walk(
            lambda page_token: self.list_page(
                user_id, include_ended=include_ended, page_size=page_size, page_token=page_token
            )
        )

    def list_page(
        self,
        user_id: str,
        *,
        include_ended: bool = False,
        page_size: int = 0,
        page_token: str | None = None,
    ) -> Page[Session]:
        """Get one page of a user's sessions, newest first.

        Args:
            user_id: Whose sessions.
            include_ended: Ended and expired ones too.
            page_size: The most sessions to get, 1 to 500. Default: 50.
            page_token: `next_page_token` of the page before; all else but `page_size` must be as it was.

        Raises:
            NotFoundError: There is no such user.
            InvalidPageTokenError: The page token belongs to another listing.

        """
        request = sessions_pb2.ListSessionsRequest(
            user_id=user_id,
            include_ended=include_ended,
            page_size=page_size,
            page_token=page_token or "",
        )
        response = self._connection.call(request, sessions_pb2.ListSessionsResponse)
        return Page(
            items=tuple(map(_convert.session, response.sessions)),
            next_page_token=response.next_page_token or None,
        )

    def revoke(self, session_id: str, *, request_id: str | None = None) -> Session:
        """End a session: the server refuses its tokens from now on. See `Client.verify` for its limits.

        Raises:
            NotFoundError: There is no such session.

        """
        request = sessions_pb2.RevokeSessionRequest(session_id=session_id, request_id=request_id or new_id())
        response = self._connection.call(request, sessions_pb2.RevokeSessionResponse)
        return _convert.session(response.session)

    def revoke_all(self, user_id: str, *, except_session_id: str | None = None, request_id: str | None = None) -> int:
        """End all sessions of a user, or all but one, and return how many were ended.

        Raises:
            NotFoundError: There is no such user.

        """
        request = sessions_pb2.RevokeAllSessionsRequest(
            user_id=user_id,
            except_session_id=except_session_id or "",
            request_id=request_id or new_id(),
        )
        response = self._connection.call(request, sessions_pb2.RevokeAllSessionsResponse)
        return response.revoked_count
