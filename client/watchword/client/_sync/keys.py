# Made by client/make_sync.py from client/watchword/client/_async/keys.py: do not edit.
"""Verifies access tokens locally, and fetches the signing keys when there is no other way."""

import copy
import threading
import time
from collections.abc import Callable

from watchword.client import _convert
from watchword.client._keyring import KeyRing
from watchword.client._sync.connection import Connection
from watchword.client._transport import PerProcess
from watchword.client.errors import TokenKeyUnknownError, WatchwordError
from watchword.client.models import Principal
from watchword.client.verifier import Verifier
from watchword.v1 import tokens_pb2


class Keys:
    """The signing keys of the deployment that a connection leads to."""

    def __init__(self, connection: Connection, *, clock: Callable[[], float], skew_seconds: float) -> None:
        self._connection = connection
        self._ring = KeyRing(clock=clock, skew_seconds=skew_seconds)
        self._locks = PerProcess(threading.Lock)
        self._questions = 0
        self._failure: WatchwordError | None = None

    def renew(self) -> None:
        """Ask for the keys before they are used again: they have changed."""
        self._ring.expire(time.monotonic())

    def verify(self, token: str, *, audience: str | None) -> Principal:
        """Verify with the keys at hand; ask for others if they are too old or the token's is not among them."""
        verifier = self._ring.current(time.monotonic()) or self._fetch(beyond=None)
        try:
            return verifier.verify(token, audience=audience)
        except TokenKeyUnknownError:
            verifier = self._fetch(beyond=verifier)
        return verifier.verify(token, audience=audience)

    def _fetch(self, *, beyond: Verifier | None) -> Verifier:
        """Keys that are fresh and, if the server may be asked again so soon, not those of `beyond`.

        Those who come while a question is under way wait for its outcome and share it, even a failure: a server that
        is down is not asked once per waiting thread.
        """
        questions = self._questions
        with self._locks.get():
            now = time.monotonic()
            current = self._ring.current(now)
            if current is not None and (current is not beyond or not self._ring.may_ask_for_unknown_key(now)):
                return current
            if self._failure is None or self._questions == questions:
                outcome = self._ask()
                self._questions += 1
                self._failure = outcome if isinstance(outcome, WatchwordError) else None
            else:
                outcome = copy.copy(self._failure)
        if isinstance(outcome, WatchwordError):
            raise outcome
        return outcome

    def _ask(self) -> Verifier | WatchwordError:
        try:
            while True:
                asked_at = time.monotonic()
                response = self._connection.call(tokens_pb2.GetSigningKeysRequest(), tokens_pb2.GetSigningKeysResponse)
                verifier = self._ring.load(_convert.signing_keys(response), asked_at=asked_at)
                if verifier is not None:
                    return verifier
        except WatchwordError as error:
            return error
