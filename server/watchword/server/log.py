"""Logging: JSON lines for machines, colours for a terminal. Values are escaped, so no field can forge a line."""

import json
import logging
import sys
from typing import Any

import structlog

from watchword.server.config import Config


def configure(config: Config) -> None:
    """Set logging up for a server process; once, at its start."""
    console = config.log_format == "console" or (config.log_format == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(_bytes)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # A line is one write: half the time of a print.
        logger_factory=(
            structlog.PrintLoggerFactory(sys.stderr) if console else structlog.BytesLoggerFactory(sys.stderr.buffer)
        ),
        cache_logger_on_first_use=True,
    )
    # psycopg's pool warns of every lost connection through the standard logger; the texts name host and user.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def _bytes(event: Any, **options: Any) -> bytes:
    return json.dumps(event, **options).encode()
