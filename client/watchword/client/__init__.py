"""The SDK of Watchword, which answers who is calling, and whether they may.

The names below are all there is for callers; modules that begin with an underscore may change at any time.
They are loaded when one of them is first used, since pytest imports this package in every run to find the
plugin in `watchword.client.testing`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from watchword.client._async.client import AsyncClient
    from watchword.client._sync.client import Client
    from watchword.client._transport import TLS
    from watchword.client.errors import (
        AbortedError,
        AlreadyExistsError,
        ApiKeyInvalidError,
        ClientClosedError,
        ConflictError,
        CurrentPasswordWrongError,
        DatabaseUnavailableError,
        DeadlineExceededError,
        EtagMismatchError,
        FailedPreconditionError,
        FieldViolation,
        InternalError,
        InvalidArgumentError,
        InvalidPageTokenError,
        KeyEndedError,
        MalformedRequestError,
        NotFoundError,
        OnBehalfOfInvalidError,
        PasswordRefusedError,
        PermissionDeniedError,
        RefreshTokenInvalidError,
        RefreshTokenReusedError,
        RequestIdReusedError,
        ResourceExhaustedError,
        ServerBusyError,
        ShuttingDownError,
        SignInIncompleteError,
        SignInRefusedError,
        TokenAudienceMismatchError,
        TokenError,
        TokenExpiredError,
        TokenIssuerMismatchError,
        TokenKeyUnknownError,
        TokenMalformedError,
        TokenNotYetValidError,
        TokenSignatureInvalidError,
        UnauthenticatedError,
        UnavailableError,
        WatchwordError,
        WrongStatusError,
    )
    from watchword.client.models import (
        UNSET,
        CreatedKey,
        Credential,
        CredentialKind,
        Device,
        InactiveReason,
        Introspection,
        Key,
        Page,
        Principal,
        RotatedKey,
        RotatedSigningKey,
        ServiceAccount,
        ServiceAccountStatus,
        Session,
        SessionEndReason,
        SessionTokens,
        SigningKeys,
        TokenKind,
        Unset,
        User,
        UserBatch,
        UserStatus,
    )

__all__ = [
    "TLS",
    "UNSET",
    "AbortedError",
    "AlreadyExistsError",
    "ApiKeyInvalidError",
    "AsyncClient",
    "Client",
    "ClientClosedError",
    "ConflictError",
    "CreatedKey",
    "Credential",
    "CredentialKind",
    "CurrentPasswordWrongError",
    "DatabaseUnavailableError",
    "DeadlineExceededError",
    "Device",
    "EtagMismatchError",
    "FailedPreconditionError",
    "FieldViolation",
    "InactiveReason",
    "InternalError",
    "Introspection",
    "InvalidArgumentError",
    "InvalidPageTokenError",
    "Key",
    "KeyEndedError",
    "MalformedRequestError",
    "NotFoundError",
    "OnBehalfOfInvalidError",
    "Page",
    "PasswordRefusedError",
    "PermissionDeniedError",
    "Principal",
    "RefreshTokenInvalidError",
    "RefreshTokenReusedError",
    "RequestIdReusedError",
    "ResourceExhaustedError",
    "RotatedKey",
    "RotatedSigningKey",
    "ServerBusyError",
    "ServiceAccount",
    "ServiceAccountStatus",
    "Session",
    "SessionEndReason",
    "SessionTokens",
    "ShuttingDownError",
    "SignInIncompleteError",
    "SignInRefusedError",
    "SigningKeys",
    "TokenAudienceMismatchError",
    "TokenError",
    "TokenExpiredError",
    "TokenIssuerMismatchError",
    "TokenKeyUnknownError",
    "TokenKind",
    "TokenMalformedError",
    "TokenNotYetValidError",
    "TokenSignatureInvalidError",
    "UnauthenticatedError",
    "UnavailableError",
    "Unset",
    "User",
    "UserBatch",
    "UserStatus",
    "WatchwordError",
    "WrongStatusError",
]

_MODULES = ("errors", "models", "_transport", "_async.client", "_sync.client")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for module in _MODULES:
        members = vars(import_module(f"{__name__}.{module}"))
        for public in members.keys() & set(__all__):
            value = globals()[public] = members[public]
            if isinstance(value, type):
                value.__module__ = __name__  # the name that callers know, also in tracebacks and pickles
    return globals()[name]


def __dir__() -> list[str]:
    return __all__
