"""The check-up of a server and its database."""

import os

import typer

from watchword.cli.command import local
from watchword.cli.failures import Code
from watchword.cli.output import Output
from watchword.cli.server import server_failures


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    local(app)(doctor)


def doctor(output: Output) -> None:
    """Check the settings, the database, the keys, the clock and the disk, and say what to do.

    Run it where the server runs, with the same settings. It changes nothing. Exit code 0 if a server can serve,
    1 if it cannot; warnings do not count.
    """
    with server_failures():
        from watchword.server.checkup import Level, examine  # noqa: PLC0415

        findings = []
        for finding in examine(os.environ):
            findings.append(finding)
            if not output.as_json:
                output.lines([f"{finding.level:<8} {finding.check:<13} {finding.text}"])
                output.lines([f"{'':<8} {'':<13} {finding.advice}"] if finding.advice else [])
    if output.as_json:
        output.many(findings, columns=())
    if any(finding.level is Level.PROBLEM for finding in findings):
        raise typer.Exit(Code.FAILED)
