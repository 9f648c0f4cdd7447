"""The oldest PostgreSQL at hand: most of the behaviour tests once more, on the machine's own server."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

INSTALLED = Path("/usr/lib/postgresql")


def oldest() -> Path | None:
    found = [folder for folder in INSTALLED.glob("*/bin") if folder.parent.name in {"14", "15", "16", "17"}]
    return min(found, default=None)


@pytest.fixture
def url() -> Iterator[str]:
    programs = oldest()
    if programs is None:
        pytest.skip("no PostgreSQL 14 to 17 is installed here")
    # PostgreSQL refuses to run as root; Debian's package brings an account for it.
    account = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    folder = Path(tempfile.mkdtemp(prefix="watchword-pg-"))
    shutil.chown(folder, account)

    def run(*command: str) -> None:
        subprocess.run(
            [programs / command[0], *command[1:]],
            user=account,
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )

    run("initdb", "-D", str(folder / "data"), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    run("pg_ctl", "-D", str(folder / "data"), "-l", str(folder / "log"), "-o", options, "-w", "start")
    try:
        with psycopg.connect(f"postgresql://postgres@/postgres?host={folder}", autocommit=True) as connection:
            connection.execute("create database watchword")
        yield f"postgresql://postgres@/watchword?host={folder}"
    finally:
        run("pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def test_behaviour_on_the_oldest_postgresql(url):
    modules = ["users", "service_accounts", "sign_in", "sessions", "tokens", "events"]
    files = [str(Path(__file__).with_name(f"test_{module}.py")) for module in modules]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", *files],
        env={**os.environ, "WATCHWORD_TEST_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    with psycopg.connect(url) as connection:
        assert connection.info.server_version < 180000
        assert connection.execute("select count(*) from deployment").fetchone() == (1,)
