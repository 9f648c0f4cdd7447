"""Verifies access tokens locally, and fetches the signing keys when there is no other way."""

import asyncio
import copy
import time
from collections.abc import Callable

from watchword.client import _convert
from watchword.client._async.connection import AsyncConnection
from watchword.client._keyring import KeyRing
from watchword.client._transport import PerProcess
from watchword.client.errors import TokenKeyUnknownError, WatchwordError
from watchword.client.models import Principal
from watchword.client.verifier import Verifier
from watchword.v1 import tokens_pb2


class AsyncKeys:
    """The signing keys of the deployment that a connection leads to."""

    def __init__(self, connection: AsyncConnection, *, clock: Callable[[], float], skew_seconds: float) -> None:
        self._connection = connection
        self._ring = KeyRing(clock=clock, skew_seconds=skew_seconds)
        self._locks = PerProcess(asyncio.Lock)
        self._questions = 0
        self._outcome: Verifier | WatchwordError | None = None

    async def verify(self, token: str, *, audience: str | None) -> Principal:
        """Verify with the keys at hand; ask for others if they are too old or the token's is not among them."""
        verifier = self._ring.current(time.monotonic()) or await self._fetch()
        try:
            return verifier.verify(token, audience=audience)
        except TokenKeyUnknownError:
            if not self._ring.may_ask_for_unknown_key(time.monotonic()):
                raise
        verifier = await self._fetch()
        return verifier.verify(token, audience=audience)

    async def _fetch(self) -> Verifier:
        """Ask for the keys. Those who come while a question is under way share its outcome, even a failure."""
        questions = self._questions
        async with self._locks.get():
            if self._questions == questions:
                self._outcome = await self._ask()
                self._questions += 1
            outcome = self._outcome
        if isinstance(outcome, Verifier):
            return outcome
        assert outcome is not None
        raise copy.copy(outcome) from outcome

    async def _ask(self) -> Verifier | WatchwordError:
        asked_at = time.monotonic()
        try:
            response = await self._connection.call(
                tokens_pb2.GetSigningKeysRequest(), tokens_pb2.GetSigningKeysResponse
            )
            return self._ring.load(_convert.signing_keys(response), asked_at=asked_at)
        except WatchwordError as error:
            return error
