"""A restored database never resurrects an answer: its history gets a new epoch, and what was said before is refused."""

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from conftest import PASSWORD
from deployment import KEEPER, PROGRAM, Deployment, deployment, health, seconds_until
from structlog.testing import capture_logs
from test_schema import postgres  # noqa: F401  # a fixture
from test_schema import url as new_database  # noqa: F401  # a fixture: on every PostgreSQL of this machine

from watchword.client import (
    Client,
    Consistency,
    InactiveReason,
    RefreshTokenInvalidError,
    Relationship,
    RevisionUnknownError,
)
from watchword.client.testing import LocalServer
from watchword.server.app import utc_now
from watchword.server.restore import database_restored
from watchword.server.sealing import Keyring
from watchword.server.storage import embedded, schema
from watchword.server.storage.database import Database
from watchword.v1 import users_pb2, users_pb2_grpc

MODEL = "model\n  schema 1.1\ntype user\ntype document\n  relations\n    define viewer: [user]"
GRANT = Relationship("user:ana", "viewer", "document:1")
RESTORES = "SELECT payload ->> 'how' FROM events WHERE type = 'database-restored' ORDER BY event_id"
BURN = "DO $$ BEGIN FOR i IN 1..3000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"


def keyring() -> Keyring:
    """Any will do: what is written here seals nothing."""
    return Keyring.parse(Keyring.generate(secrets.token_bytes), randomness=secrets.token_bytes)


def database_of(url: str) -> Database:
    return Database(url, pool_size=4, keyring=keyring(), clock=utc_now, randomness=secrets.token_bytes)


def rows(url: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values)
        return cursor.fetchall() if cursor.description else []


def epoch_of(url: str) -> str:
    return rows(url, "SELECT epoch FROM deployment")[0][0]


@pytest.fixture
def restored(watchword_server: LocalServer) -> Callable[[], str]:
    """Tell the server's database that it was restored."""
    return lambda: database_restored(watchword_server.database_url, keyring())


def allows(client: Client, consistency: Consistency | None = None) -> bool:
    return bool(client.permissions.check(GRANT.subject, GRANT.relation, GRANT.object, consistency=consistency))


def refuses(client: Client, revision: str) -> bool:
    """Whether a revision is of another epoch than the server's."""
    try:
        allows(client, Consistency.at_least(revision))
    except RevisionUnknownError:
        return True
    return False


def introspect(client: Client, token: str) -> InactiveReason | None:
    """Why a token is refused; None if it is good."""
    answer = client.tokens.introspect(token)
    return None if answer.active else answer.inactive_reason


def test_revisions_of_another_epoch_are_refused(watchword: Client, restored):
    watchword.permissions.write_model(dsl=MODEL)
    before = watchword.relationships.write([GRANT])
    assert allows(watchword, Consistency.at_least(before))
    epoch = restored()
    seconds_until(lambda: refuses(watchword, before), within=5)
    after = watchword.relationships.write([Relationship("user:ben", "viewer", "document:1")])
    assert after.startswith(f"{epoch}.")
    assert allows(watchword, Consistency.at_least(after))


def test_the_caches_of_a_running_server_are_emptied(watchword: Client, restored, sql):
    watchword.permissions.write_model(dsl=MODEL)
    assert allows(watchword, Consistency.at_least(watchword.relationships.write([GRANT])))
    seconds_until(lambda: cached_after(watchword, sql), within=5)
    restored()
    seconds_until(lambda: not allows(watchword), within=5)


def cached_after(client: Client, sql) -> bool:
    """Take the grant away behind the log's back, as a restore does: whether the cache still says yes."""
    sql("delete from relationships")
    if allows(client):
        return True
    client.relationships.write([GRANT])
    allows(client)
    return False


def test_tokens_of_another_epoch_are_refused_and_refreshed(watchword: Client, channel, metadata, restored):
    ana = watchword.users.create(username="ana", password=PASSWORD)
    tokens = watchword.sign_in("ana", password=PASSWORD)
    stub, request = users_pb2_grpc.UserServiceStub(channel), users_pb2.GetUserRequest(user_id=str(ana.user_id))

    def on_behalf(token: str) -> Any:
        return stub.GetUser(request, metadata=(*metadata, ("on-behalf-of", token)))

    assert introspect(watchword, tokens.access_token) is None
    on_behalf(tokens.access_token)
    restored()
    assert introspect(watchword, tokens.access_token) is InactiveReason.REVOKED
    with pytest.raises(grpc.RpcError, match="UNAUTHENTICATED"):
        on_behalf(tokens.access_token)
    fresh = watchword.sessions.refresh(tokens.refresh_token)
    assert introspect(watchword, fresh.access_token) is None
    on_behalf(fresh.access_token)


def test_a_refresh_token_of_a_lost_history_ends_its_session(watchword: Client, sql):
    """The one before it was used up in that history, and a copy of it must not be good again."""
    watchword.users.create(username="ana", password=PASSWORD)
    old = watchword.sign_in("ana", password=PASSWORD)
    (backup,) = sql("select refresh_generation as generation, refresh_hash as hash from sessions")
    new = watchword.sessions.refresh(old.refresh_token)
    sql("update sessions set refresh_generation = %s, refresh_hash = %s", backup["generation"], backup["hash"])
    for token in (new.refresh_token, old.refresh_token):
        with pytest.raises(RefreshTokenInvalidError):
            watchword.sessions.refresh(token)
    assert sql("select end_reason from sessions") == [{"end_reason": "refresh_token_reused"}]


def test_a_change_that_is_sent_again_has_a_revision_of_this_epoch(watchword: Client, channel, metadata, restored):
    """As after a failover: the first answer was lost, and it named the epoch before."""
    stub = users_pb2_grpc.UserServiceStub(channel)
    request = users_pb2.CreateUserRequest(user={"username": "ana"}, request_id=str(uuid.uuid4()))
    first = stub.CreateUser(request, metadata=metadata)
    epoch = restored()
    again = stub.CreateUser(request, metadata=metadata)
    assert again.user == first.user
    assert again.revision.startswith(f"{epoch}.")
    watchword.permissions.write_model(dsl=MODEL)
    assert not allows(watchword, Consistency.at_least(again.revision))


def migrated(url: str) -> str:
    """A database as after its first start; return its epoch."""
    schema.migrate(url)
    open_together(url, 1)
    assert rows(url, RESTORES) == []
    return epoch_of(url)


def open_together(url: str, count: int) -> list[Database]:
    """What several servers do that start at the same time."""

    async def connect() -> list[Database]:
        databases = [database_of(url) for _ in range(count)]
        await asyncio.gather(*(database.open() for database in databases))
        await asyncio.gather(*(database.close() for database in databases))
        return databases

    return asyncio.run(connect())


@pytest.mark.parametrize(("column", "how"), [("system_identifier", "other_cluster"), ("timeline_id", "other_timeline")])
def test_of_several_servers_one_begins_the_new_epoch(new_database, column, how):  # noqa: F811
    url = new_database
    before = migrated(url)
    open_together(url, 2)
    assert epoch_of(url) == before
    rows(url, f"UPDATE deployment SET {column} = {column} + 1")
    open_together(url, 6)
    assert rows(url, RESTORES) == [(how,)]
    after = epoch_of(url)
    assert after != before
    open_together(url, 2)
    assert epoch_of(url) == after


def test_an_ordinary_role_may_ask_and_without_the_right_it_is_told_once(new_database):  # noqa: F811
    url = new_database
    migrated(url)
    role = f"r{secrets.token_hex(4)}"
    rows(url, f"CREATE ROLE {role} LOGIN")
    rows(url, f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
    as_role = url.replace("postgres@", f"{role}@")
    rows(url, "UPDATE deployment SET timeline_id = 7")
    open_together(as_role, 1)
    assert rows(url, RESTORES) == [("other_timeline",)]
    rows(url, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM public")
    rows(url, "UPDATE deployment SET timeline_id = 8")
    epoch = epoch_of(url)
    with capture_logs() as told:
        open_together(as_role, 1)
    assert [line["event"] for line in told if "restored" in line["event"]] == [
        "restores of this database are not noticed: tell of them by `watchword database restored`"
    ]
    assert epoch_of(url) == epoch
    assert database_restored(as_role, keyring()) == epoch_of(url) != epoch


@contextmanager
def another_cluster() -> Iterator[str]:
    """A PostgreSQL of its own, with an empty database."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [sys.executable, "-c", KEEPER, str(Path(folder).resolve() / "postgres")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
            assert keeper.stdout is not None
            yield keeper.stdout.readline().strip()


def load_dump(source: str, target: str) -> Callable[[], None]:
    """Dump a database; what is returned loads the dump into another."""
    programs = embedded._find_programs()
    dump = subprocess.run([programs / "pg_dump", "--format=custom", source], check=True, capture_output=True).stdout

    def load() -> None:
        subprocess.run([programs / "pg_restore", f"--dbname={target}", "--exit-on-error"], input=dump, check=True)

    return load


def test_a_dump_is_loaded_into_another_postgresql():
    with deployment() as whole, another_cluster() as target:
        # Else ids in the dump would have passed in the new cluster already.
        rows(whole.database_url, BURN)
        with whole.client() as client:
            client.permissions.write_model(dsl=MODEL)
            client.users.create(username="ana", password=PASSWORD)
            tokens = client.sign_in("ana", password=PASSWORD)
            revision = client.relationships.write([GRANT])
            load = load_dump(whole.database_url, target)
            client.sessions.revoke(tokens.session.session_id)
        load()
        whole.stop_server()
        whole.settings["WATCHWORD_DATABASE_URL"] = target
        whole.start_server()
        assert rows(target, RESTORES) == [("other_cluster",)]
        # Of the dump's events none is still to come: the feed would deliver it when its id is reached.
        assert rows(target, "SELECT max(CAST(CAST(xid AS text) AS bigint)) FROM events WHERE type LIKE 'rel%%'") == [
            (2,)
        ]
        # Another client: the first one's connection may be in the pause between two attempts.
        with whole.client() as client:
            assert refuses(client, revision)
            # The session is alive again, and the token that was revoked is not.
            assert introspect(client, tokens.access_token) is InactiveReason.REVOKED
            fresh = client.sessions.refresh(tokens.refresh_token)
            assert introspect(client, fresh.access_token) is None
            assert allows(client)
            assert not allows(client, Consistency.at_least(client.relationships.write(deletes=[GRANT])))
            seconds_until(lambda: not allows(client), within=5)


def test_the_files_of_a_backup_are_put_back_and_the_operator_tells():
    with deployment() as whole, whole.client() as client:
        data = whole._folder / "postgres" / "data"
        client.users.create(username="ana", password=PASSWORD)
        tokens = client.sign_in("ana", password=PASSWORD)
        whole.stop_database()
        subprocess.run(["cp", "-a", data, data.parent / "backup"], check=True)
        whole.start_database()
        client.sessions.revoke(tokens.session.session_id)
        assert introspect(client, tokens.access_token) is InactiveReason.REVOKED
        whole.stop_database()
        shutil.rmtree(data)
        (data.parent / "backup").rename(data)
        whole.start_database()
        # Nothing in PostgreSQL shows it: this is why there is the command.
        assert introspect(client, tokens.access_token) is None
        asked = command(whole, "database", "restored")
        assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
        assert introspect(client, tokens.access_token) is None
        told = command(whole, "database", "restored", "--yes", "--json")
        assert json.loads(told.stdout) == {"epoch": epoch_of(whole.database_url)}, told.stderr
        assert introspect(client, tokens.access_token) is InactiveReason.REVOKED
        assert rows(whole.database_url, RESTORES) == [("told",)]


def command(whole: Deployment, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WATCHWORD_")}
    return subprocess.run(
        [*PROGRAM, *arguments],
        check=False,
        env={**clean, **whole.settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_standby_is_refused_until_it_is_promoted_and_begins_an_epoch():
    """A failover, while the server runs."""
    with deployment() as whole, whole.client() as client:
        client.permissions.write_model(dsl=MODEL)
        revision = client.relationships.write([GRANT])
        before = epoch_of(whole.database_url)
        whole.stop_database()
        data = whole._folder / "postgres" / "data"
        (data / "standby.signal").touch()
        owner = data.stat()
        os.chown(data / "standby.signal", owner.st_uid, owner.st_gid)
        whole.start_database()
        assert rows(whole.database_url, "SELECT pg_is_in_recovery()") == [(True,)]
        seconds_until(lambda: health(whole.address) == "NOT_SERVING", within=10)
        assert rows(whole.database_url, "SELECT pg_promote()") == [(True,)]
        seconds_until(lambda: health(whole.address) == "SERVING", within=20)
        assert rows(whole.database_url, RESTORES) == [("other_timeline",)]
        assert epoch_of(whole.database_url) != before
        assert refuses(client, revision)
        assert allows(client)
