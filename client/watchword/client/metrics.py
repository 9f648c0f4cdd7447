"""Metrics of a client for Prometheus: how the feed does, and how much is answered from what is kept.

```python
REGISTRY.register(FeedCollector(client))
```

They count what this process did, so each worker process is scraped by itself; the multiprocess mode of
`prometheus_client`, which knows its own metrics only, leaves them out. No label tells of a user or an object.
"""

import asyncio
from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from watchword.client._async.client import AsyncClient
from watchword.client._sync.client import Client
from watchword.client.models import FeedStatus

Family = GaugeMetricFamily | CounterMetricFamily

_PATIENCE_SECONDS: Final = 1.0


class FeedCollector(Collector):
    """Collects the status of one client whenever it is asked for."""

    def __init__(self, client: Client | AsyncClient, *, name: str | None = None) -> None:
        """Describe what is collected.

        Args:
            client: The client. An `AsyncClient` is that of the event loop that runs at this moment.
            name: The value of the label `client`, for a process that has several. Default: no label.

        Raises:
            RuntimeError: The client is an `AsyncClient`, and no event loop runs.

        """
        self._client = client
        self._loop = asyncio.get_running_loop() if isinstance(client, AsyncClient) else None
        self._labels = {} if name is None else {"client": name}

    def describe(self) -> Iterator[Family]:
        """What there is to collect; the client need not be asked for that."""
        return self._families(None)

    def collect(self) -> Iterator[Family]:
        """The metrics at this moment; none if the client's event loop has ended or does not answer."""
        status = self._status()
        return iter(()) if status is None else self._families(status)

    def _status(self) -> FeedStatus | None:
        loop = self._loop
        if loop is None or _is_running_here(loop):
            return self._client.status()
        # Prometheus's own server asks in a thread, and a status belongs to an event loop.
        asked = _status_of(self._client)
        try:
            return asyncio.run_coroutine_threadsafe(asked, loop).result(timeout=_PATIENCE_SECONDS)
        except TimeoutError:
            return None
        except RuntimeError:
            asked.close()  # it would complain that it was never awaited
            return None

    def _families(self, status: FeedStatus | None) -> Iterator[Family]:
        for name, text, attribute in _GAUGES:
            yield self._filled(GaugeMetricFamily(name, text, labels=list(self._labels)), status, attribute)
        for name, text, attribute in _COUNTERS:
            yield self._filled(CounterMetricFamily(name, text, labels=list(self._labels)), status, attribute)

    def _filled(self, family: Family, status: FeedStatus | None, attribute: str) -> Family:
        if status is not None:
            family.add_metric(list(self._labels.values()), float(getattr(status, attribute)))
        return family


_GAUGES: Final = (
    ("watchword_feed_connected", "Whether a stream of changes is open.", "connected"),
    ("watchword_feed_fresh", "Whether what is kept may be used.", "fresh"),
    (
        "watchword_feed_staleness_seconds",
        "How long ago it was proven that no change is missing; +Inf before the first time.",
        "staleness_seconds",
    ),
    ("watchword_feed_round_trip_seconds", "What the last such proof took.", "round_trip_seconds"),
    ("watchword_kept_answers", "Answers that are kept.", "entries"),
    ("watchword_kept_bytes", "The memory that they take, about.", "bytes"),
)
_COUNTERS: Final = (
    ("watchword_hits_total", "Answers given from what is kept.", "hits"),
    ("watchword_misses_total", "Answers for which the server was asked or a signature verified.", "misses"),
    ("watchword_feed_changes_total", "Changes heard of.", "changes"),
    ("watchword_feed_reconnects_total", "Times the stream was opened again.", "reconnects"),
    (
        "watchword_feed_resynchronizations_total",
        "Times all was forgotten because the feed lost its place.",
        "resynchronizations",
    ),
)


async def _status_of(client: Client | AsyncClient) -> FeedStatus:
    return client.status()


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
