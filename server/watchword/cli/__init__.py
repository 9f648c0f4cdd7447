"""The command line: everything an operator does with a Watchword, by hand or in a script."""

import sys


def main() -> None:
    """Run the command that the arguments name, and exit with its code."""
    try:
        from watchword.cli.app import run  # noqa: PLC0415 - its libraries may be missing, which is told below
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("watchword"):
            raise
        sys.stderr.write(f'The command line needs {error.name}: run `pip install "watchword[cli]"`.\n')
        sys.exit(1)
    run()
