"""What others are told of how the server does, by metrics and traces; each is loaded only if it is on."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from watchword.server.api.watch import WatchService
from watchword.server.config import Config, ConfigError
from watchword.server.fan_out import FanOut
from watchword.server.feed import Feed
from watchword.server.node_cache import NodeCache
from watchword.server.passwords import PasswordHasher
from watchword.server.pipeline import Around
from watchword.server.questions import Questions
from watchword.server.storage.database import Database

if TYPE_CHECKING:
    from watchword.server.metrics import Metrics
    from watchword.server.traces import Traces


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a server that are looked at."""

    database: Database
    feed: Feed
    fan_out: FanOut
    watch: WatchService
    passwords: PasswordHasher
    cache: NodeCache
    questions: Questions


@dataclass(frozen=True, slots=True)
class Observing:
    """What is on."""

    metrics: "Metrics | None" = None
    traces: "Traces | None" = None

    @property
    def around(self) -> Sequence[Around]:
        """What is put around each call, from the inside to the outside."""
        return [each for each in (self.metrics, self.traces) if each is not None]

    @property
    def last_handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Handlers that see the calls which no other one takes."""
        return () if self.metrics is None else (self.metrics.unknown(),)

    async def look(self, parts: Parts) -> None:
        """Look again and again how the parts do, until cancelled, if that is of interest."""
        if self.metrics is not None:
            await self.metrics.look(parts)


@contextmanager
def observing(config: Config, *, is_shared: bool) -> Iterator[Observing]:
    """Tell others, as the settings say, until the block ends. Workers, who share, have a page together.

    Raises:
        OSError: the address of the metrics cannot be served on.
        ConfigError: what is asked for is not installed.

    """
    with ExitStack() as stack:
        metrics = None
        if config.metrics_listen is not None:
            from prometheus_client import CollectorRegistry  # noqa: PLC0415 - see above

            from watchword.server.metrics import Metrics  # noqa: PLC0415
            from watchword.server.metrics_page import page  # noqa: PLC0415

            registry = CollectorRegistry()
            metrics = Metrics(registry)
            if not is_shared:
                stack.enter_context(page(config.metrics_listen, registry))
        yield Observing(metrics, stack.enter_context(_tracing()) if config.traces else None)


def _tracing() -> "AbstractContextManager[Traces]":
    try:
        from watchword.server.traces import tracing  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        raise ConfigError(f'WATCHWORD_TRACES needs {error.name}: run `pip install "watchword[otel]"`.') from None
    return tracing()
