"""Names of things: ids, object names and nodes."""

import hashlib
import uuid
from collections.abc import Callable
from datetime import datetime

Clock = Callable[[], datetime]
"""Gives the time, aware and in UTC."""

Randomness = Callable[[int], bytes]
"""Gives so many bytes that nobody can guess."""


def uuid7(now: datetime, randomness: Randomness) -> uuid.UUID:
    """Make a UUID of version 7 (RFC 9562): it sorts by the millisecond in which it was made."""
    milliseconds = int(now.timestamp() * 1000)
    number = (milliseconds << 80) | int.from_bytes(randomness(10))
    number = (number & ~(0xF << 76)) | (7 << 76)
    number = (number & ~(0x3 << 62)) | (2 << 62)
    return uuid.UUID(int=number)


def node(name: str) -> int:
    """Hash the name of a node, such as "session:0191…", to the 64 bits under which events and answers carry it.

    Defined in tokens.proto (IntrospectTokenResponse.nodes): callers compute the same.
    """
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), signed=True)


def user_object(user_id: uuid.UUID) -> str:
    """Name a user as permissions, tokens and events do."""
    return f"user:{user_id}"


def service_object(service_account_id: str) -> str:
    """Name a service account."""
    return f"service:{service_account_id}"


def session_object(session_id: uuid.UUID) -> str:
    """Name a session."""
    return f"session:{session_id}"


def key_object(key_id: uuid.UUID) -> str:
    """Name an API key."""
    return f"key:{key_id}"


def organization_object(organization_id: str) -> str:
    """Name an organization."""
    return f"organization:{organization_id}"


def group_object(group_id: str) -> str:
    """Name a group."""
    return f"group:{group_id}"


PERMISSION_MODEL = "permission_model"
"""The node of the permission model in force."""

SIGNING_KEYS = "signing_keys"
"""The node of the set of keys that sign access tokens."""
