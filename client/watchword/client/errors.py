"""Every way in which the SDK fails.

    WatchwordError
    ├── InvalidArgumentError           a field breaks its rules: see field_violations
    │   ├── MalformedRequestError
    │   ├── RequestTooLargeError       metadata["limit"] says how many bytes are taken
    │   ├── ModelInvalidError          field_violations says where, such as "dsl:3:12"
    │   ├── ConditionFailedError
    │   ├── InvalidPageTokenError
    │   ├── PasswordRefusedError       metadata["rule"] says why
    │   └── RequestIdReusedError
    ├── UnauthenticatedError
    │   ├── ApiKeyInvalidError         this client's own API key
    │   ├── OnBehalfOfInvalidError
    │   ├── SignInRefusedError
    │   ├── RefreshTokenInvalidError
    │   ├── RefreshTokenReusedError
    │   └── CurrentPasswordWrongError
    ├── PermissionDeniedError          metadata["permission"] says which one is missing
    │   └── AccessDeniedError          the user lacks metadata["relation"] to metadata["object"]
    ├── NotFoundError
    ├── AlreadyExistsError             metadata["field"] says which value is taken
    ├── AbortedError
    │   ├── EtagMismatchError
    │   └── ConflictError
    ├── FailedPreconditionError
    │   ├── WrongStatusError
    │   ├── KeyEndedError
    │   ├── InvitationInvalidError
    │   ├── LastOwnerError
    │   ├── PreconditionFailedError    metadata["index"] says which one, counted from 0
    │   ├── ModelOrphansError          metadata["count"] says how many relationships do not fit
    │   ├── ModelLacksRelationError
    │   └── RevisionUnknownError
    ├── ResourceExhaustedError         retry_after says when to come back
    │   ├── ServerBusyError
    │   ├── SignInThrottledError       also if the password was right: it was not looked at
    │   └── ResolutionLimitError       metadata["limit"] is "depth", "work" or "time"
    ├── UnavailableError
    │   ├── DatabaseUnavailableError
    │   ├── ShuttingDownError
    │   └── FeedStaleError             the client was told to refuse rather than to ask
    ├── DeadlineExceededError
    ├── InternalError                  a mistake of the server or of the SDK
    ├── SignInIncompleteError          the server asks for a proof that this SDK cannot give
    ├── ClientClosedError
    └── TokenError                     an access token was refused
        ├── TokenMalformedError
        ├── TokenSignatureInvalidError
        │   └── TokenKeyUnknownError
        ├── TokenIssuerMismatchError
        ├── TokenAudienceMismatchError
        ├── TokenExpiredError
        ├── TokenNotYetValidError
        └── TokenRevokedError

A caller catches the widest class that it can act on. No text here holds a secret: not a key, a token or a
password, nor any part of one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of a request that breaks its rules."""

    field: str
    """The path of the field in the request, such as "user.email"."""
    description: str


class WatchwordError(Exception):
    """The root of all errors of the SDK."""

    default_code: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        request_id: str = "",
        field_violations: tuple[FieldViolation, ...] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        """The name of the canonical gRPC status code, such as "NOT_FOUND"."""
        self.reason = reason
        """The name of the server's `ErrorReason`; empty for what did not come from the server."""
        self.metadata = dict(metadata or {})
        """What the reason says about itself, see errors.proto."""
        self.request_id = request_id
        """The id under which the server logged the call; empty if there was none."""
        self.field_violations = field_violations
        self.retry_after = retry_after
        """How long to wait before trying again, if the server said so."""

    @property
    def retryable(self) -> bool:
        """Whether the same call may well succeed a little later.

        A repeated change is made once only if both calls carry the same `request_id`: pass your own to the
        method if you mean to repeat it.
        """
        return self.code == "UNAVAILABLE" or self.reason == "CONFLICT" or self.retry_after is not None

    def __str__(self) -> str:
        known = [self.reason or self.code, self.request_id and f"request {self.request_id}"]
        return f"{self.message} ({', '.join(filter(None, known))})"


class InvalidArgumentError(WatchwordError):
    """The request is wrong in itself; `field_violations` names the fields."""

    default_code = "INVALID_ARGUMENT"


class MalformedRequestError(InvalidArgumentError):
    """The server could not read the request: this SDK and the server disagree about the contract."""


class RequestTooLargeError(InvalidArgumentError):
    """The request has more bytes than the server takes."""


class ModelInvalidError(InvalidArgumentError):
    """The permission model cannot be used; `field_violations` names each mistake and its place."""


class ConditionFailedError(InvalidArgumentError):
    """A condition on which the answer hangs cannot be evaluated with the values given."""


class InvalidPageTokenError(InvalidArgumentError):
    """The page token does not belong to this listing. Start again without one."""


class PasswordRefusedError(InvalidArgumentError):
    """The new password is refused.

    `metadata["rule"]` is "too_short", "too_long", "common" or "personal".
    """


class RequestIdReusedError(InvalidArgumentError):
    """The `request_id` was used before for a different request."""


class UnauthenticatedError(WatchwordError):
    """Somebody is not who they say they are."""

    default_code = "UNAUTHENTICATED"


class ApiKeyInvalidError(UnauthenticatedError):
    """The client's API key is unknown, expired or revoked, or its service account is disabled."""


class OnBehalfOfInvalidError(UnauthenticatedError):
    """The access token given to `on_behalf_of` is not good, or not for this caller."""


class SignInRefusedError(UnauthenticatedError):
    """Unknown identifier, wrong password or an account that may not sign in; it is never said which."""


class RefreshTokenInvalidError(UnauthenticatedError):
    """The refresh token is unknown, or its session has ended. The user has to sign in again."""


class RefreshTokenReusedError(UnauthenticatedError):
    """The refresh token was used before. Its session has been ended, since a copy may be in other hands."""


class CurrentPasswordWrongError(UnauthenticatedError):
    """The current password given to `change_password` is wrong."""


class PermissionDeniedError(WatchwordError):
    """The client's API key lacks a permission; `metadata["permission"]` names it."""

    default_code = "PERMISSION_DENIED"


class AccessDeniedError(PermissionDeniedError):
    """The subject of `require`, or the user on whose behalf the call is made, lacks a relation."""


class NotFoundError(WatchwordError):
    """There is no such thing; `metadata` says of which type and, where one was given, with which id."""

    default_code = "NOT_FOUND"


class AlreadyExistsError(WatchwordError):
    """Another account has this value; `metadata["field"]` says which, such as "user.email"."""

    default_code = "ALREADY_EXISTS"


class AbortedError(WatchwordError):
    """The change collided with another one; nothing was changed."""

    default_code = "ABORTED"


class EtagMismatchError(AbortedError):
    """It has changed since the `etag` was read. Read it again."""


class ConflictError(AbortedError):
    """The change kept colliding with others and was given up. Try again."""


class FailedPreconditionError(WatchwordError):
    """Not in the present state of things."""

    default_code = "FAILED_PRECONDITION"


class WrongStatusError(FailedPreconditionError):
    """The account is in a status that does not allow this; `metadata["status"]` names it."""


class KeyEndedError(FailedPreconditionError):
    """The key is revoked, expired or already rotated."""


class InvitationInvalidError(FailedPreconditionError):
    """The invitation is unknown, expired, revoked or used."""


class LastOwnerError(FailedPreconditionError):
    """An organization keeps at least one owner."""


class PreconditionFailedError(FailedPreconditionError):
    """A precondition of the write does not hold; nothing was written."""


class ModelOrphansError(FailedPreconditionError):
    """Stored relationships do not fit the new permission model. Delete them, or set `allow_orphans`."""


class ModelLacksRelationError(FailedPreconditionError):
    """The permission model in force does not define what the call needs."""


class RevisionUnknownError(FailedPreconditionError):
    """The revision is of another history: the database was restored from a backup. Forget it."""


class ResourceExhaustedError(WatchwordError):
    """Too much is asked at a time."""

    default_code = "RESOURCE_EXHAUSTED"


class ServerBusyError(ResourceExhaustedError):
    """More passwords wait to be checked than the server takes at a time. Wait for `retry_after`."""


class SignInThrottledError(ResourceExhaustedError):
    """Too many sign-ins have failed. Until `retry_after` is over all are refused, with the right password too."""


class ResolutionLimitError(ResourceExhaustedError):
    """The answer lies beyond a limit: neither an allow nor a deny. Ask a narrower question."""


class UnavailableError(WatchwordError):
    """No server could be reached, also after several attempts."""

    default_code = "UNAVAILABLE"


class DatabaseUnavailableError(UnavailableError):
    """The server's database does not answer."""


class FeedStaleError(UnavailableError):
    """Nothing can be said without the server, and the client was told to refuse then (`when_stale="refuse"`)."""


class ShuttingDownError(UnavailableError):
    """The server is shutting down and no other one answered."""


class DeadlineExceededError(WatchwordError):
    """The answer did not come in time. A change may have been made all the same."""

    default_code = "DEADLINE_EXCEEDED"


class InternalError(WatchwordError):
    """A mistake of the server; `metadata["incident"]` is the id under which it logged the cause."""

    default_code = "INTERNAL"


class SignInIncompleteError(WatchwordError):
    """The server asks for a further proof that this version of the SDK does not know."""

    default_code = "FAILED_PRECONDITION"


class ClientClosedError(WatchwordError):
    """The client was used after it was closed, or it is an `AsyncClient` that was used before a fork."""

    default_code = "CANCELLED"


class TokenError(WatchwordError):
    """An access token is refused."""

    default_code = "UNAUTHENTICATED"


class TokenMalformedError(TokenError):
    """It is no access token of Watchword, whoever may have signed it."""


class TokenSignatureInvalidError(TokenError):
    """It was not signed by the key that it names."""


class TokenKeyUnknownError(TokenSignatureInvalidError):
    """It names a key that is not, or no longer, among the deployment's signing keys."""


class TokenIssuerMismatchError(TokenError):
    """It comes from another deployment."""


class TokenAudienceMismatchError(TokenError):
    """It is for other services."""


class TokenExpiredError(TokenError):
    """Its time is over."""


class TokenNotYetValidError(TokenError):
    """Its time has not come: the clocks of issuer and verifier differ."""


class TokenRevokedError(TokenError):
    """It has been taken back: its session, account or signing key has ended."""


# Looked up by reason, then by code. Where a reason has the name of a code both mean the same class.
ERRORS: Mapping[str, type[WatchwordError]] = MappingProxyType(
    {
        "INVALID_ARGUMENT": InvalidArgumentError,
        "INVALID_FIELD": InvalidArgumentError,
        "UNKNOWN_FIELD": InvalidArgumentError,
        "FIELD_OUTPUT_ONLY": InvalidArgumentError,
        "MALFORMED_REQUEST": MalformedRequestError,
        "REQUEST_TOO_LARGE": RequestTooLargeError,
        "MODEL_INVALID": ModelInvalidError,
        "CONDITION_FAILED": ConditionFailedError,
        "INVALID_PAGE_TOKEN": InvalidPageTokenError,
        "PASSWORD_REFUSED": PasswordRefusedError,
        "REQUEST_ID_REUSED": RequestIdReusedError,
        "UNAUTHENTICATED": UnauthenticatedError,
        "API_KEY_INVALID": ApiKeyInvalidError,
        "ON_BEHALF_OF_INVALID": OnBehalfOfInvalidError,
        "SIGN_IN_REFUSED": SignInRefusedError,
        "REFRESH_TOKEN_INVALID": RefreshTokenInvalidError,
        "REFRESH_TOKEN_REUSED": RefreshTokenReusedError,
        "CURRENT_PASSWORD_WRONG": CurrentPasswordWrongError,
        "PERMISSION_DENIED": PermissionDeniedError,
        "PERMISSION_MISSING": PermissionDeniedError,
        "ACCESS_DENIED": AccessDeniedError,
        "NOT_FOUND": NotFoundError,
        "ALREADY_EXISTS": AlreadyExistsError,
        "ABORTED": AbortedError,
        "ETAG_MISMATCH": EtagMismatchError,
        "CONFLICT": ConflictError,
        "FAILED_PRECONDITION": FailedPreconditionError,
        "WRONG_STATUS": WrongStatusError,
        "KEY_ENDED": KeyEndedError,
        "INVITATION_INVALID": InvitationInvalidError,
        "LAST_OWNER": LastOwnerError,
        "PRECONDITION_FAILED": PreconditionFailedError,
        "MODEL_ORPHANS": ModelOrphansError,
        "MODEL_LACKS_RELATION": ModelLacksRelationError,
        "REVISION_UNKNOWN": RevisionUnknownError,
        "RESOURCE_EXHAUSTED": ResourceExhaustedError,
        "SERVER_BUSY": ServerBusyError,
        "SIGN_IN_THROTTLED": SignInThrottledError,
        "RESOLUTION_LIMIT": ResolutionLimitError,
        "UNAVAILABLE": UnavailableError,
        # A server that stops cancels calls that it had not begun; the caller's own cancelling never gets here.
        "CANCELLED": UnavailableError,
        "DATABASE_UNAVAILABLE": DatabaseUnavailableError,
        "SHUTTING_DOWN": ShuttingDownError,
        "DEADLINE_EXCEEDED": DeadlineExceededError,
        "TIMED_OUT": DeadlineExceededError,
        "INTERNAL": InternalError,
    }
)
