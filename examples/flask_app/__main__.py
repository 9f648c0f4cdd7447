"""Prepares and serves: `python -m examples.flask_app [host:port]`, or `prepare` alone before another server starts."""

import os
import sys
from pathlib import Path

from watchword.client import Client

# Who may do what, in one place for all services that ask. The application's own table says nothing about it.
MODEL = """model
  schema 1.1
type user
type document
  relations
    define owner: [user]
    define editor: [user] or owner
    define viewer: [user] or editor
    define can_view: viewer
    define can_edit: editor
    define can_share: owner
"""
TRY = """Documents: http://{address}
Make two users, in another terminal, and sign in as each, in two browsers:
  .venv/bin/watchword users create --username ana --ask-password
  .venv/bin/watchword users create --username ben --ask-password
Then let ana create a document and share it with ben, and take it back: ben's next click is refused.
"""


def prepare() -> None:
    """Make the table, and put the permission model into force if another one is."""
    from examples.flask_app.documents import Base, engine  # noqa: PLC0415 - not needed to ask for help

    Base.metadata.create_all(engine)
    engine.dispose()
    with Client.from_environment() as client:
        if client.permissions.get_model().dsl != MODEL:
            client.permissions.write_model(dsl=MODEL)


def main(argument: str) -> None:
    """Do what the command line says."""
    key = Path(".watchword", "administrator.key")
    if "WATCHWORD_API_KEY" not in os.environ and key.exists():  # that of `make run`
        os.environ["WATCHWORD_API_KEY"] = key.read_text().strip()
    prepare()
    if argument != "prepare":
        from examples.flask_app.application import app  # noqa: PLC0415 - it needs the API key

        print(TRY.format(address=argument))  # noqa: T201 - it is a command
        host, _, port = argument.rpartition(":")
        app.run(host, int(port))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8002")
