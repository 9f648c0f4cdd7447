"""What a process keeps to answer by itself: the feed, and the answers that it takes back.

Pure state and decisions; `_async/guard.py` does the asking. One of these belongs to one process or event loop.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from watchword.client._feeds import Line
from watchword.client._following import Following
from watchword.client._kept import Kept
from watchword.client._permission_models import CheckAnswer, CheckError, CheckItem, Consistency
from watchword.client._rounds import Asked
from watchword.client.errors import (
    ERRORS,
    AccessDeniedError,
    FeedStaleError,
    InternalError,
    TokenAudienceMismatchError,
    TokenError,
    TokenExpiredError,
    TokenRevokedError,
    WatchwordError,
)
from watchword.client.models import FeedStatus, Principal
from watchword.client.revisions import Revisions, parse_revision
from watchword.v1 import tokens_pb2

Key = tuple[str, ...]

SIGNING_KEYS: Final = "signing_keys"
_TOKEN_BYTES: Final = 2_000
_SERVER_STALENESS: Final = 1.0
"""How old what a server answers from its own cache may be, in seconds."""


def node(name: str) -> int:
    """The hash under which events and answers carry a node, as tokens.proto defines it."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def nodes_of(principal: Principal) -> tuple[int, ...]:
    """What an access token depends on."""
    return (node(f"session:{principal.session_id}"), node(principal.subject), node(SIGNING_KEYS))


def key_of(subject: str, relation: str, object_: str, context: Mapping[str, Any] | None) -> Key:
    """Under what the answer to a question is kept."""
    if not context:
        return (subject, relation, object_)
    # As JSON and not as it is: to Python 1, 1.0 and True are equal, and to a condition they are not.
    return (subject, relation, object_, json.dumps(context, sort_keys=True, default=str))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a client was told to keep answers."""

    max_staleness: float = 2.0
    when_stale: Literal["ask", "refuse"] = "ask"
    cache_bytes: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        if not 0 < self.max_staleness <= 3600:  # noqa: PLR2004
            raise ValueError("max_staleness must be more than 0 and at most 3,600 seconds")
        if self.when_stale not in {"ask", "refuse"}:
            raise ValueError('when_stale must be "ask" or "refuse"')
        if self.cache_bytes < 0:
            raise ValueError("cache_bytes must not be negative")


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was found good."""

    principal: Principal
    ends_at: float
    """When it expires, in Unix seconds, with the tolerated skew."""


class Knowledge:
    """The feed as it was heard, and what is kept by it."""

    def __init__(self, options: Options, revisions: Revisions, clock: Callable[[], float]) -> None:
        self.options = options
        self.clock = clock
        # An eighth for what has changed, an eighth for tokens, the rest for decisions.
        self.following = Following(revisions, max_staleness=options.max_staleness, max_bytes=options.cache_bytes // 8)
        self.tokens: Kept[Key | str, Token] = Kept(
            self.following, self.following.token_changes, max_bytes=options.cache_bytes // 8
        )
        self.decisions: Kept[Key, CheckAnswer] = Kept(
            self.following, self.following.changes, max_bytes=options.cache_bytes * 3 // 4
        )
        self.hits = 0
        self.misses = 0
        self.keys_mark = -1
        """How many changes concerned tokens when the signing keys were last known to be the right ones."""

    def is_fresh(self, now: float) -> bool:
        """Whether what is kept may be used."""
        following = self.following
        return now < following.fresh_until and following.is_past_all

    def require_askable(self, now: float) -> None:
        """Refuse to ask the server if the caller does not want that.

        Raises:
            FeedStaleError: It is so.

        """
        if self.options.when_stale == "refuse" and now >= self.following.fresh_until:
            raise FeedStaleError("The feed has not been proven complete for longer than max_staleness.")

    def consistency(self, items: Sequence[CheckItem], *, again: bool) -> Consistency:
        """How fresh the answer to questions must be."""
        # An answer without nodes cannot be judged by what the feed tells; so it must be as fresh as the database.
        if again or any(item.contextual_relationships for item in items):
            return Consistency.full()
        lacking = self.following.lacking()
        if len(lacking) > 1 or self.options.max_staleness <= _SERVER_STALENESS:
            return Consistency.full()
        return Consistency.at_least(lacking[0]) if lacking else Consistency.minimize_latency()

    def note(self) -> tuple[int, float]:
        """What is known when a question is sent."""
        return self.following.changes.count, self.clock()

    def accepts(self, asked: Asked, consistency: Consistency) -> bool:
        """Whether an answer that has arrived may be given: it must not have been taken back on its way."""
        answer = asked.answer
        following, now = self.following, self.clock()
        # Both count: how old it was when it was given, and how long it was on its way.
        age = now - asked.asked_at + (0.0 if consistency.is_full else _SERVER_STALENESS)
        if age > self.options.max_staleness and now >= following.fresh_until:
            return False  # what has changed meanwhile is not known
        if not isinstance(answer, CheckAnswer) or not following.epoch:
            return True
        # Of another history it may be the newer one, or the one that is gone: of a server that has not heard of it yet.
        horizon = self._xid(answer.horizon)
        if horizon is not None and following.changes.permits(answer.nodes, horizon):
            return True
        # It has seen all that was known when it was asked for, whatever its horizon.
        return consistency.is_full and not following.changes.has_named(answer.nodes, since=asked.mark)

    def keep(self, key: Key, asked: Asked, generation: int) -> None:
        """Keep an answer, if it may be."""
        answer = asked.answer
        if not isinstance(answer, CheckAnswer):
            return
        horizon = self._xid(answer.horizon)
        if horizon is None:
            return
        remaining = answer.remaining_lifetime
        self.decisions.put(
            key,
            answer,
            generation=generation,
            nodes=answer.nodes,
            horizon=horizon,
            size=sum(map(len, key)),
            # From before it was asked for: it must not live longer here than on the server.
            until=asked.asked_at + remaining.total_seconds() if remaining is not None else None,
        )

    def token_stands(self, nodes: Sequence[int], revision: str) -> bool:
        """Whether nothing that a token depends on has changed since its revision, as far as can be known here."""
        xid = self._xid(revision)
        return xid is not None and self.following.token_changes.permits(nodes, xid)

    def keep_token(
        self, key: Key | str, token: Token, nodes: Sequence[int], revision: str, *, generation: int, horizon: int
    ) -> None:
        """Keep a token that was found good; `generation` and `horizon` are those of before it was looked at.

        Threat: a key that leaked signs a token of a revision in the future, by which it would stand for ever once it is
        kept, also when its key is withdrawn. So none is kept as of later than what has been heard.
        """
        xid = self._xid(revision)
        if xid is not None:
            horizon = min(xid, horizon)
            self.tokens.put(key, token, generation=generation, nodes=nodes, horizon=horizon, size=_TOKEN_BYTES)

    def _xid(self, revision: str | None) -> int | None:
        """The transaction id of a revision, or of a horizon, if it is of the history that is followed."""
        parsed = parse_revision(revision or "")
        return parsed[1] if parsed is not None and parsed[0] == self.following.epoch else None

    def keys_may_have_changed(self) -> bool:
        """Whether the signing keys may be others than those at hand.

        Threat: a key that leaked signs tokens of any content, also of a revision in the future, so that no revocation
        of a session reaches them. Only its own does.
        """
        mark = self.following.token_changes.count
        if self.keys_mark >= 0 and not self.following.token_changes.has_named(
            (node(SIGNING_KEYS),), since=self.keys_mark
        ):
            self.keys_mark = mark
            return False
        return True

    def status(self, line: Line) -> FeedStatus:
        """How it does."""
        now, following = self.clock(), self.following
        return FeedStatus(
            connected=line.connected,
            fresh=now < following.fresh_until,
            staleness_seconds=now - following.proven,
            round_trip_seconds=following.round_trip,
            hits=self.hits,
            misses=self.misses,
            entries=self.decisions.entries + self.tokens.entries,
            bytes=self.decisions.bytes + self.tokens.bytes,
            reconnects=max(0, line.reconnects),
            resynchronizations=following.resynchronizations,
            changes=following.changes.count,
            problem=line.problem,
        )


def refusal(reason: "tokens_pb2.InactiveReason.ValueType") -> TokenError:
    """The error for a token that the server does not take."""
    if reason == tokens_pb2.INACTIVE_REASON_EXPIRED:
        return TokenExpiredError("The access token has expired.")
    if reason == tokens_pb2.INACTIVE_REASON_WRONG_AUDIENCE:
        return TokenAudienceMismatchError("The access token is for other audiences.")
    if reason == tokens_pb2.INACTIVE_REASON_ACCOUNT_DISABLED:
        return TokenRevokedError("The account of the access token is suspended or deleted.")
    return TokenRevokedError("The access token has been taken back: its session or its signing key has ended.")


def denied(relation: str, object_: str, answer: CheckAnswer) -> AccessDeniedError:
    """The error of `require`."""
    text = "The subject does not have the relation to the object."
    if answer.missing_context:
        text = (
            f"Whether the subject has the relation hangs on {', '.join(answer.missing_context)}: pass them as context."
        )
    return AccessDeniedError(text, reason="ACCESS_DENIED", metadata={"relation": relation, "object": object_})


def unanswered(error: CheckError) -> WatchwordError:
    """The error for a question that has no answer."""
    kind = ERRORS.get(error.reason, InternalError)
    return kind(error.message, reason=error.reason)
