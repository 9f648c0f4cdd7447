"""A caller of the spine by bare gRPC stubs: every answer is looked at, and what the SDK does is no part of a figure."""

import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from benchmarks.load import WrongAnswer
from benchmarks.world import batches
from watchword.v1 import sessions_pb2, sign_in_pb2, tokens_pb2, users_pb2
from watchword.v1.sessions_pb2_grpc import SessionServiceStub
from watchword.v1.sign_in_pb2_grpc import SignInServiceStub
from watchword.v1.tokens_pb2_grpc import TokenServiceStub
from watchword.v1.users_pb2_grpc import UserServiceStub

PASSWORD: Final = "correct horse battery"
PAGE: Final = 50
_IMPORTED_AT_ONCE: Final = 1000
_DEADLINE: Final = 60.0


@dataclass(slots=True)
class SignedIn:
    """The tokens of people who are signed in."""

    access: list[str] = field(default_factory=list, repr=False)
    refresh: deque[str] = field(default_factory=deque, repr=False)
    """Those that are not being exchanged."""


class Caller:
    """Calls over one channel, as one service."""

    def __init__(self, channel: grpc.aio.Channel, api_key: str) -> None:
        self._users = UserServiceStub(channel)
        self._sign_in = SignInServiceStub(channel)
        self._sessions = SessionServiceStub(channel)
        self._tokens = TokenServiceStub(channel)
        self._options: dict[str, Any] = {"metadata": (("authorization", f"Bearer {api_key}"),), "timeout": _DEADLINE}
        self.signed_in = SignedIn()

    async def import_users(self, messages: Sequence[users_pb2.ImportUsersRequest]) -> int:
        """Create users in bulk; return how many were."""
        call = self._users.ImportUsers(_sent(messages), metadata=self._options["metadata"])
        created = 0
        async for answer in call:
            created += sum(result.outcome == users_pb2.IMPORT_OUTCOME_CREATED for result in answer.results)
        return created

    async def sign_in(self, name: str) -> None:
        """Sign somebody in, and keep their tokens."""
        request = sign_in_pb2.StartSignInRequest(identifier=name, password=PASSWORD, request_id=str(uuid.uuid4()))
        answer = await self._sign_in.StartSignIn(request, **self._options)
        if not answer.completed.access_token:
            raise WrongAnswer(f"{name} is not signed in")
        self.signed_in.access.append(answer.completed.access_token)
        self.signed_in.refresh.append(answer.completed.refresh_token)

    async def introspect(self, token: str) -> None:
        """Ask whose a token is."""
        answer = await self._tokens.IntrospectToken(tokens_pb2.IntrospectTokenRequest(token=token), **self._options)
        if not answer.active or not answer.subject:
            raise WrongAnswer("a good token is said to be none")

    async def refresh(self, _number: int) -> None:
        """Go on with a session that nobody else goes on with now."""
        kept = self.signed_in.refresh
        request = sessions_pb2.RefreshSessionRequest(refresh_token=kept.popleft(), request_id=str(uuid.uuid4()))
        answer = await self._sessions.RefreshSession(request, **self._options)
        if not answer.tokens.access_token:
            raise WrongAnswer("a session does not go on")
        kept.append(answer.tokens.refresh_token)

    async def get_user(self, email: str) -> None:
        """Get a user by e-mail address."""
        answer = await self._users.GetUser(users_pb2.GetUserRequest(email=email), **self._options)
        if answer.user.email != email:
            raise WrongAnswer(email)

    async def find_user(self, email: str) -> None:
        """Find a user by all of an address but its end, which one user has."""
        prefix = email.partition("@")[0] + "@"
        found = await self._page(users_pb2.ListUsersRequest(filter=users_pb2.UserFilter(email_prefix=prefix)))
        if [user.email for user in found.users] != [email]:
            raise WrongAnswer(prefix)

    def pages(self) -> "Pages":
        """Give what walks through all users."""
        return Pages(self)

    async def _page(self, request: users_pb2.ListUsersRequest) -> users_pb2.ListUsersResponse:
        return await self._users.ListUsers(request, **self._options)


class Pages:
    """Walks through all users, a page with each call, and then again."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._token = ""

    async def next(self, _number: int) -> None:
        """Get the next page."""
        request = users_pb2.ListUsersRequest(page_size=PAGE, page_token=self._token)
        answer = await self._caller._page(request)  # noqa: SLF001 - two classes of one module
        if not answer.users or (answer.next_page_token and len(answer.users) != PAGE):
            raise WrongAnswer(f"a page of {len(answer.users)} users")
        self._token = answer.next_page_token


def import_messages(series: str, number: int, password_hash: str) -> list[users_pb2.ImportUsersRequest]:
    """Make the messages of an import: before the clock starts, for the caller's work is not the server's."""
    return [
        users_pb2.ImportUsersRequest(users=batch, request_id=str(uuid.uuid4()))
        for batch in batches(_imported(series, number, password_hash), _IMPORTED_AT_ONCE)
    ]


def _imported(series: str, number: int, password_hash: str) -> Iterator[users_pb2.ImportedUser]:
    for each in range(number):
        name = f"{series}{each}"
        yield users_pb2.ImportedUser(
            external_id=name,
            username=name,
            email=f"{name}@example.org",
            display_name=f"Person {each}",
            password_hash=password_hash,
        )


async def _sent(
    messages: Sequence[users_pb2.ImportUsersRequest],
) -> AsyncIterator[users_pb2.ImportUsersRequest]:
    for message in messages:
        yield message
