"""Serves the page that Prometheus reads, on a port of its own.

Of several workers nobody knows which one would be asked, so their parent serves one page for all of them. They write
their figures to files of a folder that the parent has made (the multiprocess mode of prometheus_client). Counters of
workers that have died are added up in one more file: otherwise a worker that keeps dying would fill the disk.
"""

import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_DEAD: Final = 0
"""The process id under which the figures of the dead are kept."""
_log = structlog.get_logger("watchword.metrics")


@contextmanager
def page(listen: str, registry: CollectorRegistry) -> Iterator[None]:
    """Serve a page until the block ends.

    Raises:
        OSError: the address cannot be served on.

    """
    host, _, port = listen.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        raise OSError(
            f"Cannot serve metrics on {listen}: {error.strerror or error}. Set WATCHWORD_METRICS_LISTEN to another "
            "address."
        ) from None
    _log.info("metrics are served", address=f"{host}:{server.server_port}")
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Workers(Collector):
    """The figures of workers, as their parent reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Not while the figures of a worker move to those of the dead: they would count twice, or not at all.
        self._lock = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        """Add up the figures of all workers, and of those that have died."""
        with self._lock:
            return list(MultiProcessCollector(None, path=str(self.folder)).collect())  # type: ignore[no-untyped-call]

    def ended(self, pid: int) -> None:
        """Keep the counters of a worker that has ended; forget how it did."""
        with self._lock:
            mark_process_dead(pid, str(self.folder))  # type: ignore[no-untyped-call]
            for kind in ("counter", "histogram"):
                file = self.folder / f"{kind}_{pid}.db"
                if file.exists():
                    if file.stat().st_size:
                        _add(file, self.folder / f"{kind}_{_DEAD}.db")
                    file.unlink()


@contextmanager
def page_of_workers(listen: str, *, number: int) -> Iterator[Workers]:
    """Serve a page of several workers until the block ends.

    Raises:
        OSError: the address cannot be served on.

    """
    with tempfile.TemporaryDirectory(prefix="watchword-metrics-") as folder:
        workers = Workers(Path(folder))
        registry = CollectorRegistry()
        registry.register(workers)
        Gauge("watchword_workers", "Workers that there should be.", registry=registry).set(number)
        with page(listen, registry):
            yield workers


def _add(file: Path, total: Path) -> None:
    kept = MmapedDict(str(total))  # type: ignore[no-untyped-call]
    try:
        for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
            before, _ = kept.read_value(key)  # type: ignore[no-untyped-call]
            kept.write_value(key, before + value, timestamp)  # type: ignore[no-untyped-call]
    finally:
        kept.close()  # type: ignore[no-untyped-call]
