"""Who is calling, and may they? Answered in this process, as long as the feed tells that nothing has changed."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from watchword.client._async.connection import AsyncConnection
from watchword.client._async.keys import AsyncKeys
from watchword.client._async.permissions import AsyncPermissions
from watchword.client._feeds import AsyncFeed, Line
from watchword.client._knowledge import (
    Knowledge,
    Options,
    Token,
    denied,
    key_of,
    nodes_of,
    refusal,
    unanswered,
)
from watchword.client._permission_models import CheckAnswer, CheckError, CheckItem, Consistency, Relationship
from watchword.client._rounds import Asked, AsyncRounds
from watchword.client._streams import AsyncPause
from watchword.client._transport import PerLoop
from watchword.client.errors import RevisionUnknownError, UnavailableError
from watchword.client.models import FeedStatus, Principal
from watchword.client.revisions import Revisions
from watchword.v1 import tokens_pb2

_TRIES = 4
_READY_INTERVALS = (0.005, 0.1)
"""The first, and the longest: of a hundred processes that start together none shall wait for what the others burn."""


@dataclass(frozen=True, slots=True)
class AsyncLive:
    """What one process or event loop keeps."""

    knowledge: Knowledge
    feed: AsyncFeed
    rounds: AsyncRounds

    def wake(self, now: float) -> None:
        """Have the feed prove anew that it is complete, unless that is not what is lacking."""
        if not self.knowledge.is_fresh(now):
            self.feed.start()


class AsyncGuard:
    """Answers from what is kept, or asks and keeps."""

    def __init__(
        self,
        connection: AsyncConnection,
        keys: AsyncKeys,
        revisions: Revisions,
        options: Options,
        *,
        clock: Callable[[], float],
        skew_seconds: float,
    ) -> None:
        self._connection = connection
        self._permissions = AsyncPermissions(connection)
        self._keys = keys
        self._revisions = revisions
        self._options = options
        self._clock = clock
        self._skew_seconds = skew_seconds
        self._lives = PerLoop(self._make)

    def _make(self) -> AsyncLive:
        knowledge = Knowledge(self._options, self._revisions, time.monotonic)
        line = Line(knowledge.following, self._connection.settings, self._options.max_staleness, time.monotonic)
        feed = AsyncFeed(self._connection.open_channel, line)
        return AsyncLive(knowledge, feed, AsyncRounds(self._send, knowledge.note))

    async def _send(self, items: Sequence[CheckItem], consistency: Consistency) -> list[CheckAnswer | CheckError]:
        return await self._permissions.batch_check(items, consistency=consistency)

    def status(self) -> FeedStatus:
        """See `AsyncClient.status`."""
        live = self._lives.get()
        return live.knowledge.status(live.feed.line)

    async def ready(self, seconds: float) -> None:
        """See `AsyncClient.ready`."""
        live = self._lives.get()
        end = time.monotonic() + seconds
        interval, longest = _READY_INTERVALS
        while not live.knowledge.is_fresh(now := time.monotonic()):
            if now >= end:
                raise UnavailableError(f"The feed is not live: {live.feed.line.problem or 'no answer yet'}")
            live.feed.line.used_at = now
            live.feed.start()
            await AsyncPause.of(interval)
            interval = min(interval * 1.5, longest)

    async def close(self) -> None:
        """Stop the feed."""
        live = self._lives.existing()
        if live is not None:
            await live.feed.close()

    # ----- may they? --------------------------------------------------------------------------------------------------

    async def check(
        self,
        subject: str,
        relation: str,
        object_: str,
        context: Mapping[str, Any] | None,
        contextual_relationships: Iterable[Relationship],
    ) -> CheckAnswer:
        """See `AsyncClient.check`."""
        live = self._lives.get()
        knowledge = live.knowledge
        now = live.feed.line.used_at = time.monotonic()
        if not contextual_relationships and knowledge.is_fresh(now):
            key = (subject, relation, object_) if not context else key_of(subject, relation, object_, context)
            kept = knowledge.decisions.get(key, now)
            if kept is not None:
                knowledge.hits += 1
                return kept
        item = CheckItem(
            subject, relation, object_, context=context, contextual_relationships=tuple(contextual_relationships)
        )
        (answer,) = await self._ask(live, [item])
        if isinstance(answer, CheckError):
            raise unanswered(answer)
        return answer

    async def require(self, subject: str, relation: str, object_: str, context: Mapping[str, Any] | None) -> None:
        """See `AsyncClient.require`."""
        answer = await self.check(subject, relation, object_, context, ())
        if not answer:
            raise denied(relation, object_, answer)

    async def filter(
        self, subject: str, relation: str, objects: Iterable[str], context: Mapping[str, Any] | None
    ) -> list[str]:
        """See `AsyncClient.filter`."""
        live = self._lives.get()
        knowledge = live.knowledge
        now = live.feed.line.used_at = time.monotonic()
        names = list(objects)
        answers: dict[str, CheckAnswer] = {}
        if knowledge.is_fresh(now):
            for name in names:
                kept = knowledge.decisions.get(key_of(subject, relation, name, context), now)
                if kept is not None:
                    answers[name] = kept
        knowledge.hits += len(answers)
        items = [
            CheckItem(subject, relation, name, context=context) for name in dict.fromkeys(names) if name not in answers
        ]
        for item, answer in zip(items, await self._ask(live, items), strict=True):
            if isinstance(answer, CheckError):
                raise unanswered(answer)
            answers[item.object] = answer
        return [name for name in names if answers[name]]

    async def _ask(self, live: AsyncLive, items: Sequence[CheckItem]) -> list[CheckAnswer | CheckError]:
        """Ask the server, until every answer is one that has not been taken back on its way."""
        if not items:
            return []  # all was known already
        knowledge = live.knowledge
        knowledge.misses += len(items)
        now = time.monotonic()
        # First, or a caller who is refused until the feed is live would be refused for ever.
        live.wake(now)
        knowledge.require_askable(now)
        found: dict[int, CheckAnswer | CheckError] = {}
        pending = list(enumerate(items))
        for attempt in range(_TRIES):
            generation = knowledge.decisions.generation
            consistency = knowledge.consistency([item for _, item in pending], again=attempt > 0)
            asked = await self._round(live, [item for _, item in pending], consistency)
            remaining: list[tuple[int, CheckItem]] = []
            for (number, item), answer in zip(pending, asked, strict=True):
                if knowledge.accepts(answer, consistency):
                    found[number] = answer.answer
                    if not item.contextual_relationships:
                        key = key_of(item.subject, item.relation, item.object, item.context)
                        knowledge.keep(key, answer, generation)
                else:
                    remaining.append((number, item))
            pending = remaining
            if not pending:
                return [found[number] for number in range(len(items))]
        raise UnavailableError("The answer kept changing while it was on its way: try again.")

    async def _round(self, live: AsyncLive, items: Sequence[CheckItem], consistency: Consistency) -> list[Asked]:
        try:
            return await live.rounds.ask(items, consistency)
        except RevisionUnknownError:
            # Of a history that is gone, or made up by whoever sent it along: then as fresh as the database is.
            if consistency.revision is not None:
                self._revisions.forget(consistency.revision)
            return await live.rounds.ask(items, Consistency.full())

    # ----- who is calling? --------------------------------------------------------------------------------------------

    async def authenticate(self, token: str, audience: str | None) -> Principal:
        """See `AsyncClient.authenticate`."""
        live = self._lives.get()
        knowledge = live.knowledge
        now = live.feed.line.used_at = time.monotonic()
        if knowledge.is_fresh(now):
            kept = knowledge.tokens.get(token if audience is None else (token, audience), now)
            if kept is not None and self._clock() < kept.ends_at:
                knowledge.hits += 1
                return kept.principal
        return await self._authenticate(live, token, audience)

    async def _authenticate(self, live: AsyncLive, token: str, audience: str | None) -> Principal:
        knowledge = live.knowledge
        knowledge.misses += 1
        live.wake(time.monotonic())
        key = token if audience is None else (token, audience)
        for _ in range(_TRIES):
            generation, horizon = knowledge.tokens.generation, knowledge.following.horizon
            # After the horizon: what is not counted yet is not before it either.
            mark = knowledge.following.token_changes.count
            if knowledge.keys_may_have_changed():
                self._keys.renew()
            principal = await self._keys.verify(token, audience=audience)
            knowledge.keys_mark = max(knowledge.keys_mark, mark)
            nodes, revision = nodes_of(principal), principal.revision
            if not (knowledge.is_fresh(time.monotonic()) and knowledge.token_stands(nodes, revision)):
                knowledge.require_askable(time.monotonic())
                asked_at = time.monotonic()
                answer = await self._introspect(token, audience)
                nodes, revision = tuple(answer.nodes), answer.horizon
                if time.monotonic() - asked_at > self._options.max_staleness:
                    continue  # it was too long on its way
            if not knowledge.following.token_changes.has_named(nodes, since=mark):
                ends_at = principal.expire_time.timestamp() + self._skew_seconds
                token_found = Token(principal, ends_at)
                knowledge.keep_token(key, token_found, nodes, revision, generation=generation, horizon=horizon)
                return principal
        raise UnavailableError("What the access token depends on kept changing: try again.")

    async def _introspect(self, token: str, audience: str | None) -> tokens_pb2.IntrospectTokenResponse:
        """Ask the server about a token that was found well signed.

        Raises:
            TokenError: It is not good any longer.

        """
        request = tokens_pb2.IntrospectTokenRequest(token=token, audience=audience or "")
        answer = await self._connection.call(request, tokens_pb2.IntrospectTokenResponse)
        if not answer.active:
            raise refusal(answer.inactive_reason)
        return answer
