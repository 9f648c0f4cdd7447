"""Serves: `python -m examples.fastapi_app [host:port]`; with `prepare` it only prepares, for another server."""

import sys

import uvicorn

from examples.local import TRY, find_server, write_model


def main(argument: str) -> None:
    """Do what the command line says."""
    find_server()
    write_model()
    if argument != "prepare":
        print(TRY.format(address=f"{argument}, described at http://{argument}/docs"))  # noqa: T201 - it is a command
        host, _, port = argument.rpartition(":")
        uvicorn.run("examples.fastapi_app.application:app", host=host, port=int(port))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8001")
