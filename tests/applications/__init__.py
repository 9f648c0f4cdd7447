"""Applications of other people, whose users are imported: each a program of its own, as their makers have it."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
HASHERS = (
    *("PBKDF2PasswordHasher", "PBKDF2SHA1PasswordHasher", "Argon2PasswordHasher", "BCryptSHA256PasswordHasher"),
    *("BCryptPasswordHasher", "ScryptPasswordHasher", "MD5PasswordHasher"),
)
_FASTAPI_USERS = ("fastapi-users[sqlalchemy]==15.0.5", "aiosqlite==0.22.1")


def django_project(
    database: dict[str, Any],
    users: list[dict[str, Any]],
    *,
    own_model: str = "",
    hashers: tuple[str, ...] = HASHERS,
) -> None:
    """Make the database of a Django project, perhaps with a user model of its own that has these fields, as Python."""
    order = {"database": database, "users": users, "own_model": own_model, "hashers": hashers}
    _run(sys.executable, "django_project.py", order)


def flask_security_app(
    file: Path, users: list[dict[str, Any]], *, salt: str, scheme: str = "argon2", single_hash: bool | None = None
) -> None:
    """Make the database of a Flask application."""
    order = {
        "database": f"sqlite:///{file}",
        "users": users,
        "salt": salt,
        "scheme": scheme,
        "single_hash": single_hash,
    }
    _run(sys.executable, "flask_security_app.py", order)


def fastapi_users_app(file: Path, users: list[dict[str, Any]]) -> None:
    """Make the database of a FastAPI application; skip the test where fastapi-users cannot be installed."""
    _run(_fastapi_users(), "fastapi_users_app.py", {"database": f"sqlite+aiosqlite:///{file}", "users": users})


def _run(python: str | Path, program: str, order: dict[str, Any]) -> None:
    done = subprocess.run(
        [python, HERE / program], input=json.dumps(order), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def _fastapi_users() -> Path:
    """An environment beside our own packages, which goes when they go."""
    home = Path(sys.prefix) / "fastapi-users"
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        venv.create(home, clear=True)
        # Our constraints are for our environment.
        environment = {name: value for name, value in os.environ.items() if not name.endswith("_CONSTRAINT")}
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *_FASTAPI_USERS]
        done = subprocess.run(pip, env=environment, capture_output=True, text=True, timeout=90, check=False)
        if done.returncode != 0:
            pytest.skip("fastapi-users is not tested: it could not be installed.")
        (home / "complete").touch()
    return python
