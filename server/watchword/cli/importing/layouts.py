"""Which columns of which table hold what of a user, for each kind of application."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Groups or roles of users: names in a table of their own, and a table that links the two."""

    attribute: str
    """The attribute that gets their names."""
    link: str
    link_user: str
    """Empty: the column of the link that is neither its key nor the group's."""
    link_group: str
    table: str
    key: str = "id"
    name: str = "name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A table of users. Columns are named as they are in the database."""

    table: str
    schema: str | None = None
    id: str
    email: str | None = None
    username: str | None = None
    display_name: tuple[str, ...] = ()
    """Joined by spaces."""
    locale: str | None = None
    password: str | None = None
    active: str | None = None
    """Who is not active is imported as suspended."""
    create_time: str | None = None
    last_sign_in: tuple[str, ...] = ()
    """The latest counts."""
    flags: tuple[str, ...] = ()
    """Become attributes where they are set."""
    attributes: tuple[str, ...] = ()
    """Become attributes as they are."""
    groups: Groups | None = None

    def columns(self) -> list[str]:
        """All columns, each once."""
        single = (self.id, self.email, self.username, self.locale, self.password, self.active, self.create_time)
        several = (*self.display_name, *self.last_sign_in, *self.flags, *self.attributes)
        return list(dict.fromkeys(name for name in (*single, *several) if name is not None))

    def within(self, present: Collection[str]) -> "Layout":
        """The same without the columns that the table does not have."""

        def one(name: str | None) -> str | None:
            return name if name in present else None

        def some(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(name for name in names if name in present)

        return replace(
            self,
            email=one(self.email),
            username=one(self.username),
            display_name=some(self.display_name),
            locale=one(self.locale),
            password=one(self.password),
            active=one(self.active),
            create_time=one(self.create_time),
            last_sign_in=some(self.last_sign_in),
            flags=some(self.flags),
            attributes=some(self.attributes),
        )


@dataclass(frozen=True, slots=True)
class Framework:
    """What the tables of a framework's applications are like, if nobody changed them."""

    name: str
    layout: Layout
    needed: frozenset[str]
    """The columns without which a table is none of its users."""


def django(table: str) -> Framework:
    """Django's own model of users, or one of the application's that is derived from Django's abstract ones."""
    layout = Layout(
        table=table,
        id="id",
        email="email",
        username="username",
        display_name=("first_name", "last_name"),
        password="password",  # noqa: S106 - a column
        active="is_active",
        create_time="date_joined",
        last_sign_in=("last_login",),
        flags=("is_staff", "is_superuser"),
        groups=Groups(
            attribute="groups", link=f"{table}_groups", link_user="", link_group="group_id", table="auth_group"
        ),
    )
    return Framework("Django", layout, frozenset({"password", "last_login"}))


FLASK_SECURITY: Final = Framework(
    "Flask-Security",
    Layout(
        table="user",
        id="id",
        email="email",
        username="username",
        password="password",  # noqa: S106 - a column
        active="active",
        create_time="create_datetime",
        last_sign_in=("current_login_at", "last_login_at"),
        groups=Groups(attribute="roles", link="roles_users", link_user="user_id", link_group="role_id", table="role"),
    ),
    frozenset({"password", "active", "email"}),
)
FASTAPI_USERS: Final = Framework(
    "fastapi-users",
    Layout(
        table="user",
        id="id",
        email="email",
        username="username",
        password="hashed_password",  # noqa: S106 - a column
        active="is_active",
        flags=("is_superuser", "is_verified"),
    ),
    frozenset({"hashed_password", "is_active", "email"}),
)
