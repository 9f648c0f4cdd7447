"""Several worker processes on one port, to which the kernel spreads connections (SO_REUSEPORT).

Each is a server of its own with its own caches, which its feed keeps true; nothing is shared but the database. This
process holds the port, so that nobody else takes it meanwhile, and answers no calls itself. It replaces a worker that
dies; on SIGHUP it replaces all, one after the other, each when its successor serves: callers that try again notice
nothing. A worker ends when its input ends, so that none is left behind if this process is killed.
"""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import structlog

from watchword.server.listening import is_taken, refusal

_COMMAND: Final = (sys.executable, "-m", "watchword.server.worker")
_PAUSES: Final = (0.1, 0.5, 2.0, 5.0)
"""Seconds before a worker that has died is replaced: longer and longer, while its successors die too."""
_GOOD_SECONDS: Final = 30.0
"""Whoever lived so long did not die of its start."""
_MARGIN_SECONDS: Final = 5.0
"""Beyond the grace, until a worker that does not end is killed."""
_log = structlog.get_logger("watchword.workers")


class WorkerFailed(Exception):
    """A worker did not start. What it wrote says why."""


@contextmanager
def held(listen: str) -> Iterator[str]:
    """Hold an address for workers, without listening; give it with the port that it has.

    Raises:
        OSError: another process has it.

    """
    if is_taken(listen):  # by workers of somebody else, perhaps: the port could be shared with them
        raise refusal(listen)
    host, _, port = listen.rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    with contextlib.ExitStack() as stack:
        number = int(port)
        for family, kind, protocol, _, where in found:
            taken = stack.enter_context(socket.socket(family, kind, protocol))
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                taken.bind((where[0], number, *where[2:]))
            except OSError as error:
                raise refusal(listen) from error
            number = taken.getsockname()[1]
        yield f"{host}:{number}"


class Workers:
    """The workers of one deployment on this machine."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        number: int,
        grace: float,
        on_end: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._on_end = on_end
        self._environment = dict(environment)
        self._number = number
        self._grace = grace
        self._stopping = asyncio.Event()
        self._renewing = asyncio.Event()

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Run them until SIGTERM or SIGINT.

        Raises:
            WorkerFailed: one did not start. All are stopped.

        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._renewing.set)
        workers: list[_Worker] = []
        try:
            started = await asyncio.gather(*(self._start() for _ in range(self._number)), return_exceptions=True)
            workers = [worker for worker in started if isinstance(worker, _Worker)]
            if len(workers) < self._number:
                raise WorkerFailed("A worker did not start; it has written why.")
            on_ready()
            await self._keep(workers)
        finally:
            await asyncio.gather(*(worker.stop() for worker in workers))

    async def _keep(self, workers: "list[_Worker]") -> None:
        """Replace those that die, and all of them when that is asked for."""
        deaths = 0
        while not self._stopping.is_set():
            waits = {worker.ended for worker in workers}
            signals = [asyncio.create_task(event.wait()) for event in (self._stopping, self._renewing)]
            done, _ = await asyncio.wait([*waits, *signals], return_when=asyncio.FIRST_COMPLETED)
            for task in signals:
                task.cancel()
            for worker in [worker for worker in workers if worker.ended in done]:
                deaths = 0 if worker.age > _GOOD_SECONDS else deaths + 1
                _log.error("a worker has died", status=worker.ended.result(), pid=worker.pid)
                workers.remove(worker)
                await self._pause(_PAUSES[min(deaths, len(_PAUSES) - 1)])
            if self._renewing.is_set():
                self._renewing.clear()
                await self._renew(workers)
            await self._fill(workers)

    async def _fill(self, workers: "list[_Worker]") -> None:
        while len(workers) < self._number and not self._stopping.is_set():
            try:
                workers.append(await self._start())
            except WorkerFailed:
                await self._pause(_PAUSES[-1])

    async def _renew(self, workers: "list[_Worker]") -> None:
        _log.info("replacing all workers")
        for old in tuple(workers):
            if self._stopping.is_set():
                return
            try:
                new = await self._start()
            except WorkerFailed:
                _log.error("the old workers go on: a new one did not start")
                return
            workers[workers.index(old)] = new
            await old.stop()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _start(self) -> "_Worker":
        process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Ctrl-C is for this process, which tells them.
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 - asked for above
        line = await process.stdout.readline()
        if not line:
            await process.wait()
            self._on_end(process.pid)
            raise WorkerFailed
        _log.info("a worker serves", pid=process.pid, address=json.loads(line)["address"])
        worker = _Worker(process, self._grace)
        worker.ended.add_done_callback(lambda _: self._on_end(process.pid))
        return worker


class _Worker:
    """A worker that serves."""

    def __init__(self, process: asyncio.subprocess.Process, grace: float) -> None:
        self._process = process
        self._grace = grace
        self._clock = asyncio.get_running_loop().time
        self._since = self._clock()
        self.pid = process.pid
        self.ended = asyncio.create_task(process.wait())

    @property
    def age(self) -> float:
        return self._clock() - self._since

    async def stop(self) -> None:
        """Stop it: calls that are under way get the grace."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(asyncio.shield(self.ended), self._grace + _MARGIN_SECONDS)
        except TimeoutError:
            _log.error("a worker does not end, and is killed", pid=self.pid)
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self.ended
