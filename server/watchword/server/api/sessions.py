"""SessionService."""

from uuid import UUID

from watchword.server import sessions as logic
from watchword.server.api import messages
from watchword.server.api.pages import Pages
from watchword.server.api.refreshing import Refresher
from watchword.server.call import Call
from watchword.server.errors import DomainError, NotFound
from watchword.server.pipeline import at_once
from watchword.server.storage.database import Database
from watchword.server.storage.sessions import REVOKED
from watchword.v1 import sessions_pb2 as pb


class SessionService:
    """Serves users' sessions."""

    def __init__(self, database: Database, keeper: logic.SessionKeeper, pages: Pages) -> None:
        self._database = database
        self._keeper = keeper
        self._refresher = Refresher(database, keeper)
        self._pages = pages

    @at_once
    async def RefreshSession(self, request: pb.RefreshSessionRequest, call: Call) -> pb.RefreshSessionResponse:
        usual = None if request.HasField("device") else await self._refresher.refresh(request.refresh_token, call)
        if usual is not None:
            return usual
        async with self._database.write(call) as tx:
            outcome = await self._keeper.refresh(tx, request.refresh_token, messages.device(request.device))
            if not isinstance(outcome, DomainError):
                return tx.answered(
                    pb.RefreshSessionResponse(tokens=messages.session_tokens(outcome, now=tx.now), revision=tx.revision)
                )
        raise outcome

    async def GetSession(self, request: pb.GetSessionRequest, _call: Call) -> pb.GetSessionResponse:
        async with self._database.read() as reader:
            session = await reader.sessions.get(UUID(request.session_id))
        return pb.GetSessionResponse(session=messages.session(session, now=reader.now))

    async def ListSessions(self, request: pb.ListSessionsRequest, call: Call) -> pb.ListSessionsResponse:
        page = self._pages.page(request, call)
        async with self._database.read() as reader:
            user = await reader.users.get(UUID(request.user_id))
            rows = await reader.sessions.page(
                user.user_id,
                include_ended=request.include_ended,
                before=UUID(page.after) if page.after else None,
                size=page.fetch,
            )
        shown, token = self._pages.cut(page, rows, lambda session: session.session_id)
        return pb.ListSessionsResponse(
            sessions=[messages.session(session, now=reader.now) for session in shown], next_page_token=token
        )

    async def RevokeSession(self, request: pb.RevokeSessionRequest, call: Call) -> pb.RevokeSessionResponse:
        async with self._database.write(call) as tx:
            session = await tx.sessions.lock(UUID(request.session_id))
            if session is None:
                raise NotFound("session", request.session_id)
            if session.end_time is None:
                session = await tx.sessions.end(session, REVOKED)
                tx.record(logic.revoked(session, REVOKED))
            return tx.answered(
                pb.RevokeSessionResponse(session=messages.session(session, now=tx.now), revision=tx.revision)
            )

    async def RevokeAllSessions(self, request: pb.RevokeAllSessionsRequest, call: Call) -> pb.RevokeAllSessionsResponse:
        keep = UUID(request.except_session_id) if request.except_session_id else None
        async with self._database.write(call) as tx:
            # The lock makes a sign-in that is under way come before, and end too, or after.
            user = await tx.users.lock(UUID(request.user_id))
            count = await logic.end_all(tx, user.user_id, REVOKED, keep=keep)
            return tx.answered(pb.RevokeAllSessionsResponse(revoked_count=count, revision=tx.revision))
