"""Prepares and serves: `python -m examples.django_app [host:port]`, or `prepare` alone before another server starts."""

import os
import sys

import django
from django.core.management import call_command

from examples.local import TRY, find_server, write_model


def prepare() -> None:
    """Make the table, and put the permission model into force if another one is."""
    call_command("migrate", run_syncdb=True, verbosity=0)
    write_model()


def main(argument: str) -> None:
    """Do what the command line says."""
    find_server()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.django_app.settings")
    django.setup()
    prepare()
    if argument != "prepare":
        print(TRY.format(address=argument))  # noqa: T201 - it is a command
        call_command("runserver", argument, use_reloader=False)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8000")
