"""The command line, run as people and scripts run it: as a process, against a real server."""

import json
import os
import pty
import re
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from watchword.server.config import SETTINGS
from watchword.server.storage.embedded import EmbeddedPostgres

PROGRAM = [sys.executable, "-c", "from watchword.cli import main; main()"]
PASSWORD = "correct horse battery staple"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder outside pytest's own: each run of pytest by root closes that to the account of PostgreSQL."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve()


def _environment(**extra: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WATCHWORD_")}
    return {**clean, "COLUMNS": "100", **extra}


def _run(*arguments: str, cwd: Path, stdin: str = "", **extra: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*PROGRAM, *arguments],
        check=False,
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        env=_environment(**extra),
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def run(watchword_server, tmp_path):
    """Run a command against the server as its administrator."""
    # The command has the real time, so the server must have it too, whatever a test before did to its clock.
    watchword_server.reset()

    def run(*arguments: str, stdin: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        done = _run(
            *arguments,
            cwd=tmp_path,
            stdin=stdin,
            WATCHWORD_ADDRESS=watchword_server.address,
            WATCHWORD_API_KEY=watchword_server.api_key,
        )
        assert done.returncode == code, done.stderr
        return done

    return run


@pytest.fixture
def ask(run):
    """The same, and read the JSON that it wrote."""

    def ask(*arguments: str, stdin: str = "", code: int = 0):
        return json.loads(run(*arguments, "--json", stdin=stdin, code=code).stdout)

    return ask


@pytest.fixture
def email() -> str:
    return f"{uuid.uuid4()}@example.com"


@pytest.fixture
def user(ask, email) -> dict:
    return ask("users", "create", "--email", email, "--password-stdin", stdin=PASSWORD)


def _commands() -> Iterator[list[str]]:
    from typer.main import get_command

    from watchword.cli.app import app

    def walk(command, path):
        if hasattr(command, "commands"):
            for name, child in command.commands.items():
                yield from walk(child, [*path, name])
        else:
            yield path, command

    yield from walk(get_command(app), [])


def test_every_command_has_json_and_tells_the_exit_codes():
    found = {" ".join(path): command for path, command in _commands()}
    expected = {
        *("serve", "migrate", "bootstrap", "settings", "generate-master-key", "health", "sign-in", "token inspect"),
        *("doctor", "events tail", "users export"),
        *(f"import {kind}" for kind in ("django", "flask-security", "fastapi-users", "table")),
        *(f"users {verb}" for verb in ("create", "get", "list", "update", "suspend", "reinstate", "delete")),
        *(f"service-accounts {verb}" for verb in ("create", "get", "list", "suspend", "reinstate", "delete")),
        *(f"keys {verb}" for verb in ("create", "list", "rotate", "revoke")),
        *(f"sessions {verb}" for verb in ("list", "get", "revoke", "revoke-all")),
        *(f"credentials {verb}" for verb in ("set-password", "list", "remove")),
        *("signing-keys show", "signing-keys rotate", "database restored"),
        *(f"model {verb}" for verb in ("check", "constants", "convert", "diff", "test", "write", "get", "list")),
        *("check", "explain", "list-objects", "list-subjects"),
        *(f"relationships {verb}" for verb in ("write", "delete", "list", "delete-matching", "import", "export")),
        *(f"organizations {verb}" for verb in ("create", "get", "list", "delete", "members", "add-member")),
        *(f"organizations {verb}" for verb in ("remove-member", "invite", "invitations", "revoke-invitation")),
        *(f"groups {verb}" for verb in ("create", "list", "delete", "members", "add-member", "remove-member")),
    }
    assert set(found) == expected
    for name, command in found.items():
        assert "--json" in [option for parameter in command.params for option in parameter.opts], name
        assert "Exit codes: 0 done;" in command.epilog
        assert command.help, name
        # Everybody on a machine can list the arguments of others.
        assert {"password", "token", "api_key"}.isdisjoint(parameter.name for parameter in command.params), name


def test_help_is_quick_because_it_loads_nothing_heavy(tmp_path):
    program = (
        "import sys; from watchword.cli import main\n"
        "try: main()\n"
        "finally: assert {'grpc', 'sqlalchemy', 'psycopg', 'alembic', 'google'}.isdisjoint(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, "users", "--help"], cwd=tmp_path, check=True, text=True)
    assert done.returncode == 0


def test_without_its_libraries_it_says_what_to_install(tmp_path):
    program = "import sys; sys.modules['typer'] = None; from watchword.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == 'The command line needs typer: run `pip install "watchword[cli]"`.\n'


def test_wrong_usage(tmp_path):
    assert _run("users", "get", cwd=tmp_path).returncode == 2
    assert _run("users", "fly", cwd=tmp_path).returncode == 2


def test_the_version(tmp_path):
    assert re.fullmatch(r"watchword \d+\.\d+\.\d+\n", _run("--version", cwd=tmp_path).stdout)


def test_settings(tmp_path):
    listed = json.loads(_run("settings", "--json", cwd=tmp_path).stdout)
    assert [row["name"] for row in listed] == list(SETTINGS)
    assert "WATCHWORD_LISTEN" in _run("settings", cwd=tmp_path).stdout


def test_a_master_key(tmp_path):
    first, second = (_run("generate-master-key", cwd=tmp_path).stdout for _ in range(2))
    assert re.fullmatch(r"[0-9a-f]{8}:[A-Za-z0-9+/]{43}=\n", first)
    assert first != second
    assert list(json.loads(_run("generate-master-key", "--json", cwd=tmp_path).stdout)) == ["master_key"]


# --- With a server ---------------------------------------------------------------------------------------------


def test_health(watchword_server, tmp_path):
    done = _run("health", "--json", "--address", watchword_server.address, cwd=tmp_path)
    assert json.loads(done.stdout) == {"address": watchword_server.address, "status": "serving"}
    assert _run("health", cwd=tmp_path, WATCHWORD_ADDRESS="127.0.0.1:1").returncode == 4


def test_the_life_of_a_user(ask, run, email, user):
    assert user["email"] == email
    assert user["status"] == "active"
    assert user["delete_time"] is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", user["create_time"])
    assert ask("users", "get", email) == ask("users", "get", user["user_id"]) == user
    changed = ask(
        *("users", "update", email, "--username", user["user_id"][:13], "--display-name", "Ana"),
        *("--external-id", user["user_id"], "--attributes", '{"team": ["a", 1]}', "--etag", user["etag"]),
    )
    assert changed["attributes"] == {"team": ["a", 1]}
    assert ask("users", "get", changed["username"]) == changed
    assert ask("users", "get", "--external-id", user["user_id"]) == changed
    assert ask("users", "update", email, "--display-name", "")["display_name"] is None
    assert "update" not in run("users", "update", email, "--locale", "de", "--etag", "stale", code=1).stdout
    assert ask("users", "suspend", email, "--reason", "test")["status"] == "suspended"
    assert [row["user_id"] for row in ask("users", "list", "--email-prefix", email)] == [user["user_id"]]
    assert ask("users", "list", "--email-prefix", email, "--status", "active") == []
    assert ask("users", "reinstate", email)["status"] == "active"
    assert ask("users", "delete", email, "--yes")["status"] == "deleted"
    run("users", "get", email, code=3)


def test_lists_say_that_there_is_more(ask, run, email):
    for number in range(3):
        ask("users", "create", "--email", f"{number}.{email}", "--display-name", email)
    prefix = ["users", "list", "--email-prefix"]
    done = run("users", "list", "--limit", "2", "--json")
    assert len(json.loads(done.stdout)) == 2
    assert done.stderr == "There are more than 2: use --limit to see them.\n"
    table = run(*prefix, f"1.{email}").stdout.splitlines()
    assert table[0].split() == ["user_id", "status", "email", "username", "display_name", "create_time"]
    assert f"1.{email}" in table[1]
    assert len(table) == 2


def test_a_session(ask, run, email, user):
    tokens = ask(
        "sign-in", email, "--password-stdin", "--device", "Laptop", "--audience", "shop", stdin=PASSWORD + "\n"
    )
    assert tokens["access_token_lifetime"] == 300
    session = tokens["session"]
    assert session["device"]["display_name"] == "Laptop"
    assert session["audiences"] == ["shop"]
    inspected = ask("token", "inspect", "--audience", "shop", stdin=tokens["access_token"])
    assert inspected["unverified"]["claims"]["sub"] == f"user:{user['user_id']}"
    assert inspected["verified_here"]["valid"] is True
    assert inspected["server"]["active"] is True
    assert ask("sessions", "list", email) == [ask("sessions", "get", session["session_id"])]
    assert ask("sessions", "revoke-all", email, "--except", session["session_id"]) == {"revoked_count": 0}
    assert ask("sessions", "revoke", session["session_id"])["end_reason"] == "revoked"
    refused = ask("token", "inspect", "--audience", "shop", stdin=tokens["access_token"], code=1)
    assert refused["server"]["inactive_reason"] == "revoked"
    assert ask("sessions", "list", email) == []
    assert len(ask("sessions", "list", email, "--include-ended")) == 1
    # A person gets the whole token in one line, to be copied.
    shown = run("sign-in", email, "--password-stdin", stdin=PASSWORD)
    assert re.search(r"^access_token +ey[\w-]+\.[\w-]+\.[\w-]+$", shown.stdout, re.MULTILINE)
    assert shown.stderr == ""


def test_a_token_that_is_none(run, ask):
    assert ask("token", "inspect", stdin="nonsense", code=1)["server"]["inactive_reason"] == "not_recognized"
    inspected = ask("token", "inspect", stdin="a.b.c", code=1)
    assert inspected["unverified"] == {"header": None, "claims": None}
    assert inspected["verified_here"]["valid"] is False
    run("token", "inspect", stdin="", code=2)


def test_credentials(ask, run, email, user):
    (password,) = ask("credentials", "list", user["user_id"])
    assert password["kind"] == "password"
    ask("credentials", "set-password", email, "--password-stdin", stdin="another horse, another battery")
    refused = run("sign-in", email, "--password-stdin", stdin=PASSWORD, code=1)
    assert "check the identifier and the password" in refused.stderr
    assert refused.stdout == ""
    weak = run("credentials", "set-password", email, "--password-stdin", stdin="password1", code=1)
    assert "password1" not in weak.stderr
    assert ask("credentials", "remove", email, password["credential_id"], "--yes") == {
        "removed_credential_id": password["credential_id"]
    }
    assert ask("credentials", "list", email) == []


def test_service_accounts_and_keys(ask, run, watchword_server, tmp_path):
    name = f"billing-{uuid.uuid4().hex[:8]}"
    assert ask("service-accounts", "create", name, "--description", "Bills")["description"] == "Bills"
    assert ask("service-accounts", "get", name)["service_account_id"] == name
    created = ask("keys", "create", name, "--permission", "read_users", "--expires-in", "90d")
    key_file = tmp_path / "key"
    key_file.write_text(created["api_key"] + "\n")
    as_billing = ["--address", watchword_server.address, "--api-key-file", str(key_file)]
    assert _run("users", "list", *as_billing, cwd=tmp_path).returncode == 0
    denied = _run("users", "create", "--email", "x@example.com", *as_billing, cwd=tmp_path)
    assert denied.returncode == 5
    assert "write_users" in denied.stderr
    rotated = ask("keys", "rotate", created["key"]["key_id"], "--overlap", "1h")
    assert rotated["previous_key"]["successor_key_id"] == rotated["key"]["key_id"]
    assert [key["key_id"] for key in ask("keys", "list", name)] == [created["key"]["key_id"], rotated["key"]["key_id"]]
    assert ask("keys", "revoke", created["key"]["key_id"])["revoke_time"] is not None
    refused = _run("users", "list", *as_billing, cwd=tmp_path)
    assert refused.returncode == 5
    assert str(key_file) in refused.stderr
    assert created["api_key"] not in refused.stderr
    for command in ("suspend", "reinstate"):
        ask("service-accounts", command, name)
    assert ask("service-accounts", "delete", name, "--yes")["status"] == "deleted"
    assert name not in [account["service_account_id"] for account in ask("service-accounts", "list")]
    assert name in [account["service_account_id"] for account in ask("service-accounts", "list", "--include-deleted")]
    for span in ("soon", "-1d", "1w"):
        run("keys", "create", name, "--permission", "read_users", "--expires-in", span, code=2)


def test_signing_keys(ask):
    before = ask("signing-keys", "show")
    assert all(key["crv"] == "Ed25519" for key in before["jwks"]["keys"])
    rotated = ask("signing-keys", "rotate")
    assert rotated["signing_key_id"] in [key["kid"] for key in ask("signing-keys", "show")["jwks"]["keys"]]


def test_errors_in_json(run):
    done = run("users", "get", str(uuid.uuid4()), "--json", code=3)
    assert done.stdout == ""
    error = json.loads(done.stderr)["error"]
    assert error["reason"] == "NOT_FOUND"
    assert error["request_id"]


def test_no_server(tmp_path):
    done = _run("users", "list", "--address", "127.0.0.1:1", cwd=tmp_path, WATCHWORD_API_KEY="a-key")
    assert done.returncode == 4
    assert "No Watchword answers at 127.0.0.1:1" in done.stderr


def test_no_api_key(tmp_path):
    done = _run("users", "list", cwd=tmp_path)
    assert done.returncode == 5
    assert "WATCHWORD_API_KEY" in done.stderr
    # The key of a server tried out here goes nowhere else.
    (tmp_path / ".watchword").mkdir()
    (tmp_path / ".watchword" / "administrator.key").write_text("a-key\n")
    assert _run("users", "list", "--address", "prod.example.com:443", cwd=tmp_path).returncode == 5
    assert _run("users", "list", "--address", "127.0.0.1:1", cwd=tmp_path).returncode == 4
    assert _run("users", "list", "--api-key-file", "missing", cwd=tmp_path).returncode == 2


def test_nothing_final_is_done_without_being_asked_twice(run, email, user):
    done = run("users", "delete", email, code=2)
    assert "--yes" in done.stderr
    assert json.loads(run("users", "get", email, "--json").stdout)["status"] == "active"


def test_hostile_text_does_not_reach_the_terminal(watchword_server, run, email, user):
    # Names are checked, user agents and attributes of strangers are kept byte for byte.
    evil = "\x1b]0;owned\x07\x9b31m[red]\u202e\r"
    run("users", "update", email, "--attributes", json.dumps({"evil": evil}))
    shown = run("users", "get", email).stdout
    assert "[red]" in shown
    assert {"\x1b", "\x07", "\x9b", "\r", "\u202e"}.isdisjoint(shown)
    as_json = run("users", "get", email, "--json").stdout
    assert json.loads(as_json)["attributes"]["evil"] == evil
    assert as_json.isascii()
    assert as_json.rstrip("\n").isprintable()


def test_a_password_is_asked_for_without_echo(watchword_server, tmp_path, email, user):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "sign-in", email, "--json"],
        cwd=tmp_path,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=_environment(WATCHWORD_ADDRESS=watchword_server.address, WATCHWORD_API_KEY=watchword_server.api_key),
        start_new_session=True,
    )
    os.close(theirs)
    screen = b""
    while b"Password: " not in screen:  # its last character comes when the echo is off
        screen += os.read(ours, 1024)
    os.write(ours, PASSWORD.encode() + b"\n")
    answer, _ = process.communicate(timeout=30)
    try:
        while more := os.read(ours, 1024):
            screen += more
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.returncode == 0
    assert json.loads(answer)["session"]["user_id"] == user["user_id"]
    assert PASSWORD.encode() not in screen


def test_without_a_terminal_a_password_must_be_piped(run, email, user):
    assert "--password-stdin" in run("sign-in", email, code=2).stderr


def test_a_reader_that_leaves_is_no_error(watchword_server, tmp_path):
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    done = subprocess.run(
        [*PROGRAM, "users", "list"],
        check=False,
        cwd=tmp_path,
        stdout=reader.stdin,
        stderr=subprocess.PIPE,
        env=_environment(WATCHWORD_ADDRESS=watchword_server.address, WATCHWORD_API_KEY=watchword_server.api_key),
    )
    assert (done.returncode, done.stderr) == (0, b"")


# --- Servers of their own --------------------------------------------------------------------------------------


@contextmanager
def _serving(cwd: Path, **extra: str) -> Iterator[tuple[subprocess.Popen[str], list[dict]]]:
    """A server, and what it wrote until it was ready."""
    with subprocess.Popen(
        [*PROGRAM, "serve", "--json"],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(WATCHWORD_LISTEN="127.0.0.1:0", **extra),
    ) as process:
        wrote: list[dict] = []
        errors: list[str] = []
        drain = threading.Thread(target=lambda: errors.extend(process.stderr))
        drain.start()
        while not wrote or "address" not in wrote[-1]:
            line = process.stdout.readline()
            if not line:
                drain.join()
                pytest.fail("".join(errors))
            wrote.append(json.loads(line))
        try:
            yield process, wrote
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            drain.join()
        assert process.returncode == 0, errors
        assert "Traceback" not in "".join(errors)


def test_the_first_serve_shows_the_key_once_and_keeps_it(tmp_path):
    with _serving(tmp_path) as (_, (first, ready)):
        file = tmp_path / ".watchword" / "administrator.key"
        assert file.read_text().strip() == first["administrator_api_key"]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        # In the same folder nothing has to be said; elsewhere the folder does.
        assert _run("users", "list", "--address", ready["address"], cwd=tmp_path).returncode == 0
        # Commands share the database with the server.
        again = _run("bootstrap", cwd=tmp_path)
        assert again.returncode == 1
        assert "made before" in again.stderr
        assert _run("migrate", "--json", cwd=tmp_path).stdout == '{"applied": []}\n'
        assert _run("users", "list", "--address", ready["address"], cwd=tmp_path).returncode == 0
        created = _run("users", "create", "--username", "ana", "--address", ready["address"], cwd=tmp_path)
        assert created.returncode == 0
    assert not (tmp_path / ".watchword" / "postgres" / "data" / "postmaster.pid").exists()
    with _serving(tmp_path) as (_, (ready,)):
        assert _run("users", "get", "ana", "--address", ready["address"], cwd=tmp_path).returncode == 0


def test_a_server_that_was_killed_starts_again(tmp_path):
    with pytest.raises(AssertionError), _serving(tmp_path) as (process, _):
        process.kill()
    with _serving(tmp_path) as (_, wrote):
        assert len(wrote) == 1


def test_the_port_is_taken(watchword_server, tmp_path):
    done = _run("serve", cwd=tmp_path, WATCHWORD_LISTEN=watchword_server.address)
    assert done.returncode == 1
    assert f"Cannot serve on {watchword_server.address}" in done.stderr
    assert not (tmp_path / ".watchword" / "postgres" / "data" / "postmaster.pid").exists()


def test_wrong_settings(tmp_path):
    done = _run("serve", cwd=tmp_path, WATCHWORD_LISTN="x")
    assert done.returncode == 2
    assert "WATCHWORD_LISTN is no setting" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def external(tmp_path) -> Iterator[dict[str, str]]:
    """The settings of a server with a database that somebody else runs."""
    key = _run("generate-master-key", cwd=tmp_path).stdout.strip()
    with EmbeddedPostgres.start(tmp_path / "pg", durable=False) as postgres:
        yield {"WATCHWORD_DATABASE_URL": postgres.url, "WATCHWORD_MASTER_KEY": key}


def test_with_an_external_database_nothing_happens_by_itself(tmp_path, external):
    refused = _run("serve", cwd=tmp_path, **external)
    assert refused.returncode == 1
    assert "Run `watchword migrate`." in refused.stderr
    assert _run("bootstrap", cwd=tmp_path, **external).returncode == 1
    migrated = _run("migrate", "--json", cwd=tmp_path, **external)
    assert json.loads(migrated.stdout)["applied"]
    first = _run("bootstrap", "--json", cwd=tmp_path, **external)
    api_key = json.loads(first.stdout)["administrator_api_key"]
    second = _run("bootstrap", cwd=tmp_path, **external)
    assert (second.returncode, second.stdout) == (1, "")
    with _serving(tmp_path, **external) as (_, (ready,)):
        listed = _run("users", "list", cwd=tmp_path, WATCHWORD_ADDRESS=ready["address"], WATCHWORD_API_KEY=api_key)
        assert listed.returncode == 0
    assert not (tmp_path / ".watchword").exists()
    with psycopg.connect(external["WATCHWORD_DATABASE_URL"]) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    ahead = _run("serve", cwd=tmp_path, **external)
    assert ahead.returncode == 1
    assert "newer Watchword" in ahead.stderr


def test_a_database_that_does_not_answer(tmp_path, external):
    for url, code in {
        "postgresql://watchword:hunter2@127.0.0.1:1/watchword": 4,
        "hunter2": 2,
        # Characters of a password that were not written as %XX.
        "postgresql://watchword:hunter2/x@127.0.0.1/watchword": 2,
        "postgresql://watchword:x@hunter2@127.0.0.1/watchword": 2,
    }.items():
        done = _run("serve", cwd=tmp_path, **{**external, "WATCHWORD_DATABASE_URL": url})
        assert done.returncode == code, done.stderr
        assert "WATCHWORD_DATABASE_URL" in done.stderr
        assert "hunter2" not in done.stderr
