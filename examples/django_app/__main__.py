"""Prepares and serves: `python -m examples.django_app [host:port]`, or `prepare` alone before another server starts."""

import os
import sys
from pathlib import Path

import django
from django.core.management import call_command

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
    call_command("migrate", run_syncdb=True, verbosity=0)
    with Client.from_environment() as client:
        if client.permissions.get_model().dsl != MODEL:
            client.permissions.write_model(dsl=MODEL)


def main(argument: str) -> None:
    """Do what the command line says."""
    key = Path(".watchword", "administrator.key")
    if "WATCHWORD_API_KEY" not in os.environ and key.exists():  # that of `make run`
        os.environ["WATCHWORD_API_KEY"] = key.read_text().strip()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.django_app.settings")
    django.setup()
    prepare()
    if argument != "prepare":
        print(TRY.format(address=argument))  # noqa: T201 - it is a command
        call_command("runserver", argument, use_reloader=False)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8000")
