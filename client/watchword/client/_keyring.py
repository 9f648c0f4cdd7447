"""Which signing keys a client knows, and when it has to ask for them.

Plain synchronous state, told the time and told the keys; both clients drive it with their own I/O.
"""

from collections.abc import Callable

from watchword.client.models import SigningKeys
from watchword.client.verifier import Verifier, check_skew, parse_jwks

UNKNOWN_KEY_INTERVAL = 10.0
"""Seconds between two questions that tokens with unknown keys may cause: anybody can make up such tokens."""


class KeyRing:
    """The signing keys of one deployment."""

    def __init__(self, *, clock: Callable[[], float], skew_seconds: float) -> None:
        check_skew(skew_seconds)
        self._clock = clock
        self._skew_seconds = skew_seconds
        self._verifier: Verifier | None = None
        self._good_until = 0.0
        self._next_unknown_key = 0.0
        self._not_before = 0.0

    def expire(self, now: float) -> None:
        """Use the keys no longer, nor any that were asked for until now: one of them may have been withdrawn."""
        self._not_before = now
        self._good_until = 0.0

    def current(self, now: float) -> Verifier | None:
        """The verifier, unless its keys are older than the server lets them be kept.

        `now` is monotonic. There is no grace: a key that leaked may have been withdrawn in the meantime.
        """
        return self._verifier if now < self._good_until else None

    def may_ask_for_unknown_key(self, now: float) -> bool:
        """Whether an unknown key is a reason to ask for the keys again; if so, the next time is put off."""
        if now < self._next_unknown_key:
            return False
        self._next_unknown_key = now + UNKNOWN_KEY_INTERVAL
        return True

    def load(self, keys: SigningKeys, *, asked_at: float) -> Verifier | None:
        """Take new keys, which are as old as the question that was answered with them; None if that is too old."""
        if asked_at < self._not_before:
            return None
        verifier = Verifier(
            keys=parse_jwks(keys.jwks),
            issuer=keys.issuer,
            default_audience=keys.default_audience,
            clock=self._clock,
            skew_seconds=self._skew_seconds,
        )
        self._verifier = verifier
        self._good_until = asked_at + keys.max_age.total_seconds()
        return verifier
