"""`watchword doctor`: what is wrong is found, what to do is said, and nothing is made or given away."""

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from conftest import PASSWORD
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from deployment import PROGRAM, Deployment, deployment

from watchword.server.sealing import Keyring


@pytest.fixture(scope="module")
def made() -> Iterator[Deployment]:
    with deployment() as made:
        with made.client() as client:
            client.users.create(username="ana", password=PASSWORD)
        yield made


def run(cwd: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WATCHWORD_")}
    return subprocess.run(
        [*PROGRAM, "doctor", *arguments],
        check=False,
        cwd=cwd,
        env={**clean, **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )


Found = dict[str, list[dict[str, str]]]


@pytest.fixture
def examine(made: Deployment, tmp_path: Path) -> Callable[..., tuple[Found, int]]:
    """The findings by check, for the deployment's settings with some changes; and the exit code."""

    def examine(**changes: str) -> tuple[Found, int]:
        done = run(tmp_path, "--json", **made.settings | changes)
        assert done.stderr == ""
        found: Found = {}
        for finding in json.loads(done.stdout):
            found.setdefault(finding["check"], []).append(finding)
        return found, done.returncode

    return examine


def level(found: Found, check: str) -> str:
    (finding,) = found[check]
    assert finding["text"]
    assert finding["advice"] or finding["level"] == "ok"
    return finding["level"]


def test_all_is_well(examine):
    found, code = examine()
    assert code == 0
    assert {check: level(found, check) for check in found} == dict.fromkeys(
        ("settings", "tls", "database", "durability", "clock", "connections", "transactions", "schema", "signing keys",
         "master key"),
        "ok",
    )  # fmt: skip


def test_people_read_lines(made: Deployment, tmp_path: Path):
    done = run(tmp_path, **made.settings | {"WATCHWORD_WORKERS": "200"})
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("problem  connections")]
    assert "max_connections" in lines[at + 1]


def test_an_embedded_database_is_checked_too(made: Deployment, examine):
    found, code = examine(WATCHWORD_DATABASE_URL="", WATCHWORD_DATA_DIR=str(made._folder))
    assert code == 0
    assert "MiB are free" in found["disk"][0]["text"]
    assert level(found, "master key") == "ok"


def test_nothing_is_made(tmp_path: Path):
    done = run(tmp_path)
    assert done.returncode == 0
    assert "watchword serve" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_settings_that_make_no_sense_are_named(tmp_path: Path):
    done = run(tmp_path, WATCHWORD_LISTN="x")
    assert (done.returncode, "WATCHWORD_LISTN" in done.stdout) == (1, True)


def test_a_database_that_does_not_answer(examine):
    found, code = examine(WATCHWORD_DATABASE_URL="postgresql://watchword:canary@127.0.0.1:1/watchword")
    assert (level(found, "database"), code) == ("problem", 1)
    assert "canary" not in str(found)
    assert "schema" not in found


def test_a_database_url_that_is_none(examine):
    found, code = examine(WATCHWORD_DATABASE_URL="postgresql://watchword:can/ary@db/watchword")
    assert (level(found, "database"), code) == ("problem", 1)
    assert "ary" not in str(found).replace("WATCHWORD", "")


def test_another_master_key(examine):
    other = Keyring.generate(secrets.token_bytes)
    found, code = examine(WATCHWORD_MASTER_KEY=other)
    assert (level(found, "signing keys"), level(found, "master key"), code) == ("problem", "problem", 1)
    assert other.partition(":")[2] not in str(found)


def test_no_master_key(examine):
    found, code = examine(WATCHWORD_MASTER_KEY="")
    assert (level(found, "master key"), code) == ("problem", 1)


def test_a_signing_key_that_somebody_put_in(made: Deployment, examine):
    with psycopg.connect(made.database_url, autocommit=True) as connection:
        (before,) = connection.execute("SELECT public_key FROM signing_keys").fetchone() or ()
        connection.execute("UPDATE signing_keys SET public_key = %s", [secrets.token_bytes(32)])
        found, code = examine()
        connection.execute("UPDATE signing_keys SET public_key = %s", [before])
    assert (level(found, "signing keys"), code) == ("problem", 1)


def test_a_schema_that_is_behind(made: Deployment, examine):
    with psycopg.connect(made.database_url, autocommit=True) as connection:
        (before,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or ()
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
        found, code = examine()
        connection.execute("UPDATE alembic_version SET version_num = %s", [before])
    assert (level(found, "schema"), code) == ("problem", 1)
    assert "watchword migrate" in found["schema"][0]["text"]
    assert "signing keys" not in found


@contextmanager
def database_clock_ahead(made: Deployment, seconds: int) -> Iterator[None]:
    """Let PostgreSQL tell another time to those who connect."""
    with psycopg.connect(made.database_url, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS"
            f" $$ SELECT pg_catalog.clock_timestamp() + interval '{seconds} s' $$"
        )
        database = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{database}" SET search_path = public, pg_catalog')
        try:
            yield
        finally:
            connection.execute(f'ALTER DATABASE "{database}" RESET search_path')
            connection.execute("DROP FUNCTION public.clock_timestamp()")


@pytest.mark.parametrize(("seconds", "expected"), [(1, "ok"), (20, "warning"), (-20, "warning"), (-300, "problem")])
def test_clocks_that_differ(made: Deployment, examine, seconds: int, expected: str):
    with database_clock_ahead(made, seconds):
        found, code = examine()
    assert (level(found, "clock"), code) == (expected, int(expected == "problem"))


def test_a_transaction_that_stays_open(made: Deployment, examine):
    with psycopg.connect(made.database_url) as connection:
        connection.execute("SELECT pg_current_xact_id()")
        with database_clock_ahead(made, 100):
            found, _ = examine()
    assert level(found, "transactions") == "warning"


def test_connections_that_do_not_suffice(examine):
    found, code = examine(WATCHWORD_POOL_SIZE="500")
    assert (level(found, "connections"), code) == ("problem", 1)


# ----- files ----------------------------------------------------------------------------------------------------------


def certificate(folder: Path, key: EllipticCurvePrivateKey, *, days: float, begin: float = -100) -> str:
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "watchword.test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=begin))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, SHA256())
    )
    file = folder / f"{days}-{begin}.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return str(file)


@pytest.mark.parametrize(
    ("days", "begin", "expected"),
    [(100, -100, "ok"), (10, -100, "warning"), (-1, -100, "problem"), (100, 1, "problem")],
)
def test_certificates_that_end(examine, tmp_path: Path, days: float, begin: float, expected: str):
    key = generate_private_key(SECP256R1())
    file = tmp_path / "key.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    chain = certificate(tmp_path, key, days=days, begin=begin)
    found, code = examine(WATCHWORD_TLS_CERT_FILE=chain, WATCHWORD_TLS_KEY_FILE=str(file))
    assert (level(found, "tls"), code) == (expected, int(expected == "problem"))
    other = certificate(tmp_path, generate_private_key(SECP256R1()), days=200)
    found, code = examine(WATCHWORD_TLS_CERT_FILE=other, WATCHWORD_TLS_KEY_FILE=str(file))
    assert (level(found, "tls"), code) == ("problem", 1)


def test_certificates_that_are_not_there(examine, tmp_path: Path):
    missing = str(tmp_path / "missing.pem")
    found, code = examine(WATCHWORD_TLS_CERT_FILE=missing, WATCHWORD_TLS_KEY_FILE=missing)
    assert (level(found, "tls"), code) == ("problem", 1)


def test_plain_text_on_a_network_is_warned_of(examine):
    found, code = examine(WATCHWORD_LISTEN="0.0.0.0:7420", WATCHWORD_INSECURE="true")
    assert (level(found, "tls"), code) == ("warning", 0)


def test_a_master_key_that_everybody_can_read(made: Deployment, examine, tmp_path: Path):
    file = tmp_path / "master.key"
    file.write_text(made.settings["WATCHWORD_MASTER_KEY"])
    settings = {"WATCHWORD_MASTER_KEY": "", "WATCHWORD_MASTER_KEY_FILE": str(file)}
    file.chmod(0o600)
    assert level(examine(**settings)[0], "master key") == "ok"
    file.chmod(0o644)
    found, code = examine(**settings)
    assert ([finding["level"] for finding in found["master key"]], code) == (["warning", "ok"], 0)
