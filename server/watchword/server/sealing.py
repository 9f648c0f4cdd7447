"""Secrets at rest: everything that the database must hold and its readers must not.

Hides which cipher is used, how keys are derived and what a sealed value looks like. A copy of the database, or the
right to write to it, must yield no secret and must not let anyone move one: a sealed value opens only under its
master key, for its purpose and in its place (the context, such as "signing_keys/<kid>/private_key").

A sealed value is AES-256-GCM (NIST SP 800-38D):

    version (1 byte, 1) | length of key id (1 byte) | key id | nonce (12 bytes) | ciphertext and tag

The header and the context are authenticated along with the content. Each purpose has its own key, derived from the
master key by HKDF-SHA256 (RFC 5869). Nonces are random, so one purpose may seal 2^32 values under one master key.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache, lru_cache
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from watchword.server.identifiers import Randomness

KEY_BYTES: Final = 32

_VERSION: Final = 1
_NONCE_BYTES: Final = 12
_PURPOSES: Final = 64
"""Whose keys are kept."""
_TAG_BYTES: Final = 16
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")


class KeyringError(Exception):
    """The text of the master keys is not what it should be. Names the entry by its place, never by its content."""


class SealBroken(Exception):
    """A sealed value was changed, moved to another place, or is none."""

    def __init__(self) -> None:
        super().__init__("A sealed value does not open: it was changed, moved from its place, or sealed otherwise.")


class UnknownMasterKey(Exception):
    """A value is sealed under a master key that this process does not have."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f'A value is sealed under the master key "{key_id}", which is not among the configured ones.')
        self.key_id = key_id


def new_person_key(randomness: Randomness) -> bytes:
    """Make the key under which one person's values are sealed. Destroying it erases them."""
    return randomness(KEY_BYTES)


class Sealer:
    """Seals and opens values of one purpose."""

    __slots__ = ("_cipher", "_key_id", "_randomness")

    def __init__(self, cipher: Callable[[str], AESGCM], *, key_id: str, randomness: Randomness) -> None:
        self._cipher = cipher
        self._key_id = key_id
        self._randomness = randomness

    @classmethod
    def from_key(cls, key: bytes, *, randomness: Randomness) -> Self:
        """Make a sealer of one raw key of 32 bytes, such as a person's."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        own = AESGCM(key)

        def cipher(key_id: str) -> AESGCM:
            if key_id:
                raise SealBroken
            return own

        return cls(cipher, key_id="", randomness=randomness)

    def __repr__(self) -> str:
        return f"Sealer(key_id={self._key_id!r})"

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Seal a value for its place: it opens with the same context only."""
        header = bytes((_VERSION, len(self._key_id))) + self._key_id.encode()
        nonce = self._randomness(_NONCE_BYTES)
        return header + nonce + self._cipher(self._key_id).encrypt(nonce, plaintext, header + context.encode())

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """Open a sealed value.

        Raises:
            SealBroken: it is not, byte for byte, what was sealed for this purpose and context.
            UnknownMasterKey: the key it was sealed under is not on the ring.

        """
        key_id, header_bytes = _read_header(sealed)
        header, nonce_end = sealed[:header_bytes], header_bytes + _NONCE_BYTES
        nonce, content = sealed[header_bytes:nonce_end], sealed[nonce_end:]
        if len(content) < _TAG_BYTES:
            raise SealBroken
        try:
            return self._cipher(key_id).decrypt(nonce, content, header + context.encode())
        except InvalidTag:
            raise SealBroken from None


def _read_header(sealed: bytes) -> tuple[str, int]:
    """Give the key's id and the number of bytes of the header."""
    if len(sealed) < 2 or sealed[0] != _VERSION:  # noqa: PLR2004
        raise SealBroken
    end = 2 + sealed[1]
    key_id = sealed[2:end].decode("ascii", "replace")
    # The id goes into an error's text: a tampered one must not.
    if key_id and not _KEY_ID.fullmatch(key_id):
        raise SealBroken
    return key_id, end


class Keyring:
    """The master keys: the first one seals, all of them open.

    To rotate, first add the new key at the end on every server, then move it to the front; keep the old one for as
    long as anything is sealed under it.
    """

    __slots__ = ("_derive", "_keys", "_primary", "_randomness")

    def __init__(self, keys: Mapping[str, bytes], *, randomness: Randomness) -> None:
        # The first step of HKDF, without a salt, is the same for all purposes and taken once.
        self._keys = {key_id: hmac.digest(bytes(KEY_BYTES), key, "sha256") for key_id, key in keys.items()}
        self._primary = next(iter(self._keys))
        self._randomness = randomness
        # Most purposes are always the same ones; of answers each call has its own.
        self._derive = lru_cache(_PURPOSES)(self._derived)

    @staticmethod
    def generate(randomness: Randomness) -> str:
        """Make one new master key, as an entry of the text that `parse` reads. The caller must keep it secret."""
        return f"{randomness(4).hex()}:{base64.b64encode(randomness(KEY_BYTES)).decode()}"

    @classmethod
    def parse(cls, text: str, *, randomness: Randomness) -> Self:
        """Read master keys, one a line or separated by commas: `<id>:<base64 of 32 bytes>`, the sealing one first.

        Raises:
            KeyringError: there is none, or an entry is malformed or repeats an id.

        """
        keys: dict[str, bytes] = {}
        for number, entry in enumerate(filter(None, map(str.strip, re.split(r"[,\n]", text))), start=1):
            key_id, key = _parse_entry(entry, number)
            if key_id in keys:
                raise KeyringError(f"Master key {number} has the id of one before it: ids are unique.")
            keys[key_id] = key
        if not keys:
            raise KeyringError("There is no master key: expected at least one <id>:<base64 of 32 bytes>.")
        return cls(keys, randomness=randomness)

    def __repr__(self) -> str:
        return f"Keyring(ids={list(self._keys)!r})"

    def sealer(self, purpose: str) -> Sealer:
        """Give the sealer of a purpose. What one purpose sealed, no other opens."""

        @cache  # an import seals a thousand values
        def cipher(key_id: str) -> AESGCM:
            if not key_id:
                raise SealBroken
            return AESGCM(self._derive(key_id, f"seal/{purpose}"))

        return Sealer(cipher, key_id=self._primary, randomness=self._randomness)

    def mac(self, purpose: str, message: bytes, length: int) -> bytes:
        """Compute a MAC of 16 to 64 bytes (BLAKE2b, RFC 7693, keyed) under the sealing key."""
        return self._mac(self._primary, purpose, message, length)

    def macs(self, purpose: str, message: bytes, length: int) -> list[bytes]:
        """Compute the same under every key of the ring, the sealing one first: to look up what `mac` named before."""
        return [self._mac(key_id, purpose, message, length) for key_id in self._keys]

    def verify_mac(self, purpose: str, message: bytes, length: int, *, mac: bytes) -> bool:
        """Tell whether `mac` was made by `mac()` with the same arguments, under any key of the ring."""
        return _any(hmac.compare_digest(self._mac(key_id, purpose, message, length), mac) for key_id in self._keys)

    def _mac(self, key_id: str, purpose: str, message: bytes, length: int) -> bytes:
        if not 16 <= length <= 64:  # noqa: PLR2004
            raise ValueError("a MAC has 16 to 64 bytes")
        return hashlib.blake2b(message, key=self._derive(key_id, f"mac/{purpose}"), digest_size=length).digest()

    def _derived(self, key_id: str, info: str) -> bytes:
        try:
            extracted = self._keys[key_id]
        except KeyError:
            raise UnknownMasterKey(key_id) from None
        # The second step of HKDF (RFC 5869): of as many bytes as SHA-256 gives there is one block, which is one HMAC.
        return hmac.digest(extracted, f"watchword/{info}".encode() + b"\x01", "sha256")


def _any(results: Iterable[bool]) -> bool:
    """Like `any`, but looks at every result, so that the time does not tell which key matched."""
    return sum(results) > 0


def _parse_entry(entry: str, number: int) -> tuple[str, bytes]:
    key_id, _, encoded = entry.partition(":")
    if not _KEY_ID.fullmatch(key_id):
        raise KeyringError(f'Master key {number} has no good id: 1 to 32 letters, digits, "_" or "-", then ":".')
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    # Standard base64 of 32 bytes has spare bits; a text that uses them is damaged.
    if len(key) != KEY_BYTES or base64.b64encode(key).decode() != encoded:
        raise KeyringError(f"Master key {number} is not <id>:<base64 of 32 bytes>.")
    return key_id, key
