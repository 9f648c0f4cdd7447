"""README's examples, run as they stand, in its order, against a server started as it says."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from applications import django_project

ROOT = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def in_use(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's own: as root PostgreSQL runs as another account, to which the next run of pytest closes that one.
    with tempfile.TemporaryDirectory(prefix="watchword-readme-") as name:
        yield Path(name)


@pytest.fixture
def environment(folder) -> Iterator[dict[str, str]]:
    """What a reader has: a server from `watchword serve` in an empty folder, and README's two settings."""
    if in_use(7420):
        pytest.skip("port 7420, which the examples name, is in use here")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WATCHWORD_")}
    clean["PATH"] = f"{PROGRAMS}{os.pathsep}{clean['PATH']}"
    with subprocess.Popen(
        ["watchword", "serve"], cwd=folder, env=clean, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            for line in server.stderr:
                if "serves on" in line:
                    break
            else:
                pytest.fail("the server did not start")
            key = folder / ".watchword" / "administrator.key"
            assert key.stat().st_mode & 0o777 == 0o600
            yield {**clean, "WATCHWORD_API_KEY": key.read_text().strip()}
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(30) == 0


@pytest.fixture
def _django(folder) -> None:
    """The reader's own Django project, with the one user whom README brings."""
    user = {"username": "cleo", "email": "cleo@example.com", "text": "the password of her account in Django"}
    django_project({"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "db.sqlite3")}, [user])


@pytest.mark.usefixtures("_django")
def test_every_example_runs_as_it_stands(environment, folder):
    blocks = BLOCK.findall((ROOT / "README.md").read_text())
    assert {language for language, _ in blocks} == {"python", "bash"}
    for language, text in blocks:
        command = [sys.executable, "-c", text] if language == "python" else ["bash", "-euo", "pipefail", "-c", text]
        run = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert run.returncode == 0, f"{text}\n{run.stdout}\n{run.stderr}"
        if "StartSignIn" in text:
            assert re.search(r"access_?token", run.stdout, re.IGNORECASE)
        if "GetUser" in text:
            assert '"Ben"' in run.stdout
