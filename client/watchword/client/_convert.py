"""Turns protobuf messages into models, and the other way round. The only place that knows both."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from watchword.client import models
from watchword.v1 import (
    credentials_pb2,
    errors_pb2,
    service_accounts_pb2,
    sessions_pb2,
    tokens_pb2,
    users_pb2,
)

E = TypeVar("E", bound=StrEnum)

_LARGEST_EXACT: Final = 2**53  # beyond it a JSON number no longer stands for one integer only


def user(message: users_pb2.User) -> models.User:
    """A user."""
    return models.User(
        user_id=message.user_id,
        email=message.email or None,
        username=message.username or None,
        display_name=message.display_name or None,
        locale=message.locale or None,
        external_id=message.external_id or None,
        attributes=object_of(message.attributes),
        status=enum_of(models.UserStatus, users_pb2.UserStatus.DESCRIPTOR, message.status),
        create_time=time_of(message.create_time),
        update_time=time_of(message.update_time),
        delete_time=time_if_set(message, "delete_time"),
        etag=message.etag,
    )


def user_message(user_id: str = "", etag: str | None = None, **fields: Any) -> users_pb2.User:
    """A user to send, with the fields that are not None."""
    message = users_pb2.User(user_id=user_id, etag=etag or "")
    attributes: Mapping[str, Any] | None = fields.pop("attributes", None)
    for name, value in fields.items():
        if value is not None:
            setattr(message, name, value)
    if attributes is not None:
        message.attributes.SetInParent()
        message.attributes.update(dict(attributes))
    return message


def exported_user(message: users_pb2.ExportedUser) -> models.ExportedUser:
    """All that is known of a user."""
    return models.ExportedUser(
        user=user(message.user),
        last_sign_in_time=time_if_set(message, "last_sign_in_time"),
        password_hash=message.password_hash or None,
    )


def user_filter_message(
    statuses: Iterable[models.UserStatus],
    email_prefix: str | None,
    create_time_from: datetime | None,
    create_time_until: datetime | None,
) -> users_pb2.UserFilter:
    """Which users to send."""
    return users_pb2.UserFilter(
        statuses=map(user_status_value, statuses),
        email_prefix=email_prefix or "",
        create_time_from=time_message(create_time_from),
        create_time_until=time_message(create_time_until),
    )


def imported_user_message(user: models.ImportedUser) -> users_pb2.ImportedUser:
    """A user to import."""
    message = users_pb2.ImportedUser(
        external_id=user.external_id,
        email=user.email or "",
        username=user.username or "",
        display_name=user.display_name or "",
        locale=user.locale or "",
        suspended=user.suspended,
        password_hash=user.password_hash or "",
        create_time=time_message(user.create_time),
        last_sign_in_time=time_message(user.last_sign_in_time),
    )
    if user.attributes:
        message.attributes.update(dict(user.attributes))
    return message


def user_import_result(message: users_pb2.UserImportResult, external_id: str) -> models.UserImportResult:
    """What became of a user of an import."""
    reason = errors_pb2.ErrorReason.DESCRIPTOR.values_by_number.get(message.reason) if message.reason else None
    return models.UserImportResult(
        external_id=external_id,
        outcome=enum_of(models.ImportOutcome, users_pb2.ImportOutcome.DESCRIPTOR, message.outcome),
        user_id=message.user_id or None,
        field=message.field or None,
        reason=reason.name.removeprefix("ERROR_REASON_") if reason else None,
        description=message.description or None,
        password_scheme=message.password_scheme or None,
        password_is_weak=message.password_is_weak,
    )


def service_account(message: service_accounts_pb2.ServiceAccount) -> models.ServiceAccount:
    """A service account."""
    return models.ServiceAccount(
        service_account_id=message.service_account_id,
        display_name=message.display_name or None,
        description=message.description or None,
        status=enum_of(
            models.ServiceAccountStatus, service_accounts_pb2.ServiceAccountStatus.DESCRIPTOR, message.status
        ),
        create_time=time_of(message.create_time),
        update_time=time_of(message.update_time),
        delete_time=time_if_set(message, "delete_time"),
        etag=message.etag,
    )


def key(message: service_accounts_pb2.Key) -> models.Key:
    """An API key, as far as it is known."""
    return models.Key(
        key_id=message.key_id,
        service_account_id=message.service_account_id,
        display_name=message.display_name or None,
        permissions=tuple(message.permissions),
        create_time=time_of(message.create_time),
        expire_time=time_if_set(message, "expire_time"),
        last_used_time=time_if_set(message, "last_used_time"),
        revoke_time=time_if_set(message, "revoke_time"),
        successor_key_id=message.successor_key_id or None,
    )


def credential(message: credentials_pb2.Credential) -> models.Credential:
    """A credential, as far as it is known."""
    return models.Credential(
        credential_id=message.credential_id,
        user_id=message.user_id,
        kind=enum_of(models.CredentialKind, credentials_pb2.CredentialKind.DESCRIPTOR, message.kind),
        create_time=time_of(message.create_time),
        update_time=time_of(message.update_time),
        last_used_time=time_if_set(message, "last_used_time"),
    )


def device_message(device: models.Device | None) -> sessions_pb2.Device | None:
    """A device to send."""
    if device is None:
        return None
    return sessions_pb2.Device(
        display_name=device.display_name or "",
        user_agent=device.user_agent or "",
        ip_address=device.ip_address or "",
    )


def session(message: sessions_pb2.Session) -> models.Session:
    """A session."""
    ended = message.HasField("end_time")
    return models.Session(
        session_id=message.session_id,
        user_id=message.user_id,
        client_id=message.client_id,
        device=models.Device(
            display_name=message.device.display_name or None,
            user_agent=message.device.user_agent or None,
            ip_address=message.device.ip_address or None,
        ),
        audiences=tuple(message.audiences),
        authentication_methods=tuple(message.authentication_methods),
        authentication_level=message.authentication_level,
        authentication_time=time_of(message.authentication_time),
        create_time=time_of(message.create_time),
        last_active_time=time_of(message.last_active_time),
        idle_expire_time=time_of(message.idle_expire_time),
        expire_time=time_of(message.expire_time),
        end_time=time_if_set(message, "end_time"),
        end_reason=enum_of(models.SessionEndReason, sessions_pb2.SessionEndReason.DESCRIPTOR, message.end_reason)
        if ended
        else None,
    )


def session_tokens(message: sessions_pb2.SessionTokens, *, device_token: str = "") -> models.SessionTokens:
    """The tokens of a session."""
    return models.SessionTokens(
        access_token=message.access_token,
        access_token_lifetime=span_of(message.access_token_lifetime),
        refresh_token=message.refresh_token,
        session=session(message.session),
        device_token=device_token,
    )


def introspection(message: tokens_pb2.IntrospectTokenResponse) -> models.Introspection:
    """What a token turned out to be."""
    return models.Introspection(
        active=message.active,
        inactive_reason=None
        if message.active
        else enum_of(models.InactiveReason, tokens_pb2.InactiveReason.DESCRIPTOR, message.inactive_reason),
        kind=enum_of(models.TokenKind, tokens_pb2.TokenKind.DESCRIPTOR, message.kind),
        subject=message.subject or None,
        client_id=message.client_id or None,
        session_id=message.session_id or None,
        key_id=message.key_id or None,
        audiences=tuple(message.audiences),
        permissions=tuple(message.permissions),
        issue_time=time_if_set(message, "issue_time"),
        expire_time=time_if_set(message, "expire_time"),
        remaining_lifetime=span_of(message.remaining_lifetime) if message.HasField("remaining_lifetime") else None,
        authentication_time=time_if_set(message, "authentication_time"),
        authentication_methods=tuple(message.authentication_methods),
        authentication_level=message.authentication_level or None,
        organization_id=message.organization_id or None,
    )


def signing_keys(message: tokens_pb2.GetSigningKeysResponse) -> models.SigningKeys:
    """The keys that verify access tokens."""
    return models.SigningKeys(
        jwks=message.jwks,
        issuer=message.issuer,
        default_audience=message.default_audience,
        access_token_lifetime=span_of(message.access_token_lifetime),
        max_age=span_of(message.max_age),
    )


def rotated_signing_key(message: tokens_pb2.RotateSigningKeyResponse) -> models.RotatedSigningKey:
    """A new signing key."""
    return models.RotatedSigningKey(signing_key_id=message.signing_key_id, activate_time=time_of(message.activate_time))


def user_status_value(status: models.UserStatus) -> users_pb2.UserStatus.ValueType:
    """A status to send."""
    return users_pb2.UserStatus.Value(f"USER_STATUS_{status.name}")


def time_message(time: datetime | None) -> Timestamp | None:
    """A time to send.

    Raises:
        ValueError: It has no time zone: taken for UTC it would silently be off by hours.

    """
    if time is None:
        return None
    if time.tzinfo is None:
        raise ValueError("datetimes must have a time zone, such as datetime.UTC")
    message = Timestamp()
    message.FromDatetime(time)
    return message


def span_message(span: timedelta | None) -> Duration | None:
    """A span to send."""
    if span is None:
        return None
    message = Duration()
    message.FromTimedelta(span)
    return message


def struct_message(values: Mapping[str, Any]) -> Struct:
    """A JSON object to send."""
    message = Struct()
    message.update(dict(values))
    return message


def time_of(message: Timestamp) -> datetime:
    """A time, in UTC."""
    return message.ToDatetime(UTC)


def time_if_set(message: Message, name: str) -> datetime | None:
    """The time in a field; None if it has none."""
    return time_of(getattr(message, name)) if message.HasField(name) else None


def span_of(message: Duration) -> timedelta:
    """A span."""
    return message.ToTimedelta()


def enum_of(kind: type[E], numbers: EnumDescriptor, number: int) -> E:
    """The member for a number; for one that only a newer server knows it is `UNSPECIFIED`."""
    try:
        return kind[_name_of(numbers, number)]
    except KeyError:
        return kind["UNSPECIFIED"]


@lru_cache(maxsize=256)  # to find it costs more than all the rest of an answer
def _name_of(numbers: EnumDescriptor, number: int) -> str:
    values = numbers.values_by_number
    prefix = values[0].name.removesuffix("UNSPECIFIED")
    return values[number].name.removeprefix(prefix) if number in values else "UNSPECIFIED"


def object_of(message: Struct) -> dict[str, Any]:
    """A JSON object."""
    return {name: _value(value) for name, value in message.fields.items()}


def _value(message: Value) -> Any:
    """A JSON value. A whole number is an int, as it most likely was before JSON made it a double."""
    kind = message.WhichOneof("kind")
    if kind == "struct_value":
        return object_of(message.struct_value)
    if kind == "list_value":
        return [_value(value) for value in message.list_value.values]
    if kind == "number_value":
        number = message.number_value
        return int(number) if number.is_integer() and abs(number) <= _LARGEST_EXACT else number
    return getattr(message, kind) if kind in {"string_value", "bool_value"} else None
