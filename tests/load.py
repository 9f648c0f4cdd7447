"""A load of changes that remembers what was acknowledged, and the check that all of it, and nothing half, is there."""

import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import psycopg
from conftest import PASSWORD

from watchword.client import (
    Client,
    RefreshTokenInvalidError,
    SessionTokens,
    UserStatus,
    WatchwordError,
)

T = TypeVar("T")

# A call that a gRPC server has received and not begun when it stops gets CANCELLED from it (grpc/grpc#41785).
_PATIENCE_SECONDS = 60.0
_UNANSWERED = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"}

# Each asks for rows that must not be. `xmin` is the transaction that wrote a row, of which 32 bits are kept.
_SAME = "(e.xid::text::bigint & 4294967295) = {}.xmin::text::bigint"
HALF_CHANGES = {
    "a user without exactly one user-created event, in the same transaction": f"""
        select user_id from users u where (select count(*) from events e where e.type = 'user-created'
            and e.objects = array['user:' || u.user_id] and (u.version > 1 or {_SAME.format("u")})) <> 1""",
    "a user without a person key or a password": """
        select user_id from users left join person_keys using (user_id) left join credentials using (user_id)
        where key_sealed is null or password_hash is null""",
    "a session without exactly one session-established event, in the same transaction": f"""
        select session_id from sessions s where (select count(*) from events e where e.type = 'session-established'
            and e.objects[1] = 'session:' || s.session_id and (s.refresh_generation > 1 or s.end_time is not null
            or {_SAME.format("s")})) <> 1""",
    "a session that was refreshed more or less often than its events say": """
        select session_id from sessions s where refresh_generation <> 1 + (select count(*) from events e
            where e.type = 'session-presented' and e.objects[1] = 'session:' || s.session_id)""",
    "a suspended user without exactly one account-disabled event, in the same transaction": f"""
        select user_id from users u where (status = 'suspended') <> ((select count(*) from events e
            where e.type = 'account-disabled' and e.objects = array['user:' || u.user_id] and {_SAME.format("u")}) = 1)
        """,
    "a living session of a suspended user, or one that ended without an event": """
        select session_id from sessions s join users u using (user_id) where (status = 'suspended') <>
            exists (select from events where type = 'session-revoked' and 'session:' || session_id = any (objects))
            or (status = 'suspended') <> (end_time is not null)""",
    "a key without exactly one key-created event, in the same transaction": f"""
        select key_id from api_keys k where (select count(*) from events e where e.type = 'key-created'
            and e.objects[1] = 'key:' || k.key_id and (k.successor_key_id is not null or k.last_used_time is not null
            or {_SAME.format("k")})) <> 1""",
    "a key that was rotated without successor or without exactly one event": """
        select k.key_id from api_keys k left join api_keys s on s.key_id = k.successor_key_id
        where (k.successor_key_id is not null) <> (s.key_id is not null) or (k.successor_key_id is not null) <>
            ((select count(*) from events e where e.type = 'key-rotated' and e.objects[1] = 'key:' || k.key_id) = 1)""",
    "an event about something that is not there": """
        select event_id from events, unnest(objects) as object where not case split_part(object, ':', 1)
            when 'user' then exists (select from users where 'user:' || user_id = object)
            when 'session' then exists (select from sessions where 'session:' || session_id = object)
            when 'key' then exists (select from api_keys where 'key:' || key_id = object)
            when 'service' then exists (select from service_accounts where 'service:' || service_account_id = object)
            when 'signing_key' then exists (select from signing_keys where 'signing_key:' || kid = object)
            -- a crash of PostgreSQL, which the loads are put through
            when 'watchword' then object = 'watchword:deployment'
            else false end""",
    # Several answers share a transaction only if each is of an exchange of its own.
    "an answer without a change, or two answers of one": f"""
        select request_key from answers a where not exists (select from events e where {_SAME.format("a")})
        union all select min(request_key) from answers a group by a.xmin having count(*) > 1 and count(*) <> (
            select count(*) from events e where e.type = 'session-presented' and {_SAME.format("a")})""",
    "a change of the load without its answer": f"""
        select event_id from events e where actor = 'service:administrator' and e.type <> 'session-revoked'
            and not exists (select from answers a where {_SAME.format("a")})""",
}


@dataclass
class Life:
    """What one user was acknowledged to have."""

    user_id: str
    username: str
    sign_ins: list[SessionTokens] = field(default_factory=list)
    is_suspended: bool = False
    is_known: bool = True
    """Whether every call about it was answered in the end; of one that was given up nobody knows."""


class GivenUp(Exception):
    """A call was not answered, and its caller did not insist."""


class Load:
    """Threads that each live one user's life after another, until they are told to stop."""

    def __init__(self, client: Client, *, threads: int) -> None:
        self._client = client
        self._stop = threading.Event()
        self._latest = float("inf")
        self._progress = threading.Condition()
        self.acknowledged = 0
        self.unanswered = 0
        self.lives: list[Life] = []
        self.api_keys: list[str] = []
        self.rotations = 0
        self.mistakes: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._latest = time.monotonic() + _PATIENCE_SECONDS
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, changes: int) -> None:
        """Wait until so many more changes were acknowledged."""
        with self._progress:
            goal = self.acknowledged + changes
            reached = self._progress.wait_for(
                lambda: self.acknowledged >= goal or self.mistakes, timeout=_PATIENCE_SECONDS
            )
        assert reached, "the load does not go on"
        assert not self.mistakes, self.mistakes

    def _run(self, number: int) -> None:
        chance = random.Random(number)
        try:
            while not self._stop.is_set():
                if number == 0:
                    self._rotate_keys(chance)
                else:
                    self._live(chance, f"user-{number}-{len(self.lives)}-{chance.getrandbits(32):x}")
        except BaseException as error:
            with self._progress:
                self.mistakes.append(error)
                self._progress.notify_all()
            raise

    def _live(self, chance: random.Random, username: str) -> None:
        life: Life | None = None
        may_give_up = chance.random() < 0.5
        try:
            user = self._change(
                lambda request_id: self._client.users.create(
                    username=username, password=PASSWORD, request_id=request_id
                ),
                may_give_up=may_give_up,
            )
            life = Life(user.user_id, username)
            self.lives.append(life)
            for _ in range(chance.randint(1, 2)):
                tokens = self._change(
                    lambda request_id: self._client.sign_in(username, password=PASSWORD, request_id=request_id),
                    may_give_up=may_give_up,
                )
                life.sign_ins.append(tokens)
                for _ in range(chance.randint(0, 4)):
                    tokens = self._refresh(tokens, may_give_up=may_give_up)
                    life.sign_ins[-1] = tokens
            if chance.random() < 0.4:
                self._change(
                    lambda request_id: self._client.users.suspend(user.user_id, request_id=request_id),
                    may_give_up=may_give_up,
                )
                life.is_suspended = True
        except GivenUp:
            if life is not None:
                life.is_known = False

    def _refresh(self, tokens: SessionTokens, *, may_give_up: bool) -> SessionTokens:
        return self._change(
            lambda request_id: self._client.sessions.refresh(tokens.refresh_token, request_id=request_id),
            may_give_up=may_give_up,
        )

    def _rotate_keys(self, chance: random.Random) -> None:
        account = f"service-{chance.getrandbits(32):x}"
        accounts = self._client.service_accounts
        self._change(lambda request_id: accounts.create(account, request_id=request_id))
        made = self._change(
            lambda request_id: accounts.create_key(account, permissions=["read_users"], request_id=request_id)
        )
        for _ in range(5):
            key_id = made.key.key_id
            made = self._change(lambda request_id, key_id=key_id: accounts.rotate_key(key_id, request_id=request_id))
            self.api_keys.append(made.api_key)
            self.rotations += 1

    def _change(self, call: Callable[[str], T], *, may_give_up: bool = False) -> T:
        """Call until it is answered, each time with the same request id.

        At the end nobody waits for an answer for ever: where there is no server any more, the test has failed.
        """
        request_id = str(uuid.uuid4())
        while True:
            try:
                answer = call(request_id)
            except WatchwordError as error:
                if error.code not in _UNANSWERED or time.monotonic() > self._latest:
                    raise
                self.unanswered += 1
                if may_give_up:
                    raise GivenUp from None
                # Once most calls fail, the SDK makes no attempts of its own any more.
                time.sleep(0.05)
            else:
                with self._progress:
                    self.acknowledged += 1
                    self._progress.notify_all()
                return answer

    def check(self, database_url: str) -> None:
        """See that every acknowledged change is there, that none was made twice, and that none is half."""
        assert not self.mistakes, self.mistakes
        with psycopg.connect(database_url) as connection:

            def ask(query: str, *values: Any) -> list[Any]:
                return connection.execute(query.encode(), values).fetchall()

            for mistake, query in HALF_CHANGES.items():
                assert not (found := ask(query)), f"{mistake}: {found}"
            for life in self.lives:
                sessions = ask("select 1 from sessions where user_id = %s", life.user_id)
                assert len(sessions) == len(life.sign_ins) if life.is_known else len(sessions) >= len(life.sign_ins)
            rotated = ask("select 1 from api_keys where successor_key_id is not null")
            assert len(rotated) == self.rotations
        for life in self.lives:
            self._check(life)
        for api_key in self.api_keys:
            assert self._client.tokens.introspect(api_key).active

    def _check(self, life: Life) -> None:
        user = self._client.users.get(life.user_id)
        assert user.username == life.username
        if life.is_suspended:
            assert user.status is UserStatus.SUSPENDED
            for tokens in life.sign_ins:
                assert not self._client.tokens.introspect(tokens.access_token).active
                try:
                    self._client.sessions.refresh(tokens.refresh_token)
                except RefreshTokenInvalidError:
                    continue
                raise AssertionError("a suspended user's session goes on")
        elif user.status is UserStatus.ACTIVE:
            for tokens in life.sign_ins:
                # The session goes on; a token of before a crash of PostgreSQL does not (storage/history.py).
                refreshed = self._client.sessions.refresh(tokens.refresh_token)
                assert refreshed.session.user_id == life.user_id
                assert self._client.tokens.introspect(refreshed.access_token).active
        else:
            assert not life.is_known
