"""Known devices: what a device gets at a sign-in, to be told from an attacker's at the next one.

A device token opens nothing and the server keeps nothing of it: it is the server's word, under a MAC, that somebody
signed in with that device, as that user, by that identifier, at that time. Threats: one made up, one of another user or
identifier (the MAC covers both), one copied long ago (it expires), and many collected by somebody who knew the
password once, each with a count of failures of its own (a new password makes all devices unknown).
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from watchword.server.identifiers import Clock, Randomness
from watchword.server.sealing import Keyring
from watchword.server.storage.credentials import Credential
from watchword.server.tokens import decode, encode

_PREFIX: Final = "wwd_"
_PURPOSE: Final = "device_tokens"
_ID_BYTES: Final = 16
_TIME_BYTES: Final = 8
_BODY_BYTES: Final = _ID_BYTES + 16 + _TIME_BYTES
_MAC_BYTES: Final = 16
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """A device on which a user has signed in."""

    device_id: bytes = field(repr=False)
    user_id: UUID
    issue_time: datetime

    def is_of(self, credential: Credential | None) -> bool:
        """Whether that is the user's password still by which the device became known."""
        return (
            credential is not None and credential.user_id == self.user_id and credential.update_time <= self.issue_time
        )


@dataclass(frozen=True, slots=True)
class DeviceTokens:
    """Makes and recognises device tokens."""

    keyring: Keyring
    randomness: Randomness
    clock: Clock
    lifetime: timedelta

    def issue(self, user_id: UUID, identifier: str, known: KnownDevice | None) -> str:
        """Make the token of a device: a known one keeps its id, so that there is one count of failures for it."""
        if not self.lifetime:
            return ""
        device_id = known.device_id if known else self.randomness(_ID_BYTES)
        body = device_id + user_id.bytes + ((self.clock() - _EPOCH) // _TICK).to_bytes(_TIME_BYTES)
        mac = self.keyring.mac(_PURPOSE, body + identifier.encode(), _MAC_BYTES)
        return _PREFIX + encode(body + mac)

    def read(self, token: str, identifier: str) -> KnownDevice | None:
        """Recognise a token of this deployment that was issued for an identifier and has not expired."""
        if not self.lifetime or not token.startswith(_PREFIX):
            return None
        try:
            value = decode(token.removeprefix(_PREFIX))
        except ValueError:
            return None
        body, mac = value[:_BODY_BYTES], value[_BODY_BYTES:]
        if len(mac) != _MAC_BYTES:
            return None
        if not self.keyring.verify_mac(_PURPOSE, body + identifier.encode(), _MAC_BYTES, mac=mac):
            return None
        issue_time = _EPOCH + int.from_bytes(body[-_TIME_BYTES:]) * _TICK
        if self.clock() >= issue_time + self.lifetime:
            return None
        return KnownDevice(body[:_ID_BYTES], UUID(bytes=body[_ID_BYTES : _ID_BYTES + 16]), issue_time)
