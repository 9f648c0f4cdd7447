"""Rows as messages."""

from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from watchword.server import sessions as logic
from watchword.server.permissions.relationships import Relationship
from watchword.server.storage import credentials, service_accounts, sessions, users
from watchword.server.storage.user_lists import ExportedUser, UserFilter
from watchword.server.validation import normalize_email_prefix
from watchword.v1 import credentials_pb2, relationships_pb2, service_accounts_pb2, sessions_pb2, users_pb2

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_SECONDS: Final = 86_400


def timestamp(time: datetime | None) -> Timestamp | None:
    """Write a time; None stays unset."""
    if time is None:
        return None
    since = time - _EPOCH  # three times as fast as what protobuf has for it
    return Timestamp(seconds=since.days * _DAY_SECONDS + since.seconds, nanos=since.microseconds * 1000)


def time(message: Timestamp) -> datetime:
    """Read a time. PostgreSQL keeps microseconds; what is finer is cut."""
    return message.ToDatetime(UTC)


def duration(span: timedelta) -> Duration:
    """Write a span of time."""
    message = Duration()
    message.FromTimedelta(span)
    return message


_USER_STATUS = {
    users.ACTIVE: users_pb2.USER_STATUS_ACTIVE,
    users.SUSPENDED: users_pb2.USER_STATUS_SUSPENDED,
    users.DELETED: users_pb2.USER_STATUS_DELETED,
}


_STORED_STATUS = {number: status for status, number in _USER_STATUS.items()}


def user_filter(message: users_pb2.UserFilter) -> UserFilter:
    """Read which users are asked for."""
    return UserFilter(
        statuses=[_STORED_STATUS[status] for status in message.statuses] or (users.ACTIVE, users.SUSPENDED),
        email_prefix=normalize_email_prefix(message.email_prefix),
        create_time_from=time(message.create_time_from) if message.HasField("create_time_from") else None,
        create_time_until=time(message.create_time_until) if message.HasField("create_time_until") else None,
    )


def user(row: users.User) -> users_pb2.User:
    """Write a user."""
    message = users_pb2.User(
        user_id=str(row.user_id),
        email=row.email or "",
        username=row.username or "",
        display_name=row.display_name,
        locale=row.locale,
        external_id=row.external_id or "",
        status=_USER_STATUS[row.status],
        create_time=timestamp(row.create_time),
        update_time=timestamp(row.update_time),
        delete_time=timestamp(row.delete_time),
        etag=row.etag,
    )
    if row.attributes:
        message.attributes.update(dict(row.attributes))
    return message


def exported_user(row: ExportedUser) -> users_pb2.ExportedUser:
    """Write all that is known of a user."""
    return users_pb2.ExportedUser(
        user=user(row), last_sign_in_time=timestamp(row.last_sign_in_time), password_hash=row.password_hash or ""
    )


_ACCOUNT_STATUS = {
    service_accounts.ACTIVE: service_accounts_pb2.SERVICE_ACCOUNT_STATUS_ACTIVE,
    service_accounts.SUSPENDED: service_accounts_pb2.SERVICE_ACCOUNT_STATUS_SUSPENDED,
    service_accounts.DELETED: service_accounts_pb2.SERVICE_ACCOUNT_STATUS_DELETED,
}


def service_account(row: service_accounts.ServiceAccount) -> service_accounts_pb2.ServiceAccount:
    """Write a service account."""
    return service_accounts_pb2.ServiceAccount(
        service_account_id=row.service_account_id,
        display_name=row.display_name,
        description=row.description,
        status=_ACCOUNT_STATUS[row.status],
        create_time=timestamp(row.create_time),
        update_time=timestamp(row.update_time),
        delete_time=timestamp(row.delete_time),
        etag=row.etag,
    )


def key(row: service_accounts.Key) -> service_accounts_pb2.Key:
    """Write what is known of a key."""
    return service_accounts_pb2.Key(
        key_id=str(row.key_id),
        service_account_id=row.service_account_id,
        display_name=row.display_name,
        permissions=row.permissions,
        create_time=timestamp(row.create_time),
        expire_time=timestamp(row.expire_time),
        last_used_time=timestamp(row.last_used_time),
        revoke_time=timestamp(row.revoke_time),
        successor_key_id=str(row.successor_key_id or ""),
    )


_END_REASON = {
    None: sessions_pb2.SESSION_END_REASON_UNSPECIFIED,
    sessions.REVOKED: sessions_pb2.SESSION_END_REASON_REVOKED,
    sessions.EXPIRED: sessions_pb2.SESSION_END_REASON_EXPIRED,
    sessions.REFRESH_TOKEN_REUSED: sessions_pb2.SESSION_END_REASON_REFRESH_TOKEN_REUSED,
    sessions.CREDENTIAL_CHANGED: sessions_pb2.SESSION_END_REASON_CREDENTIAL_CHANGED,
    sessions.ACCOUNT_DISABLED: sessions_pb2.SESSION_END_REASON_ACCOUNT_DISABLED,
}


def session(row: sessions.Session, *, now: datetime) -> sessions_pb2.Session:
    """Write a session. One whose time is over has ended, whether or not that has been written down."""
    end_time, end_reason = row.end_time, row.end_reason
    if end_time is None and row.expired(now):
        end_time, end_reason = min(row.expire_time, row.idle_expire_time), sessions.EXPIRED
    return sessions_pb2.Session(
        session_id=str(row.session_id),
        user_id=str(row.user_id),
        client_id=row.client_id,
        device=sessions_pb2.Device(display_name=row.device_name, user_agent=row.user_agent, ip_address=row.ip_address),
        audiences=row.audiences,
        authentication_methods=row.authentication_methods,
        authentication_level=row.authentication_level,
        authentication_time=timestamp(row.authentication_time),
        create_time=timestamp(row.create_time),
        last_active_time=timestamp(row.last_active_time),
        idle_expire_time=timestamp(row.idle_expire_time),
        expire_time=timestamp(row.expire_time),
        end_time=timestamp(end_time),
        end_reason=_END_REASON[end_reason],
    )


def device(message: sessions_pb2.Device) -> logic.Device:
    """Read a device."""
    return logic.Device(display_name=message.display_name, user_agent=message.user_agent, ip_address=message.ip_address)


def session_tokens(issued: logic.Issued, *, now: datetime) -> sessions_pb2.SessionTokens:
    """Write the tokens of a session."""
    return sessions_pb2.SessionTokens(
        access_token=issued.access_token,
        access_token_lifetime=duration(issued.access_token_lifetime),
        refresh_token=issued.refresh_token,
        session=session(issued.session, now=now),
    )


def credential(row: credentials.Credential) -> credentials_pb2.Credential:
    """Write what is known of a credential."""
    return credentials_pb2.Credential(
        credential_id=str(row.credential_id),
        user_id=str(row.user_id),
        kind=credentials_pb2.CREDENTIAL_KIND_PASSWORD,
        create_time=timestamp(row.create_time),
        update_time=timestamp(row.update_time),
        last_used_time=timestamp(row.last_used_time),
    )


def relationship(row: Relationship) -> relationships_pb2.Relationship:
    """Write a relationship."""
    message = relationships_pb2.Relationship(
        subject=row.subject,
        relation=row.relation,
        object=row.object,
        expire_time=timestamp(row.expire_time) if row.expire_time is not None else None,
    )
    if row.condition is not None:
        message.condition.name = row.condition
        if row.context:
            message.condition.context.update(dict(row.context))
    return message


def read_relationship(message: relationships_pb2.Relationship) -> Relationship:
    """Read a relationship."""
    condition = context = expire_time = None
    if message.HasField("condition"):
        condition = message.condition.name
        context = MessageToDict(message.condition.context) if message.condition.HasField("context") else None
    if message.HasField("expire_time"):
        expire_time = time(message.expire_time)
    return Relationship(message.object, message.relation, message.subject, condition, context, expire_time)
