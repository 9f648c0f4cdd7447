"""People and permissions for a test, and what it says about them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from watchword.client import Client, SessionTokens, User

_PASSWORD: Final = "correct horse battery"  # noqa: S105 - of people who exist in tests only


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A user who is signed in, for requests to the application under test.

    What the test has written before it takes `headers`, `environ` or `metadata` is seen by the request that carries
    them: the client's newest revision is among them. So take them anew for each request.
    """

    user: "User"
    tokens: "SessionTokens"
    client: "Client"
    """A view of `watchword` whose calls are made for the user."""

    @property
    def subject(self) -> str:
        """The user's name in permissions: "user:<user_id>"."""
        return f"user:{self.user.user_id}"

    @property
    def headers(self) -> dict[str, str]:
        """For HTTP: `test_client.get("/", headers=ana.headers)`."""
        headers = {"Authorization": f"Bearer {self.tokens.access_token}"}
        revision = self.client.revision
        return {**headers, "Watchword-Revision": revision} if revision else headers

    @property
    def environ(self) -> dict[str, str]:
        """For WSGI, and for Django's test client: `Client(**ana.environ)`."""
        return {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in self.headers.items()}

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """For gRPC: `stub.GetNote(request, metadata=ana.metadata)`."""
        return tuple((name.lower(), value) for name, value in self.headers.items())


class Scene:
    """Who is there, and what they may: what the fixtures `as_user`, `grant` and so on do.

    A subject is a name such as "user:ana" or "group:eng#member", a `SignedIn`, a `User` or a `Principal`; an object a
    name, or whatever has it as `watchword_object`.
    """

    def __init__(self, client: "Client") -> None:
        self._client = client

    def as_user(
        self, name: str, *, password: str = _PASSWORD, audiences: Iterable[str] = (), **fields: Any
    ) -> SignedIn:
        """Sign a user in, on a device of its own each time.

        Args:
            name: The username, or the e-mail address. If nobody has it, the user is made.
            password: The user's password.
            audiences: The services that the access token is for. Default: the deployment's one default.
            fields: What else a user who is made has, as `users.create` takes it.

        Raises:
            SignInRefusedError: Somebody has this name and another password.

        """
        from watchword.client import AlreadyExistsError  # noqa: PLC0415 - see `watchword.client.testing`

        client, is_email = self._client, "@" in name
        named: dict[str, Any] = {"email" if is_email else "username": name}
        try:
            user = client.users.create(password=password, **fields, **named)
        except AlreadyExistsError:
            user = client.users.get_by_email(name) if is_email else client.users.get_by_username(name)
        tokens = client.sign_in(name, password=password, audiences=audiences)
        return SignedIn(user, tokens, client.on_behalf_of(tokens.access_token))

    def grant(
        self,
        subject: Any,
        relation: str,
        object: Any,  # noqa: A002 - the name in the contract
        *,
        condition: str | None = None,
        context: Mapping[str, Any] | None = None,
        expire_time: datetime | None = None,
    ) -> str:
        """Give a subject a relation to an object; the revision of the change."""
        from watchword.client import Relationship  # noqa: PLC0415 - see `watchword.client.testing`

        written = Relationship(
            _subject(subject), relation, _object(object), condition=condition, context=context, expire_time=expire_time
        )
        return self._client.relationships.write([written])

    def revoke(self, subject: Any, relation: str, object: Any) -> str:  # noqa: A002 - the name in the contract
        """Take it back; the revision of the change."""
        from watchword.client import RelationshipKey  # noqa: PLC0415 - see `watchword.client.testing`

        key = RelationshipKey(_subject(subject), relation, _object(object))
        return self._client.relationships.write(deletes=[key])

    def assert_allowed(
        self,
        subject: Any,
        relation: str,
        object: Any,  # noqa: A002 - the name in the contract
        *,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Fail, and say what is lacking, unless a subject has a relation to an object at this moment."""
        __tracebackhide__ = True
        self._assert("allowed", _subject(subject), relation, _object(object), context)

    def assert_denied(
        self,
        subject: Any,
        relation: str,
        object: Any,  # noqa: A002 - the name in the contract
        *,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Fail, and say why, if a subject has a relation to an object at this moment.

        Also if that hangs on values which `context` lacks: such a test would pass whatever the condition says.
        """
        __tracebackhide__ = True
        self._assert("denied", _subject(subject), relation, _object(object), context)

    def _assert(
        self, expected: str, subject: str, relation: str, object_: str, context: Mapping[str, Any] | None
    ) -> None:
        __tracebackhide__ = True
        explanation = self._client.permissions.explain(subject, relation, object_, context=context)
        if explanation.decision != expected:
            from watchword.client.explanation import explanation_lines  # noqa: PLC0415 - only to tell of a failure

            lines = explanation_lines(explanation.tree, subject=subject)
            raise AssertionError(
                "\n".join([f"{subject} must be {expected} {relation} of {object_}, and is not:", *lines])
            )


def _subject(subject: Any) -> str:
    if isinstance(subject, str):
        return subject
    name = getattr(subject, "subject", None) or getattr(subject, "watchword_subject", None)
    return name or f"user:{subject.user_id}"


def _object(object_: Any) -> str:
    name: str = getattr(object_, "watchword_object", object_)
    return name
