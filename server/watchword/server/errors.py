"""Every way in which a call can fail, and what the caller is told.

Handlers raise one of these; only the outermost interceptor turns them into a `google.rpc.Status`. A class
owns its canonical code and its `ErrorReason`, so that neither is chosen twice. The text is for the person
who gets it: what was wrong and what to do; it never holds a secret, personal data or SQL.

    DomainError
    ├── InvalidField, MalformedRequest, RequestTooLarge, InvalidPageToken, UnknownField,
    │   FieldOutputOnly, PasswordRefused, RequestIdReused, ModelInvalid,
    │   ConditionUnresolved                                                 INVALID_ARGUMENT
    ├── ApiKeyInvalid, OnBehalfOfInvalid, SignInRefused, RefreshTokenInvalid,
    │   RefreshTokenReused, CurrentPasswordWrong                            UNAUTHENTICATED
    ├── PermissionMissing, AccessDenied                                     PERMISSION_DENIED
    ├── NotFound                                                            NOT_FOUND
    ├── AlreadyExists                                                       ALREADY_EXISTS
    ├── EtagMismatch, Conflict                                              ABORTED
    ├── WrongStatus, KeyEnded, InvitationInvalid, PreconditionFailed, ModelOrphans,
    │   ModelLacksRelation, RevisionUnknown, LastOwner                      FAILED_PRECONDITION
    ├── ServerBusy, SignInThrottled, ResolutionLimit                        RESOURCE_EXHAUSTED
    ├── DatabaseUnavailable, ShuttingDown                                   UNAVAILABLE
    ├── TimedOut                                                            DEADLINE_EXCEEDED
    └── InternalError                                                       INTERNAL
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from google.rpc.error_details_pb2 import BadRequest, PreconditionFailure

from watchword.v1 import errors_pb2

DOMAIN = "watchword"
# gRPC's clients take 8 KiB of metadata with an error for certain. Details come encoded as four bytes for each three,
# with the message in them, which comes once more beside them: an error with more is one that no caller can read.
_MAX_MESSAGE = 700
_MAX_DETAILS = 4_300


class DomainError(Exception):
    """A failure with a meaning to the caller."""

    code: ClassVar[code_pb2.Code]
    reason: ClassVar[errors_pb2.ErrorReason.ValueType]

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = metadata

    @classmethod
    def reason_name(cls) -> str:
        """The reason as it stands in ErrorInfo: the enum value's name without its prefix."""
        return errors_pb2.ErrorReason.Name(cls.reason).removeprefix("ERROR_REASON_")

    def to_status(self, request_id: str) -> status_pb2.Status:
        """The error as the caller gets it (AIP-193)."""
        status = status_pb2.Status(code=self.code, message=_cut(self.message))
        info = error_details_pb2.ErrorInfo(
            reason=self.reason_name(), domain=DOMAIN, metadata={**self.metadata, "request_id": request_id}
        )
        status.details.add().Pack(info)
        self._add_details(status)
        return status

    def _add_details(self, status: status_pb2.Status) -> None:
        """Further details that a kind of error carries."""


def _cut(text: str) -> str:
    """Cut a text that is too long, as gRPC sends it: with three bytes for each one that is not ASCII."""
    size = 0
    for index, sign in enumerate(text):
        size += 1 if " " <= sign <= "~" and sign != "%" else 3 * len(sign.encode())
        if size > _MAX_MESSAGE:
            return f"{text[:index]}…"
    return text


def _add_as_many_as_fit(status: status_pb2.Status, details: BadRequest | PreconditionFailure, rows: Any) -> None:
    """Add a kind of details row by row, until they are too many bytes."""
    kind = details.field_violations if isinstance(details, BadRequest) else details.violations
    left = _MAX_DETAILS - sum(detail.ByteSize() for detail in status.details)
    for row in rows:
        left -= sum(len(text.encode()) + 4 for text in row.values()) + 4
        if left < 0:
            break
        kind.add(**row)
    status.details.add().Pack(details)


def _summary(violations: Sequence[tuple[str, str]]) -> str:
    first, description = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    return f"{first}: {_cut(description)}{more}"


def _add_bad_request(status: status_pb2.Status, violations: Sequence[tuple[str, str]]) -> None:
    rows = [{"field": field, "description": _cut(description)} for field, description in violations]
    _add_as_many_as_fit(status, BadRequest(), rows)


class InvalidField(DomainError):
    """Fields break their rules: pairs of a field's path and what is wrong with it."""

    code = code_pb2.INVALID_ARGUMENT
    reason = errors_pb2.ERROR_REASON_INVALID_FIELD

    def __init__(self, violations: Sequence[tuple[str, str]]) -> None:
        super().__init__(_summary(violations), field=violations[0][0])
        self.violations = tuple(violations)

    def _add_details(self, status: status_pb2.Status) -> None:
        _add_bad_request(status, self.violations)


class MalformedRequest(DomainError):
    """The bytes are not the request message."""

    code = code_pb2.INVALID_ARGUMENT
    reason = errors_pb2.ERROR_REASON_MALFORMED_REQUEST

    def __init__(self) -> None:
        super().__init__("The bytes received are not an encoding of this RPC's request message.")


class RequestTooLarge(DomainError):
    """The request has more bytes than its RPC takes."""

    code = code_pb2.INVALID_ARGUMENT
    reason = errors_pb2.ERROR_REASON_REQUEST_TOO_LARGE

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The request is too large: this RPC takes at most {limit:,} bytes. Send it in parts.", limit=str(limit)
        )


class ModelInvalid(DomainError):
    """A permission model cannot be used: pairs of a place and what is wrong there."""

    code = code_pb2.INVALID_ARGUMENT
    reason = errors_pb2.ERROR_REASON_MODEL_INVALID

    def __init__(self, violations: Sequence[tuple[str, str]]) -> None:
        super().__init__(_summary(violations), field=violations[0][0])
        self.violations = tuple(violations)

    def _add_details(self, status: status_pb2.Status) -> None:
        _add_bad_request(status, self.violations)


class ConditionUnresolved(DomainError):
    """A condition on which an answer hangs cannot be evaluated."""

    code = code_pb2.INVALID_ARGUMENT
    reason = errors_pb2.ERROR_REASON_CONDITION_FAILED


class InvalidPageToken(DomainError):
    """The page token is not ours, or belongs to another query."""

    code = code_pb2.INVALID_ARGUMENT
    reason = errors_pb2.ERROR_REASON_INVALID_PAGE_TOKEN

    def __init__(self, field: str = "page_token") -> None:
        super().__init__(
            f"{field} does not belong to this query. Keep all other fields as they were, or start without one.",
            field=field,
        )


class UnknownField(DomainError):
    """An update mask names what is not there."""

    code = code_pb2.INVALID_ARGUMENT
    reason = errors_pb2.ERROR_REASON_UNKNOWN_FIELD

    def __init__(self, field: str) -> None:
        super().__init__("update_mask names a field that cannot be updated because it does not exist.", field=field)


class FieldOutputOnly(DomainError):
    """An update mask names what only the server sets."""

    code = code_pb2.INVALID_ARGUMENT
    reason = errors_pb2.ERROR_REASON_FIELD_OUTPUT_ONLY

    def __init__(self, field: str) -> None:
        super().__init__(f"update_mask names {field}, which only the server sets.", field=field)


class PasswordRefused(DomainError):
    """A new password breaks a rule: too_short, too_long, common or personal."""

    code = code_pb2.INVALID_ARGUMENT
    reason = errors_pb2.ERROR_REASON_PASSWORD_REFUSED

    TEXTS: ClassVar[dict[str, str]] = {
        "too_short": "The password is too short: use at least 8 characters.",
        "too_long": "The password is too long: use at most 256 characters.",
        "common": "The password is on a list of common passwords, or as easy to guess: choose another one.",
        "personal": "The password is made of the user's own name or address: choose another one.",
    }

    def __init__(self, rule: str) -> None:
        super().__init__(self.TEXTS[rule], rule=rule)
        self.rule = rule


class RequestIdReused(DomainError):
    """An idempotency key came back with another request."""

    code = code_pb2.INVALID_ARGUMENT
    reason = errors_pb2.ERROR_REASON_REQUEST_ID_REUSED

    def __init__(self) -> None:
        super().__init__("request_id was used before for a different request: use a new one.", field="request_id")


class ApiKeyInvalid(DomainError):
    """The calling service has not proved who it is. One text for all causes: it must not help a guesser."""

    code = code_pb2.UNAUTHENTICATED
    reason = errors_pb2.ERROR_REASON_API_KEY_INVALID

    def __init__(self) -> None:
        super().__init__('No valid API key. Send metadata "authorization: Bearer <API key>".')


class OnBehalfOfInvalid(DomainError):
    """The user's access token in "on-behalf-of" proves nothing to this caller."""

    code = code_pb2.UNAUTHENTICATED
    reason = errors_pb2.ERROR_REASON_ON_BEHALF_OF_INVALID

    def __init__(self) -> None:
        super().__init__('The access token in "on-behalf-of" is not good, or not for this caller.')


class SignInRefused(DomainError):
    """The same words whatever the cause, so that nobody learns which accounts exist."""

    code = code_pb2.UNAUTHENTICATED
    reason = errors_pb2.ERROR_REASON_SIGN_IN_REFUSED

    def __init__(self) -> None:
        super().__init__("The sign-in is refused: check the identifier and the password.")


class RefreshTokenInvalid(DomainError):
    """The refresh token leads to no living session."""

    code = code_pb2.UNAUTHENTICATED
    reason = errors_pb2.ERROR_REASON_REFRESH_TOKEN_INVALID

    def __init__(self) -> None:
        super().__init__("The refresh token is not good any longer: sign in again.")


class RefreshTokenReused(DomainError):
    """A refresh token came a second time; its session is ended."""

    code = code_pb2.UNAUTHENTICATED
    reason = errors_pb2.ERROR_REASON_REFRESH_TOKEN_REUSED

    def __init__(self) -> None:
        super().__init__("The refresh token was used before; its session has been ended. Sign in again.")


class CurrentPasswordWrong(DomainError):
    """The proof for a change of password failed."""

    code = code_pb2.UNAUTHENTICATED
    reason = errors_pb2.ERROR_REASON_CURRENT_PASSWORD_WRONG

    def __init__(self) -> None:
        super().__init__("The current password is wrong.")


class PermissionMissing(DomainError):
    """The caller's key may not do this."""

    code = code_pb2.PERMISSION_DENIED
    reason = errors_pb2.ERROR_REASON_PERMISSION_MISSING

    def __init__(self, permission: str) -> None:
        super().__init__(f'The API key lacks the permission "{permission}".', permission=permission)


class AccessDenied(DomainError):
    """The user on whose behalf a service calls lacks a relation."""

    code = code_pb2.PERMISSION_DENIED
    reason = errors_pb2.ERROR_REASON_ACCESS_DENIED

    def __init__(self, relation: str, object_: str) -> None:
        super().__init__(
            f"The user on whose behalf the call is made does not have '{relation}' to {object_}.",
            relation=relation,
            object=object_,
        )


class NotFound(DomainError):
    """There is no such thing. The id is echoed only where it is an id that the server made."""

    code = code_pb2.NOT_FOUND
    reason = errors_pb2.ERROR_REASON_NOT_FOUND

    def __init__(self, type_: str, id_: str | None = None) -> None:
        what = f"{type_.replace('_', ' ')}{f' {id_}' if id_ else ''}"
        super().__init__(f"There is no {what}.", type=type_, **({"id": id_} if id_ else {}))


class AlreadyExists(DomainError):
    """A value that must be unique is taken."""

    code = code_pb2.ALREADY_EXISTS
    reason = errors_pb2.ERROR_REASON_ALREADY_EXISTS

    def __init__(self, field: str) -> None:
        super().__init__(f"{field} is taken.", field=field)


class EtagMismatch(DomainError):
    """Somebody else was faster."""

    code = code_pb2.ABORTED
    reason = errors_pb2.ERROR_REASON_ETAG_MISMATCH

    def __init__(self) -> None:
        super().__init__(
            "The etag is not the current one: read the resource again and repeat the change.", field="etag"
        )


class Conflict(DomainError):
    """Serialization failures or deadlocks beyond the number of tries."""

    code = code_pb2.ABORTED
    reason = errors_pb2.ERROR_REASON_CONFLICT

    def __init__(self) -> None:
        super().__init__("The change kept colliding with others and was not made: try again.")


class WrongStatus(DomainError):
    """The account's status does not allow this."""

    code = code_pb2.FAILED_PRECONDITION
    reason = errors_pb2.ERROR_REASON_WRONG_STATUS

    def __init__(self, type_: str, id_: str, status: str) -> None:
        super().__init__(f"The {type_.replace('_', ' ')} {id_} is {status}.", type=type_, id=id_, status=status)


class KeyEnded(DomainError):
    """A key that no longer works cannot be rotated."""

    code = code_pb2.FAILED_PRECONDITION
    reason = errors_pb2.ERROR_REASON_KEY_ENDED

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"The key {key_id} is revoked, expired or already rotated: create a new one.", type="key", id=key_id
        )


class InvitationInvalid(DomainError):
    """An invitation cannot be accepted (any longer); it is not said why."""

    code = code_pb2.FAILED_PRECONDITION
    reason = errors_pb2.ERROR_REASON_INVITATION_INVALID

    def __init__(self) -> None:
        super().__init__("The invitation is unknown, expired, revoked or used: ask for a new one.")


class PreconditionFailed(DomainError):
    """A precondition of a write does not hold."""

    code = code_pb2.FAILED_PRECONDITION
    reason = errors_pb2.ERROR_REASON_PRECONDITION_FAILED

    def __init__(self, index: int, *, must_exist: bool) -> None:
        kind = "no relationship fits its filter" if must_exist else "a relationship fits its filter"
        super().__init__(f"preconditions[{index}] does not hold: {kind}. Nothing was written.", index=str(index))
        self._violation = (f"preconditions[{index}]", kind)

    def _add_details(self, status: status_pb2.Status) -> None:
        subject, description = self._violation
        rows = [{"type": "PRECONDITION", "subject": subject, "description": description}]
        _add_as_many_as_fit(status, PreconditionFailure(), rows)


class ModelOrphans(DomainError):
    """Stored relationships do not fit a new permission model: how many, and some of them."""

    code = code_pb2.FAILED_PRECONDITION
    reason = errors_pb2.ERROR_REASON_MODEL_ORPHANS

    def __init__(self, count: int, examples: Sequence[str]) -> None:
        super().__init__(
            f"{count:,} stored relationships do not fit the model, such as {', '.join(examples[:3])}. Delete them, or "
            "set allow_orphans: they are ignored then.",
            count=str(count),
        )
        self._examples = tuple(examples)

    def _add_details(self, status: status_pb2.Status) -> None:
        rows = [
            {"type": "ORPHAN", "subject": example, "description": "does not fit the model"}
            for example in self._examples
        ]
        _add_as_many_as_fit(status, PreconditionFailure(), rows)


class ModelLacksRelation(DomainError):
    """The permission model in force does not define what an RPC needs."""

    code = code_pb2.FAILED_PRECONDITION
    reason = errors_pb2.ERROR_REASON_MODEL_LACKS_RELATION

    def __init__(self, type_: str, relation: str) -> None:
        super().__init__(
            f"The permission model in force has no relation '{relation}' of a type '{type_}', which this RPC needs: "
            "add it, as in the starter model.",
            type=type_,
            relation=relation,
        )


class RevisionUnknown(DomainError):
    """A revision is of another history of the database."""

    code = code_pb2.FAILED_PRECONDITION
    reason = errors_pb2.ERROR_REASON_REVISION_UNKNOWN

    def __init__(self) -> None:
        super().__init__(
            "The revision is of another history of the database, which was restored from a backup since, or of another "
            "database: forget it."
        )


class LastOwner(DomainError):
    """An organization would be left without an owner."""

    code = code_pb2.FAILED_PRECONDITION
    reason = errors_pb2.ERROR_REASON_LAST_OWNER

    def __init__(self) -> None:
        super().__init__("The last owner of an organization cannot be removed: make somebody else owner first.")


class ResolutionLimit(DomainError):
    """An answer lies beyond a limit: depth, work or time. It is neither an allow nor a deny."""

    code = code_pb2.RESOURCE_EXHAUSTED
    reason = errors_pb2.ERROR_REASON_RESOLUTION_LIMIT

    def __init__(self, limit: str, message: str) -> None:
        super().__init__(message, limit=limit)


class ServerBusy(DomainError):
    """A bounded queue is full; refusing at once keeps everything else alive."""

    code = code_pb2.RESOURCE_EXHAUSTED
    reason = errors_pb2.ERROR_REASON_SERVER_BUSY

    def __init__(self, message: str, *, retry_after: timedelta) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def _add_details(self, status: status_pb2.Status) -> None:
        delay = Duration()
        delay.FromTimedelta(self.retry_after)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))


class SignInThrottled(DomainError):
    """Too many have failed. The same words whether or not the account exists and the password was right."""

    code = code_pb2.RESOURCE_EXHAUSTED
    reason = errors_pb2.ERROR_REASON_SIGN_IN_THROTTLED

    def __init__(self, *, retry_after: timedelta) -> None:
        super().__init__("Too many sign-ins have failed: try again later. Nothing was checked.")
        self.retry_after = retry_after

    def _add_details(self, status: status_pb2.Status) -> None:
        delay = Duration()
        delay.FromTimedelta(self.retry_after)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))


class DatabaseUnavailable(DomainError):
    """PostgreSQL does not answer."""

    code = code_pb2.UNAVAILABLE
    reason = errors_pb2.ERROR_REASON_DATABASE_UNAVAILABLE

    def __init__(self) -> None:
        super().__init__("The database does not answer: try again, a change with the same request_id.")

    def _add_details(self, status: status_pb2.Status) -> None:
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=1)))


class TimedOut(DomainError):
    """The server's own limit on a call's work."""

    code = code_pb2.DEADLINE_EXCEEDED
    reason = errors_pb2.ERROR_REASON_TIMED_OUT

    def __init__(self) -> None:
        super().__init__("The call took longer than the server allows and was given up.")


class ShuttingDown(DomainError):
    """The process is going away."""

    code = code_pb2.UNAVAILABLE
    reason = errors_pb2.ERROR_REASON_SHUTTING_DOWN

    def __init__(self) -> None:
        super().__init__("This server is shutting down: try again, another one will answer.")


class InternalError(DomainError):
    """Our mistake. The cause is in the log only, under the incident's id."""

    code = code_pb2.INTERNAL
    reason = errors_pb2.ERROR_REASON_INTERNAL

    def __init__(self, incident: str) -> None:
        super().__init__(
            f"The server made a mistake. Its operators find the cause under {incident}.", incident=incident
        )
