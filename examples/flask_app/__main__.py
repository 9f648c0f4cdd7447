"""Prepares and serves: `python -m examples.flask_app [host:port]`, or `prepare` alone before another server starts."""

import sys

from examples.local import TRY, find_server, write_model


def prepare() -> None:
    """Make the table, and put the permission model into force if another one is."""
    from examples.flask_app.documents import Base, engine  # noqa: PLC0415 - not needed to ask for help

    Base.metadata.create_all(engine)
    engine.dispose()
    write_model()


def main(argument: str) -> None:
    """Do what the command line says."""
    find_server()
    prepare()
    if argument != "prepare":
        from examples.flask_app.application import app  # noqa: PLC0415 - it needs the API key

        print(TRY.format(address=argument))  # noqa: T201 - it is a command
        host, _, port = argument.rpartition(":")
        app.run(host, int(port))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8002")
