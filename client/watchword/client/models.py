"""What callers of the SDK see in place of protobuf messages.

Frozen, slotted dataclasses with Python's own types: aware datetimes in UTC, timedeltas, tuples, string enums.
What is unset is None. Secrets are masked in `repr`, so that printing or logging a model gives none away.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")


def _unshown() -> Any:
    """A field that stays out of a repr, for classes in which `field` is something else."""
    return field(repr=False)


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return self.value


UNSET: Final = Unset.UNSET
"""Leave a field as it is, where None would clear it."""


class UserStatus(StrEnum):
    """What a user may do at all."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"
    UNSPECIFIED = "unspecified"
    """A status that this version of the SDK does not know."""


class ServiceAccountStatus(StrEnum):
    """What a service account may do at all."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"
    UNSPECIFIED = "unspecified"
    """A status that this version of the SDK does not know."""


class CredentialKind(StrEnum):
    """What a user proves themselves with."""

    PASSWORD = "password"  # noqa: S105 - a kind of credential, not one
    UNSPECIFIED = "unspecified"
    """A kind that this version of the SDK does not know."""


class SessionEndReason(StrEnum):
    """Why a session has ended."""

    REVOKED = "revoked"
    EXPIRED = "expired"
    REFRESH_TOKEN_REUSED = "refresh_token_reused"  # noqa: S105 - a reason, not a token
    CREDENTIAL_CHANGED = "credential_changed"
    ACCOUNT_DISABLED = "account_disabled"
    UNSPECIFIED = "unspecified"
    """It has not ended, or for a reason that this version of the SDK does not know."""


class TokenKind(StrEnum):
    """What kind of token was introspected."""

    ACCESS_TOKEN = "access_token"  # noqa: S105 - a kind of token, not one
    API_KEY = "api_key"
    UNSPECIFIED = "unspecified"
    """The token is not good, or of a kind that this version of the SDK does not know."""


class InactiveReason(StrEnum):
    """Why a token is not good."""

    NOT_RECOGNIZED = "not_recognized"
    EXPIRED = "expired"
    REVOKED = "revoked"
    ACCOUNT_DISABLED = "account_disabled"
    WRONG_AUDIENCE = "wrong_audience"
    UNSPECIFIED = "unspecified"
    """The token is good, or is not for a reason that this version of the SDK does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person's account; in permissions and tokens "user:<user_id>".

    What is personal stays out of its repr, and so out of logs and error reports.
    """

    user_id: str
    email: str | None = field(repr=False)
    username: str | None = field(repr=False)
    display_name: str | None = field(repr=False)
    locale: str | None
    """A BCP 47 tag such as "de-CH"."""
    external_id: str | None = field(repr=False)
    """The caller's own id of this user."""
    attributes: Mapping[str, Any] = field(hash=False, repr=False)
    """Whatever else the caller keeps of the user: a JSON object."""
    status: UserStatus
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None
    etag: str
    """Changes with every change; pass it to a change to guard against overwriting somebody else's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserBatch:
    """The answer to `users.batch_get`."""

    users: tuple[User, ...]
    """The users found, deleted ones included, in the order asked for."""
    missing_user_ids: tuple[str, ...]
    """The ids that no user ever had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedUser:
    """A user to import, as `users.import_` takes it. What is personal or secret stays out of its repr."""

    external_id: str = field(repr=False)
    """Your own id of the user, by which a repeated import knows the user again; at most 256 bytes."""
    email: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    display_name: str | None = field(default=None, repr=False)
    locale: str | None = None
    attributes: Mapping[str, Any] | None = field(default=None, hash=False, repr=False)
    suspended: bool = False
    """Whether the user cannot sign in from the start."""
    password_hash: str | None = field(default=None, repr=False)
    """The hash as it is stored now: argon2, bcrypt, or as Django, Werkzeug, passlib or pwdlib write it."""
    create_time: datetime | None = None
    """Default: now."""
    last_sign_in_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedUser:
    """A user with all that is known of them, as `users.export` gives it. What is secret stays out of its repr."""

    user: User
    last_sign_in_time: datetime | None
    """When the user last signed in with the password, to the minute."""
    password_hash: str | None = field(repr=False)
    """As `ImportedUser` takes it; None if none was asked for, or there is none."""

    def to_import(self) -> ImportedUser:
        """Make a user to import elsewhere. Who has no external id is known again by the id here."""
        return ImportedUser(
            external_id=self.user.external_id or self.user.user_id,
            email=self.user.email,
            username=self.user.username,
            display_name=self.user.display_name,
            locale=self.user.locale,
            attributes=self.user.attributes,
            suspended=self.user.status is UserStatus.SUSPENDED,
            password_hash=self.password_hash,
            create_time=self.user.create_time,
            last_sign_in_time=self.last_sign_in_time,
        )


class ImportOutcome(StrEnum):
    """What became of a user of an import."""

    CREATED = "created"
    EXISTS = "exists"
    """A user has the external id already, and was left as it is."""
    REFUSED = "refused"
    UNSPECIFIED = "unspecified"
    """An outcome that this version of the SDK does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserImportResult:
    """What became of one user of an import."""

    external_id: str = _unshown()
    outcome: ImportOutcome
    user_id: str | None
    """None if the user was refused, or would be created."""
    field: str | None
    """The field for which the user was refused, such as "email" or "password_hash"."""
    reason: str | None
    """"INVALID_FIELD", or "ALREADY_EXISTS" if somebody else has the name."""
    description: str | None
    """The same for people. It never quotes the user's values, so like cases read alike."""
    password_scheme: str | None
    """The kind of the password hash, such as "bcrypt"; None if there is none or it is refused."""
    password_is_weak: bool
    """Whether the hash costs less to guess at than is recommended today."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedUsers:
    """What `users.import_` did, or has done so far."""

    created_count: int
    existing_count: int
    """Users who were there already, and were left as they are."""
    refused_count: int
    refusals: tuple[UserImportResult, ...]
    """The first 100 of those refused; `on_result` gets all."""
    revision: str | None
    """The revision of the last change; None if there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """A program's account; in permissions and tokens "service:<service_account_id>"."""

    service_account_id: str
    display_name: str | None
    description: str | None
    status: ServiceAccountStatus
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None
    etag: str
    """Changes with every change; pass it to a change to guard against overwriting somebody else's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What is known of an API key; never the key itself."""

    key_id: str
    service_account_id: str
    display_name: str | None
    permissions: tuple[str, ...]
    create_time: datetime
    expire_time: datetime | None
    last_used_time: datetime | None
    """Exact to a minute."""
    revoke_time: datetime | None
    successor_key_id: str | None
    """The key that was made in its place, if it was rotated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedKey:
    """A new API key. `api_key` is shown here once and cannot be had again."""

    key: Key
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RotatedKey:
    """A new API key, and the one that it replaces."""

    key: Key
    api_key: str = field(repr=False)
    previous_key: Key
    """The old key; its `expire_time` is the end of the overlap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What is known of something that a user proves themselves with; never its secret."""

    credential_id: str
    user_id: str
    kind: CredentialKind
    create_time: datetime
    update_time: datetime
    last_used_time: datetime | None
    """Exact to a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where a user's request comes from, as the service that talks to the user sees it. Personal: not in its repr."""

    display_name: str | None = field(default=None, repr=False)
    user_agent: str | None = field(default=None, repr=False)
    ip_address: str | None = field(default=None, repr=False)
    """The user's own address, not a proxy's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A user's session on one device."""

    session_id: str
    user_id: str
    client_id: str
    """The service account that signed the user in."""
    device: Device
    audiences: tuple[str, ...]
    """The services that its access tokens are for."""
    authentication_methods: tuple[str, ...]
    """How the user proved who they are (RFC 8176): "pwd"."""
    authentication_level: str
    """How well: "aal1" for one factor."""
    authentication_time: datetime
    create_time: datetime
    last_active_time: datetime
    idle_expire_time: datetime
    """When it ends unless it is refreshed before."""
    expire_time: datetime
    """When it ends in any case."""
    end_time: datetime | None
    end_reason: SessionEndReason | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTokens:
    """The tokens of a session, from a sign-in or a refresh."""

    access_token: str = field(repr=False)
    access_token_lifetime: timedelta
    """For how long the access token is good, counted from the answer."""
    refresh_token: str = field(repr=False)
    """Works once, in `sessions.refresh`."""
    session: Session
    device_token: str = field(default="", repr=False)
    """Of a sign-in: to be kept on the device beyond the session, and shown at its next sign-in by the same identifier.

    It opens nothing. A device that shows it cannot be locked out by others who fail to sign in.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Introspection:
    """Whether a token is good at this moment, and whose it is. Most fields are None if it is not."""

    active: bool
    inactive_reason: InactiveReason | None
    kind: TokenKind
    subject: str | None
    """ "user:<user_id>" or "service:<service_account_id>"."""
    client_id: str | None
    """The service account that signed the user in (access tokens)."""
    session_id: str | None
    key_id: str | None
    audiences: tuple[str, ...]
    permissions: tuple[str, ...]
    """What an API key may do."""
    issue_time: datetime | None
    expire_time: datetime | None
    remaining_lifetime: timedelta | None
    """For how much longer it is good at most, counted from the question; None if without end."""
    authentication_time: datetime | None
    authentication_methods: tuple[str, ...]
    authentication_level: str | None
    organization_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKeys:
    """The public keys that verify access tokens, with all else that a verifier must know."""

    jwks: str
    """A JSON Web Key Set (RFC 7517)."""
    issuer: str
    default_audience: str
    access_token_lifetime: timedelta
    """The longest lifetime of an access token."""
    max_age: timedelta
    """For how long these keys may be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RotatedSigningKey:
    """The next key that signs access tokens."""

    signing_key_id: str
    activate_time: datetime
    """When it begins to sign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who a verified access token speaks for."""

    subject: str
    """ "user:<user_id>"."""
    session_id: str
    client_id: str
    """The service account that signed the user in."""
    audiences: tuple[str, ...]
    token_id: str
    issue_time: datetime
    expire_time: datetime
    authentication_time: datetime
    authentication_methods: tuple[str, ...]
    """How the user proved who they are (RFC 8176): "pwd"."""
    authentication_level: str
    """How well: "aal1" for one factor."""
    organization_id: str | None
    """The organization in whose name the session acts."""
    revision: str
    """The moment in the database's history at which the token was issued: "<epoch>.<transaction id>"."""

    @property
    def user_id(self) -> str:
        """The user's id, without "user:"."""
        return self.subject.removeprefix("user:")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedStatus:
    """How the feed of a client does, and what is kept by it, in this process."""

    connected: bool
    """Whether a stream is open."""
    fresh: bool
    """Whether what is kept may be used: it was proven complete less than `max_staleness` ago."""
    staleness_seconds: float
    """The age of that proof; infinite if there was none yet."""
    round_trip_seconds: float
    """What the last proof took: how far this process lags behind, at most, while it is connected."""
    hits: int
    """Answers given from what is kept."""
    misses: int
    """Answers for which the server was asked, or a signature verified."""
    entries: int
    bytes: int
    """The memory that they take, about."""
    reconnects: int
    resynchronizations: int
    """How often all was forgotten because the feed had lost its place."""
    changes: int
    """Changes heard of."""
    problem: str
    """Why no stream is open, for people; empty if one is."""

    @property
    def hit_rate(self) -> float:
        """The share of hits, 0 to 1; 0 if nothing was asked."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """One page of a listing."""

    items: tuple[T, ...]
    next_page_token: str | None
    """What to pass for the next page; None if this is the last one."""
