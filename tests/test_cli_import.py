"""`watchword import`: users of real applications, of Django, Flask-Security and fastapi-users, with their passwords."""

# ruff: noqa: F811 - a parameter is named as the fixture that it takes

import json
import os
import pty
import re
import secrets
import signal
import sqlite3
import subprocess
import tempfile
import tracemalloc
import unicodedata
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import bcrypt
import psycopg
import pytest
from applications import django_project, fastapi_users_app, flask_security_app
from mariadb import MariaDB, mariadb
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url, text
from test_cli import PROGRAM, _environment, _run, ask, run, tmp_path  # noqa: F401 - fixtures

from watchword.cli.failures import Failure
from watchword.cli.importing.databases import opened
from watchword.cli.importing.layouts import FASTAPI_USERS, Framework, Layout, django
from watchword.cli.importing.rows import Reading, Row, RowRefused
from watchword.client import Client, SignInRefusedError, UserStatus

PASSWORD = "hvězda nad Tatrou \N{PILE OF POO}"
APART = unicodedata.normalize("NFD", PASSWORD)
HOSTILE = "Robert'); DROP TABLE auth_user;-- \" ` \\ %s %(x)s :id {0} ${IFS}"
SALT = "pfeffer und $alz/+="
CANARY = "canary-77e"
SECRET = "sesam-öffne-dich"


@pytest.fixture
def sent(run, ask):
    """Import, and read the summary; with the exit code that goes with it."""

    def sent(*arguments: str, refused: bool = False, **options) -> dict[str, Any]:
        return ask("import", *arguments, code=1 if refused else 0, **options)

    return sent


def dry(*arguments: str, cwd: Path, code: int = 0, **environment: str) -> dict[str, Any]:
    """Run an import that asks no server, where there is none."""
    nowhere = {"WATCHWORD_ADDRESS": "127.0.0.1:1", **environment}
    done = _run("import", *arguments, "--dry-run", "--json", cwd=cwd, **nowhere)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


# ----- Django ---------------------------------------------------------------------------------------------------------

LATELY = datetime(2025, 3, 4, 5, 6, 7, 890000, tzinfo=UTC)
LONG_AGO = datetime(2012, 2, 29, 12, 30, 1, tzinfo=UTC)
DJANGO: list[dict[str, Any]] = [
    {
        "username": "Ana.Ü",
        "email": "Ana@Example.com",
        "first_name": "Ana",
        "last_name": HOSTILE,
        "text": PASSWORD,
        "date_joined": LONG_AGO.isoformat(),
        "last_login": LATELY.isoformat(),
        "groups": ["Redaktion", HOSTILE],
    },
    {"username": "sha1", "text": APART, "hasher": "pbkdf2_sha1", "is_staff": True, "is_superuser": True},
    {"username": "argon", "text": PASSWORD, "hasher": "argon2"},
    {"username": "bcrypt", "text": PASSWORD, "hasher": "bcrypt_sha256"},
    {"username": "plain", "text": PASSWORD, "hasher": "bcrypt"},
    {"username": "scrypt", "text": PASSWORD, "hasher": "scrypt"},
    {"username": "left", "text": PASSWORD, "is_active": False, "hasher": "argon2"},
    {"username": "nobody", "text": None},
    {"username": "mail@example.com", "email": "mail@example.com", "text": PASSWORD, "hasher": "argon2"},
    {"username": "md5", "text": PASSWORD, "hasher": "md5"},
    {"username": "twin", "email": "aNA@example.com"},
    {"username": "wrong", "email": "wrong@@example.com"},
]
GOOD = 9


@pytest.fixture(scope="module")
def sqlite_file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "db.sqlite3"


@pytest.fixture(scope="module")
def django_sqlite(sqlite_file) -> str:
    django_project({"ENGINE": "django.db.backends.sqlite3", "NAME": str(sqlite_file)}, DJANGO)
    return f"sqlite:///{sqlite_file}"


@contextmanager
def postgresql(server) -> Iterator[tuple[dict[str, str], str]]:
    """A new database of the server's PostgreSQL: Django's settings, and the URL."""
    database = f"shop_{secrets.token_hex(4)}"
    with psycopg.connect(server.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database}".encode())
        try:
            where = conninfo_to_dict(server.database_url)
            settings = {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": database,
                **{name.upper(): str(where[name]) for name in ("host", "port", "user", "password") if name in where},
            }
            yield settings, make_url(server.database_url).set(database=database).render_as_string(hide_password=False)
        finally:
            connection.execute(f"DROP DATABASE {database} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def django_postgresql(watchword_server) -> Iterator[str]:
    with postgresql(watchword_server) as (settings, url):
        django_project(settings, DJANGO)
        yield url


@pytest.fixture(scope="module")
def mysql() -> Iterator[MariaDB]:
    with mariadb() as server:
        yield server


@pytest.fixture(scope="module")
def django_mysql(mysql) -> str:
    url = mysql.create("shop")
    settings = {
        "ENGINE": "django.db.backends.mysql",
        "NAME": "shop",
        "USER": mysql.user,
        "PASSWORD": mysql.password,
        "OPTIONS": {"unix_socket": str(mysql.socket)},
    }
    django_project(settings, DJANGO)
    return url


def check_django(url: str, sent, watchword: Client, tmp_path: Path) -> None:
    tried = dry("django", "--from", url, cwd=tmp_path, code=1)
    assert (tried["read_count"], tried["importable_count"], tried["refused_count"]) == (len(DJANGO), GOOD, 3)
    done = sent("django", "--from", url, "--id-prefix", "shop/", refused=True)
    assert (done["created_count"], done["existing_count"], done["refused_count"]) == (GOOD, 0, 3)
    for told in (tried, done):
        assert (told["suspended_count"], told["without_password_count"], told["weak_password_count"]) == (1, 2, 1)
        assert told["flags"] == {"is_staff": 1, "is_superuser": 1}
        assert told["password_schemes"]["argon2id"] == 3
        cases = {(case["field"], tuple(case["examples"])): case["description"] for case in told["refusals"]}
        assert cases.keys() == {("password_hash", ("10",)), ("email", ("11",)), ("email", ("12",))}
        assert "MD5, as Django" in cases["password_hash", ("10",)]
        assert "is the e-mail address of" in cases["email", ("11",)]
    again = sent("django", "--from", url, "--id-prefix", "shop/", refused=True)
    assert (again["created_count"], again["existing_count"], again["refused_count"]) == (0, GOOD, 3)
    users = {user.external_id: user for user in watchword.users.list()}
    assert users.keys() == {f"shop/{number}" for number in range(1, GOOD + 1)}
    ana = users["shop/1"]
    assert (ana.email, ana.username, ana.display_name) == ("Ana@Example.com", "Ana.Ü", f"Ana {HOSTILE}")
    assert (ana.create_time, ana.attributes) == (LONG_AGO, {"groups": sorted(["Redaktion", HOSTILE])})
    assert watchword.credentials.list(ana.user_id)[0].last_used_time == LATELY
    assert users["shop/2"].attributes == {"is_staff": True, "is_superuser": True}
    assert (users["shop/9"].username, users["shop/9"].email) == (None, "mail@example.com")
    assert users["shop/7"].status is UserStatus.SUSPENDED
    assert watchword.credentials.list(users["shop/8"].user_id) == ()
    for name in ("Ana@example.COM", "ana.ü", "sha1", "argon", "bcrypt", "plain", "scrypt", "mail@example.com"):
        assert watchword.sign_in(name, password=PASSWORD).session
    for name, password in (("argon", PASSWORD + "x"), ("left", PASSWORD), ("nobody", ""), ("md5", PASSWORD)):
        with pytest.raises(SignInRefusedError):
            watchword.sign_in(name, password=password or "x")


def test_django_on_sqlite(django_sqlite, sent, watchword, tmp_path):
    check_django(django_sqlite, sent, watchword, tmp_path)


def test_django_on_postgresql(django_postgresql, sent, watchword, tmp_path):
    check_django(django_postgresql, sent, watchword, tmp_path)


@pytest.mark.timeout(300)  # it may install MariaDB first
def test_django_on_mysql(django_mysql, sent, watchword, tmp_path):
    check_django(django_mysql, sent, watchword, tmp_path)


EMAIL = "email = models.EmailField(unique=True)"
UUID_ = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
OWN_MODELS: dict[str, tuple[str, dict[str, str], str]] = {
    "usual": (EMAIL, {}, "1"),
    "uuid": (f"uuid = models.UUIDField(primary_key=True, default=uuid4); {EMAIL}", {"uuid": str(UUID_)}, UUID_.hex),
    "email": ("email = models.EmailField(primary_key=True)", {}, "ana@example.com"),
    "hostile": (f"""number = models.AutoField(primary_key=True, db_column="Nr.'; -- :id"); {EMAIL}""", {}, "1"),
}


@pytest.mark.parametrize("name", OWN_MODELS)
def test_django_with_a_user_model_of_its_own(name, sent, run, watchword, tmp_path):
    fields, key, external_id = OWN_MODELS[name]
    users = [{**key, "email": "ana@example.com", "text": PASSWORD, "hasher": "argon2", "groups": ["a", "b"]}]
    file = tmp_path / "db.sqlite3"
    django_project({"ENGINE": "django.db.backends.sqlite3", "NAME": str(file)}, users, own_model=fields)
    url = f"sqlite:///{file}"
    told = run("import", "django", "--from", url, code=3).stderr
    assert "no table auth_user" in told
    assert "--table: members_account looks like it" in told
    assert sent("django", "--from", url, "--table", "members_account")["created_count"] == 1
    (user,) = watchword.users.list()
    assert (user.external_id, user.attributes) == (external_id, {"groups": ["a", "b"]})
    assert watchword.sign_in("ana@example.com", password=PASSWORD).session


def test_django_with_a_primary_key_of_uuids_on_postgresql(watchword_server, sent, watchword):
    fields, key, _ = OWN_MODELS["uuid"]
    users = [{**key, "email": "ana@example.com", "text": PASSWORD, "hasher": "argon2", "groups": ["a", "b"]}]
    with postgresql(watchword_server) as (settings, url):
        django_project(settings, users, own_model=fields)
        assert sent("django", "--from", url, "--table", "members_account")["created_count"] == 1
    (user,) = watchword.users.list()
    assert (user.external_id, user.attributes) == (str(UUID_), {"groups": ["a", "b"]})


# ----- Flask-Security -------------------------------------------------------------------------------------------------

FLASK: list[dict[str, Any]] = [
    {
        "email": "ana@example.com",
        "username": "ana",
        "text": PASSWORD,
        "roles": ["editor", "admin"],
        "last_login_at": "2024-01-01T00:00:00",
        "current_login_at": LATELY.replace(tzinfo=None).isoformat(),
    },
    {"email": "ben@example.com", "text": PASSWORD, "active": False},
    {"email": "cleo@example.com", "text": None},
]


@pytest.mark.parametrize(("scheme", "mixed"), [("argon2", 2), ("django_pbkdf2_sha256", 0)])
def test_flask_security(scheme, mixed, run, watchword, tmp_path, watchword_server):
    file = tmp_path / "app.db"
    flask_security_app(file, FLASK, salt=SALT, scheme=scheme)
    (tmp_path / "salt").write_text(f"{SALT}\n")
    command = ("import", "flask-security", "--from", f"sqlite:///{file}")
    assert "SECURITY_PASSWORD_SALT" in run(*command, code=2).stderr
    shown = run(*command, "--password-salt-file", "salt", "--json")
    done = json.loads(shown.stdout)
    assert SALT not in shown.stdout + shown.stderr
    assert (done["mixed_with_salt_count"], done["not_mixed_with_salt_count"]) == (mixed, 2 - mixed)
    assert (done["created_count"], done["suspended_count"], done["without_password_count"]) == (3, 1, 1)
    repeated = _run(*command, "--dry-run", cwd=tmp_path, SECURITY_PASSWORD_SALT=SALT)
    assert repeated.returncode == 0
    assert f"2  passwords taken as {'mixed' if mixed else 'not mixed'} with SECURITY_PASSWORD_SALT" in repeated.stdout
    ana = watchword.users.get_by_username("ana")
    assert (ana.external_id, ana.email, ana.attributes) == ("1", "ana@example.com", {"roles": ["admin", "editor"]})
    assert watchword.credentials.list(ana.user_id)[0].last_used_time == LATELY
    assert watchword.sign_in("ana", password=PASSWORD).session
    with pytest.raises(SignInRefusedError):
        watchword.sign_in("ben@example.com", password=PASSWORD)


def test_flask_security_that_hashes_once(sent, watchword, tmp_path):
    flask_security_app(tmp_path / "app.db", FLASK, salt="", scheme="bcrypt", single_hash=True)
    url = f"sqlite:///{tmp_path}/app.db"
    done = sent("flask-security", "--from", url, "--single-hash")
    assert (done["created_count"], done["mixed_with_salt_count"], done["not_mixed_with_salt_count"]) == (3, 0, 2)
    assert watchword.sign_in("ana", password=PASSWORD).session


@pytest.mark.parametrize("scheme", ["django_pbkdf2_sha256", "django_argon2", "django_bcrypt_sha256", "argon2"])
def test_flask_security_that_always_hashes_twice(scheme, run, sent, watchword, tmp_path):
    flask_security_app(tmp_path / "app.db", FLASK, salt=SALT, scheme=scheme, single_hash=False)
    (tmp_path / "salt").write_text(SALT)
    command = ("flask-security", "--from", f"sqlite:///{tmp_path}/app.db", "--password-salt-file", "salt")
    if scheme.startswith("django"):
        # The hashes say nothing of it: at least it is told before.
        shown = run("import", *command, "--dry-run").stdout
        assert "2  passwords taken as not mixed with SECURITY_PASSWORD_SALT: if the application mixes" in shown
        assert "taken as mixed" not in shown
    done = sent(*command, "--no-single-hash")
    assert (done["created_count"], done["mixed_with_salt_count"], done["not_mixed_with_salt_count"]) == (3, 2, 0)
    assert watchword.sign_in("ana", password=PASSWORD).session
    with pytest.raises(SignInRefusedError):
        watchword.sign_in("ana", password=PASSWORD + "x")


# ----- fastapi-users --------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)  # it installs fastapi-users first, once
def test_fastapi_users(sent, watchword, tmp_path):
    users = [
        {"email": "ana@example.com", "text": PASSWORD, "is_superuser": True, "is_verified": True},
        {"email": "ben@example.com", "text": PASSWORD, "is_active": False},
    ]
    fastapi_users_app(tmp_path / "app.db", users)
    url = f"sqlite:///{tmp_path}/app.db"
    done = sent("fastapi-users", "--from", url)
    assert (done["created_count"], done["flags"]) == (2, {"is_superuser": 1, "is_verified": 1})
    assert sent("fastapi-users", "--from", url)["existing_count"] == 2
    ana = watchword.users.get_by_email("ana@example.com")
    with sqlite3.connect(tmp_path / "app.db") as connection:
        ids = {row[0] for row in connection.execute('SELECT id FROM "user"')}
    assert ana.external_id in ids
    assert ana.attributes == {"is_superuser": True, "is_verified": True}
    assert watchword.sign_in("ana@example.com", password=PASSWORD).session
    assert watchword.users.get_by_email("ben@example.com").status is UserStatus.SUSPENDED


# ----- any table ------------------------------------------------------------------------------------------------------

HASH = bcrypt.hashpw(APART.encode(), bcrypt.gensalt(4)).decode()
COLUMNS = {
    "id": 'k"e`y',
    "email": "e'mail; DROP TABLE people",
    "password": "pass%s %(word)s",
    "active": "is:active?",
    "name": "select",
    "time": "last [in]",
    "more": "--more\\",
}


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def people(file: Path, rows: list[tuple[Any, ...]]) -> str:
    with sqlite3.connect(file) as connection:
        connection.execute(f"CREATE TABLE {quoted(HOSTILE)} ({', '.join(map(quoted, COLUMNS.values()))})")
        connection.executemany(f"INSERT INTO {quoted(HOSTILE)} VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    connection.close()
    return f"sqlite:///{file}"


OPTIONS = (
    *("table", HOSTILE, "--id-column", COLUMNS["id"], "--email-column", COLUMNS["email"]),
    *("--password-column", COLUMNS["password"], "--active-column", COLUMNS["active"]),
    *("--display-name-column", COLUMNS["name"], "--last-sign-in-column", COLUMNS["time"]),
    *("--attribute-column", COLUMNS["more"]),
)


def test_names_of_columns_and_tables_are_no_sql(sent, watchword, tmp_path):
    url = people(tmp_path / "x.db", [(7, "ana@example.com", HASH, "yes", HOSTILE, "2024-05-06 07:08:09", 12)])
    done = sent(*OPTIONS, "--from", url, "--time-zone", "Europe/Zurich")
    assert (done["created_count"], done["weak_password_count"], done["password_schemes"]) == (1, 1, {"bcrypt": 1})
    (user,) = watchword.users.list()
    assert (user.external_id, user.email, user.display_name) == ("7", "ana@example.com", HOSTILE)
    assert user.attributes == {COLUMNS["more"]: 12}
    used = watchword.credentials.list(user.user_id)[0].last_used_time
    assert used == datetime(2024, 5, 6, 5, 8, 9, tzinfo=UTC)
    assert watchword.sign_in("ana@example.com", password=PASSWORD).session


def test_bad_rows_sink_no_others(sent, run, watchword, tmp_path):
    time = "2024-01-01"
    url = people(
        tmp_path / "x.db",
        [
            (1, "one@example.com", HASH, 1, "x", time, None),
            (None, f"{CANARY}@example.com", HASH, 1, "x", time, None),
            (3, f"{CANARY}@example.com", f"{CANARY} in clear", 1, "x", time, None),
            (4, "", HASH, 1, "x", time, None),
            (5, f"{CANARY}5@example.com", HASH, CANARY, "x", time, None),
            (6, "six@example.com", HASH, True, "x", "yesterday", None),
            (7, "seven@example.com", HASH, b"\x01", "x", "2999-01-01", 1e400),
            (8, "eight@example.com", HASH, 0, "x", 1_700_000_000, None),
            (9, "ONE@example.com", HASH, 1, "x", time, None),
            (1, "again@example.com", HASH, 1, "x", time, None),
            (11, f"{CANARY}11@example.com", HASH, 1, "a\0b", time, None),
            (12, f"{CANARY}12@example.com", "$2b$31$" + HASH[7:], 1, "x", time, None),
            (13, f"{CANARY}13@example.com", HASH, 1, "x", time, b"\x00"),
            ("x" * 257, f"{CANARY}14@example.com", HASH, 1, "x", time, None),
            (15, "fifteen@example.com", HASH, 1, "x", time, 2**60),
        ],
    )
    with sqlite3.connect(tmp_path / "x.db") as connection:
        set_text = f"UPDATE {quoted(HOSTILE)} SET {quoted(COLUMNS['email'])} = CAST(x'fffe' AS TEXT)"
        connection.execute(f"{set_text} WHERE {quoted(COLUMNS['id'])} = 4")
    connection.close()
    fields = {
        "without " + COLUMNS["id"]: "external_id",
        "3": "password_hash",
        "4": "",
        "5": COLUMNS["active"],
        "9": "email",
        "1": "external_id",
        "11": "display_name",
        "12": "password_hash",
        "13": COLUMNS["more"],
        "x" * 257: "external_id",
    }
    for mode in (("--dry-run",), ()):
        shown = run("import", *OPTIONS, "--from", url, "--refused", "refused.jsonl", *mode, code=1)
        lines = [json.loads(line) for line in (tmp_path / "refused.jsonl").read_text().splitlines()]
        if mode:
            assert {line["source_id"]: line["field"] for line in lines} == fields
            assert len(lines) == len(fields)
            assert "unknown kind, if it is a hash at all (id 3)" in shown.stdout
        else:
            # A row of an id that is there already is taken for the same user.
            assert {line["source_id"] for line in lines} == fields.keys()
        assert CANARY not in shown.stdout + shown.stderr + (tmp_path / "refused.jsonl").read_text()
        assert HASH not in shown.stdout
        assert "2  times left out" in shown.stdout
    users = {user.external_id: user for user in watchword.users.list()}
    assert users.keys() == {"1", "6", "7", "8", "15"}
    assert users["8"].status is UserStatus.SUSPENDED
    assert users["7"].attributes == {COLUMNS["more"]: "inf"}
    assert users["15"].attributes == {COLUMNS["more"]: str(2**60)}
    assert watchword.sign_in("seven@example.com", password=PASSWORD).session


def test_users_come_without_hashes_that_cannot_be_verified_if_that_is_wanted(sent, watchword, tmp_path):
    url = people(tmp_path / "x.db", [(n, f"u{n}@example.com", text, 1, "", None, None) for n, text in enumerate(
        ["md5$x$y", "$1$abc$defghijklmnopqrstuvwxyz", HASH]
    )])  # fmt: skip
    assert dry(*OPTIONS, "--from", url, cwd=tmp_path, code=1)["refused_count"] == 2
    done = sent(*OPTIONS, "--from", url, "--drop-bad-hashes")
    assert (done["created_count"], done["dropped_hash_count"], done["without_password_count"]) == (3, 2, 2)
    assert watchword.credentials.list(watchword.users.get_by_email("u0@example.com").user_id) == ()


def test_users_come_without_addresses_that_are_invalid_if_that_is_wanted(sent, run, watchword, tmp_path):
    rows = [
        (1, "ana@example.com", "ana", HASH),
        (2, f"{CANARY}@@example.com", "ben", HASH),
        (3, f"{CANARY}@@example.com", None, HASH),
        (4, f"{CANARY}@@example.com", "no username", HASH),
        (5, f"{CANARY}@@example.com", f"{CANARY}@@example.com", HASH),
        *((number, f"{CANARY} at home", f"user{number}", None) for number in range(6, 12)),
    ]
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection, connection:
        connection.execute("CREATE TABLE people (id, email, username, password)")
        connection.executemany("INSERT INTO people VALUES (?, ?, ?, ?)", rows)
    columns = ("--email-column", "email", "--username-column", "username", "--password-column", "password")
    command = ("table", "people", *columns, "--from", f"sqlite:///{tmp_path}/x.db")
    for told in (dry(*command, cwd=tmp_path, code=1), sent(*command, refused=True)):
        assert (told["refused_count"], told["dropped_email_count"], told["dropped_email_examples"]) == (10, 0, [])
        cases = {tuple(case["examples"]): (case["field"], case["description"]) for case in told["refusals"]}
        assert cases.keys() == {("2", "6", "7", "8", "9"), ("3", "4", "5")}
        assert {field for field, _ in cases.values()} == {"email"}
        assert "--drop-invalid-emails" in cases["2", "6", "7", "8", "9"][1]
        assert "--drop-invalid-emails" not in cases["3", "4", "5"][1]
    wanted = (*command, "--drop-invalid-emails")
    for told in (dry(*wanted, cwd=tmp_path, code=1), sent(*wanted, refused=True)):
        assert (told["refused_count"], told["dropped_email_count"]) == (3, 7)
        assert told["dropped_email_examples"] == ["2", "6", "7", "8", "9"]
    for mode in (("--dry-run",), ()):
        shown = run("import", *wanted, *mode, code=1)
        assert "7  without the e-mail address, which is invalid (id 2, 6, 7, 8, 9, …)" in shown.stdout
        assert CANARY not in shown.stdout + shown.stderr
    users = {user.external_id: (user.email, user.username) for user in watchword.users.list()}
    assert users == {
        "1": ("ana@example.com", "ana"), "2": (None, "ben"), **{str(n): (None, f"user{n}") for n in range(6, 12)}
    }  # fmt: skip
    assert watchword.sign_in("ben", password=PASSWORD).session


# ----- databases ------------------------------------------------------------------------------------------------------


BROKEN = {
    f"postgresql://ana:{SECRET}@127.0.0.1:1/shop": (4, "cannot be reached"),
    f"mysql://ana:{SECRET}@127.0.0.1:1/shop": (4, "cannot be reached"),
    f"postgresql://ana@127.0.0.1:1/shop?password={SECRET}": (4, "cannot be reached"),
    f"postgresql://ana@127.0.0.1/shop?sslmode={SECRET}&password={SECRET}": (4, "it names the password"),
    f"postgresql://ana:{SECRET}@127.0.0.1:port/shop": (2, "%XX"),
    f"postgresql://ana:{SECRET}@[::1/shop": (2, "%XX"),
    f"oracle://ana:{SECRET}@127.0.0.1/shop": (2, "sqlite:///file"),
    f"ftp://ana:{SECRET}@127.0.0.1/shop": (2, "sqlite:///file"),
    f"nonsense {SECRET}": (2, "%XX"),
    "sqlite:///nowhere.db": (3, "no file nowhere.db"),
    "sqlite://": (3, "no path"),
}


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_databases_that_cannot_be_read_are_told_without_the_password(number):
    url, (code, says) = list(BROKEN.items())[number]
    with pytest.raises(Failure) as caught, opened(url):
        pass
    assert caught.value.code == code
    assert says in caught.value.message
    assert SECRET not in caught.value.message
    assert not Path("nowhere.db").exists()


def test_the_address_of_the_database_may_stay_out_of_sight(tmp_path):
    url = f"mysql://ana:{SECRET}@127.0.0.1:1/shop"
    done = _run("import", "django", "--dry-run", cwd=tmp_path, SOURCE_DATABASE_URL=url)
    assert (done.returncode, SECRET in done.stderr) == (4, False)
    assert "mysql+pymysql://ana:***@127.0.0.1:1/shop" in done.stderr
    assert SECRET not in _run("import", "django", "--help", cwd=tmp_path, SOURCE_DATABASE_URL=url).stdout


def test_what_is_no_database(tmp_path):
    (tmp_path / "x.db").write_text("no database at all, but a text that is longer than nothing")
    done = _run("import", "django", "--from", "sqlite:///x.db", "--dry-run", cwd=tmp_path)
    assert (done.returncode, "not a database" in done.stderr) == (1, True)


def test_what_does_not_fit_is_told(django_sqlite, tmp_path):
    def told(layout: Layout, framework: Framework | None = None) -> str:
        with pytest.raises(Failure) as caught, opened(django_sqlite) as source:
            source.fit(framework, layout) if framework else source.require(layout)
        return caught.value.message

    groups = django("auth_group")
    assert "lacks last_login, password. It has id, name" in told(groups.layout, groups)
    assert "No table looks like users of fastapi-users" in told(FASTAPI_USERS.layout, FASTAPI_USERS)
    assert "has no passwort. It has id, " in told(Layout(table="auth_user", id="id", password="passwort"))
    assert "no table nope" in told(Layout(table="nope", id="id"))
    for arguments, says in {
        ("--time-zone", "Mars/Olympus"): "Europe/Zurich",
        ("--refused", "no/where"): "cannot be written",
        ("--table", ""): "--table has no value",
    }.items():
        done = _run("import", "django", "--from", django_sqlite, "--dry-run", *arguments, cwd=tmp_path)
        assert (done.returncode, says in done.stderr) == (2, True), done.stderr
    assert "API key" in _run("import", "django", "--from", django_sqlite, cwd=tmp_path).stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mysql"])
def test_the_source_is_only_read(kind, request):
    url = request.getfixturevalue(f"django_{kind}")
    with pytest.raises(Failure, match=r"(?i)read.?only"), opened(url) as source:
        source._connection.execute(text("DELETE FROM auth_user_groups"))
    with opened(url) as source:
        rows = list(source.rows(source.fit(django("auth_user"), django("auth_user").layout)))
    assert [len(row[""] or ()) for row in rows] == [2, *[0] * (len(DJANGO) - 1)]


def read(url: str, **columns: Any) -> dict[str, Row | str]:
    """The rows of a table `people`, by their ids; for those that are refused the field."""
    layout = Layout(table="people", id="id", **columns)
    reading, found = Reading(layout=layout, now=datetime.now(UTC)), {}
    with opened(url) as source:
        source.require(layout)
        for values in source.rows(layout):
            try:
                row = reading.row(values)
                found[row.source_id] = row
            except RowRefused as refused:
                found[refused.source_id] = refused.field
    return found


def test_what_only_postgresql_has(watchword_server):
    statements = """
        CREATE SCHEMA club;
        SET search_path = club;
        CREATE TABLE people
          (id uuid, email char(40), created timestamptz, seen timestamp, day date, more jsonb, n numeric);
        INSERT INTO people VALUES
          (repeat('0a', 16)::uuid, 'ana@example.com', 'infinity', '2024-05-06 07:08:09.5', null, null, 1),
          (repeat('0b', 16)::uuid, null, '0044-03-15 BC', '20240-01-01', '-infinity', '{"a": [1]}', 2.5),
          (repeat('0c', 16)::uuid, '', '2020-01-01 02:00+02', '2020-01-01', '2020-02-29', '7', 'NaN');
    """
    with psycopg.connect(watchword_server.database_url, autocommit=True) as connection:
        try:
            connection.execute(statements.encode())
            url = make_url(watchword_server.database_url).update_query_dict({"options": "-csearch_path=club"})
            columns = {"email": "email", "create_time": "created", "last_sign_in": ("seen",)}
            found = read(url.render_as_string(hide_password=False), **columns, attributes=("day", "more", "n"))
        finally:
            connection.execute(b"DROP SCHEMA club CASCADE")
    ana, ben, cleo = (found[str(UUID(part * 16))] for part in ("0a", "0b", "0c"))
    assert (ana.user.email, ana.user.create_time, ana.times_left_out) == ("ana@example.com", None, 1)
    assert ana.user.last_sign_in_time == datetime(2024, 5, 6, 7, 8, 9, 500_000, tzinfo=UTC)
    assert (ben.user.last_sign_in_time, ben.times_left_out) == (None, 2)
    assert ben.user.attributes == {"day": "-infinity", "more": {"a": [1]}, "n": 2.5}
    assert cleo.user.create_time == cleo.user.last_sign_in_time == datetime(2020, 1, 1, tzinfo=UTC)
    assert cleo.user.attributes == {"day": "2020-02-29", "more": 7, "n": "nan"}


@pytest.mark.timeout(300)
def test_what_only_mysql_has(mysql):
    url = mysql.create("club")
    mysql.run(
        "CREATE TABLE club.people (id binary(16) PRIMARY KEY, name varchar(20) CHARACTER SET latin1, active bit(1),"
        " created datetime, seen timestamp NULL)",
        "SET sql_mode = ''",
        "INSERT INTO club.people VALUES (unhex(repeat('0a', 16)), 'Zoë', b'1', '0000-00-00 00:00:00', '2024-05-06'),"
        " (unhex(repeat('ff', 16)), '', b'0', '2024-00-00', NULL),"
        " ('abcdefghijklmnop', NULL, NULL, '2024-05-06', NULL)",
    )
    found = read(url, username="name", active="active", create_time="created", last_sign_in=("seen",))
    ana, ben, cleo = (found[key] for key in ("0a" * 16, "ff" * 16, "abcdefghijklmnop"))
    assert (ana.user.username, ana.user.suspended, ana.times_left_out) == ("Zoë", False, 0)
    assert ana.user.last_sign_in_time == datetime(2024, 5, 5, 19, tzinfo=UTC)
    assert (ben.user.username, ben.user.suspended, ben.times_left_out) == (None, True, 1)
    assert (cleo.user.suspended, cleo.user.create_time) == (True, datetime(2024, 5, 6, tzinfo=UTC))


# ----- many -----------------------------------------------------------------------------------------------------------


def many(file: Path, count: int) -> str:
    rows = [(n, f"user{n}@example.com", HASH, 1, f"User {n}", None, None) for n in range(count)]
    return people(file, rows)


def test_a_terminal_sees_how_far_it_is(watchword_server, watchword, tmp_path):
    url = many(tmp_path / "x.db", 2500)
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*PROGRAM, "import", *OPTIONS, "--from", url, "--json"],
        check=True,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=_environment(
            WATCHWORD_ADDRESS=watchword_server.address, WATCHWORD_API_KEY=watchword_server.api_key, TERM="xterm"
        ),
        timeout=60,
    )
    os.close(theirs)
    assert json.loads(done.stdout)["created_count"] == 2500
    shown = os.read(ours, 65536)
    os.close(ours)
    assert b"Importing" in shown
    assert re.search(rb"[1-9][0-9,]* users", shown)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["sqlite", "mysql"])
def test_rows_are_not_gathered_in_memory(kind, request, tmp_path):
    if kind == "sqlite":
        url, layout = many(tmp_path / "x.db", 30_000), Layout(table=HOSTILE, id=COLUMNS["id"], email=COLUMNS["email"])
    else:
        mysql = request.getfixturevalue("mysql")
        url, layout = mysql.create("crowd"), Layout(table="people", id="id", email="email")
        mysql.run(
            "USE crowd",
            "CREATE TABLE people (id int PRIMARY KEY, email text)",
            "INSERT INTO people SELECT seq, repeat('x', 100) FROM seq_1_to_30000",
        )
    with opened(url) as source:
        rows = source.rows(layout)
        tracemalloc.start()
        assert sum(1 for _ in rows) == 30_000
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 4_000_000


def test_postgresql_keeps_the_rows(django_postgresql):
    layout = Layout(table="auth_user", id="id")
    with opened(django_postgresql) as source, closing(source.rows(layout)) as rows:
        next(rows)
        assert source._connection.execute(text("SELECT count(*) FROM pg_cursors")).scalar_one() == 1


def test_who_interrupts_it_is_told_how_to_go_on(watchword_server, watchword, sql, sent, tmp_path):
    url = many(tmp_path / "x.db", 12_000)
    with subprocess.Popen(
        [*PROGRAM, "import", *OPTIONS, "--from", url],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(WATCHWORD_ADDRESS=watchword_server.address, WATCHWORD_API_KEY=watchword_server.api_key),
    ) as process:
        while sql("SELECT count(*) AS n FROM users")[0]["n"] == 0:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) != 0
        told = process.stderr.read()
    assert "Traceback" not in told
    assert "To go on, repeat the command" in told
    counted = int(re.search(r"until now: ([0-9,]+)\.", told)[1].replace(",", ""))
    assert counted < 12_000
    done = sent(*OPTIONS, "--from", url)
    assert done["created_count"] + done["existing_count"] == 12_000
    assert done["existing_count"] >= counted
    assert sql("SELECT count(*) AS n FROM users")[0]["n"] == 12_000
