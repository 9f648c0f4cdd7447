"""Exchanges refresh tokens: those of calls that come at the same time by two trips to the database.

This is the usual exchange, of a session's newest token by who began it. Whatever else a token is sent for, a retry or a
theft, is left to a transaction of its own (sessions.py), and so is what did not come about here.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from watchword.server.api import messages
from watchword.server.call import Call
from watchword.server.errors import Conflict
from watchword.server.sessions import SessionKeeper
from watchword.server.storage.at_once import as_json
from watchword.server.storage.database import Database, Told
from watchword.server.storage.failures import AnswerExists
from watchword.server.storage.sessions import ROTATE, STANDING, Standing
from watchword.server.together import Together
from watchword.server.tokens import RefreshToken
from watchword.v1 import sessions_pb2 as pb


@dataclass(frozen=True, slots=True)
class _Asked:
    token: RefreshToken = field(repr=False)
    call: Call


class Refresher:
    """Exchanges the newest tokens of sessions."""

    def __init__(self, database: Database, keeper: SessionKeeper) -> None:
        self._database = database
        self._keeper = keeper
        self._together: Together[_Asked, pb.RefreshSessionResponse | None] = Together(self._round)

    async def refresh(self, text: str, call: Call) -> pb.RefreshSessionResponse | None:
        """Exchange a token; None if this is another case, or has become one in between."""
        token = self._keeper.refresh_tokens.read(text)
        return await self._together.ask(_Asked(token, call)) if token is not None else None

    async def _round(self, asked: Sequence[_Asked]) -> list[pb.RefreshSessionResponse | Exception | None]:
        now = self._database.now()
        ids = list({each.token.session_id for each in asked})
        rows = await self._database.gather(STANDING, STANDING.parameters({"ids": ids, "now": now}))
        standings = {standing.session.session_id: standing for standing in map(Standing.of, rows)}
        answers: list[pb.RefreshSessionResponse | Exception | None] = [None] * len(asked)
        rotations: list[dict[str, object]] = []
        told: list[Told] = []
        exchanged: list[tuple[int, pb.RefreshSessionResponse]] = []
        for place, each in enumerate(asked):
            standing = standings.get(each.token.session_id)
            rotation = self._keeper.rotation(standing, each.token, each.call, now) if standing is not None else None
            if rotation is not None:
                answer = pb.RefreshSessionResponse(tokens=messages.session_tokens(rotation.issued, now=now))
                rotations.append({"number": len(told), **rotation.values})
                told.append(Told(each.call, rotation.event, answer))
                exchanged.append((place, answer))
        for number in await self._write(rotations, told):
            place, answer = exchanged[number]
            answers[place] = answer
        return answers

    async def _write(self, rotations: Sequence[Mapping[str, object]], told: Sequence[Told]) -> Collection[int]:
        """Write what there is to write; nothing if it collides with another call, which transactions sort out."""
        if not told:
            return ()
        try:
            return await self._database.write_at_once(ROTATE, {"rotations": as_json(rotations)}, told)
        except (Conflict, AnswerExists):
            return ()
