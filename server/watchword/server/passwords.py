"""Passwords, hashed and verified by processes of their own; how hashing is kept from stopping everything else.

One hash costs about 20 ms and 19 MiB by design, so whoever can try to sign in can make the server work: a bounded
number of hashes is computed at a time, a bounded number waits, and more are refused at once. The processes start when
they are needed and end when they are not, and their memory with them.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final, Self

import structlog

from watchword.server.config import Argon2Parameters
from watchword.server.errors import PasswordRefused, ServerBusy, ShuttingDown
from watchword.server.hashing import SALT_BYTES, Verdict, phc_string
from watchword.server.identifiers import Randomness

# -P: no module of the folder that the server happened to be started in.
_COMMAND: Final = (sys.executable, "-P", "-m", "watchword.server.hash_process")
# What an interpreter needs to find its libraries. Threat: what computes on whatever somebody typed has no business with
# the server's secrets.
_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_", "TMPDIR", "PYTHON", "VIRTUAL_ENV", "LD_", "DYLD_", "GLIBC_")
_JOB_SECONDS: Final = 30.0
"""No hash takes so long, even when all cores are busy with better things: a process that hangs is killed."""
_END_SECONDS: Final = 5.0
_IDLE: Final = timedelta(minutes=10)
"""To start a process takes a tenth of a second, and a few milliseconds of everybody's."""

log = structlog.get_logger()


class PasswordHasher:
    """Has passwords hashed and verified, at most `processes` at a time, while at most `queue_limit` more wait.

    Every method raises ServerBusy at once beyond that, or if the process that computed has ended, and ShuttingDown
    after `close()`. A process that had nothing to do for `idle` ends.
    """

    def __init__(
        self,
        parameters: Argon2Parameters,
        *,
        processes: int,
        queue_limit: int,
        randomness: Randomness,
        niceness: int = 19,
        retry_after: timedelta = timedelta(seconds=1),
        idle: timedelta = _IDLE,
    ) -> None:
        self._parameters = parameters
        self._niceness = niceness
        self._randomness = randomness
        self._retry_after = retry_after
        self._idle = idle
        # A hash that nobody knows a password of: nothing was hashed for it.
        self._dummy = phc_string(parameters, randomness(SALT_BYTES), randomness(32))
        self._capacity = processes + queue_limit
        self._turns = asyncio.Semaphore(processes)
        self._cores = deque(_cores_for(processes))
        # First in, first out: one that has to share its core with something busy does not get all jobs.
        self._resting: deque[_HashProcess] = deque()
        self._tasks: set[asyncio.Task[dict[str, Any]]] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._admitted = 0
        self._nobody_left = asyncio.Event()
        self._nobody_left.set()
        self._closed = False
        self.running = 0
        """Jobs that a process works on."""
        self.begun = 0
        """Jobs that a process has begun, in all."""
        self.waited_seconds = 0.0
        """For how long these had waited, together."""

    @property
    def waiting(self) -> int:
        """Jobs that wait for a process."""
        return self._admitted - self.running

    async def hash(self, password: str) -> str:
        """Hash a password; the answer is a PHC string with its own salt and parameters."""
        outcome = await self._ask({"do": "make", "password": password, "salt": self._randomness(SALT_BYTES).hex()})
        return str(outcome["hash"])

    async def check_and_hash(self, password: str, own_words: Iterable[str]) -> str:
        """Check a new password against the policy and hash it.

        Raises:
            PasswordRefused: see `PasswordPolicy.broken_rule`.

        """
        salt = self._randomness(SALT_BYTES).hex()
        outcome = await self._ask(
            {"do": "check_and_make", "password": password, "own_words": list(own_words), "salt": salt}
        )
        if "broken_rule" in outcome:
            raise PasswordRefused(outcome["broken_rule"])
        return str(outcome["hash"])

    async def verify(self, password: str, stored: str | None, *, decoy: str | None = None) -> Verdict:
        """Verify a password against a stored hash, or against none if there is no such user or password.

        The hash is this server's own or one that was brought along (foreign_hashes).

        Threat: telling accounts apart by the time that an answer takes. Without a hash, or with one that cannot be
        read, the same work is done on a decoy (decoys.py), or on a hash that nobody knows a password of.
        """
        outcome = await self._ask(
            {"do": "verify", "password": password, "stored": stored, "decoy": decoy or self._dummy}
        )
        if "unreadable" in outcome:
            log.error("A stored password hash cannot be read; its user cannot sign in with a password.")
            return Verdict(ok=False, rehash=False)
        return Verdict(**outcome)

    async def close(self) -> None:
        """Take no more jobs, wait for those admitted, and end the processes."""
        self._closed = True
        await self._nobody_left.wait()
        while self._resting:
            self._end(self._resting.popleft())
        await asyncio.gather(*self._endings)

    async def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """Have a job done when its turn comes.

        A caller that goes away takes a waiting job along; a running one keeps its place until it really ends, or
        callers that give up quickly would pile up work without limit.
        """
        if self._closed:
            raise ShuttingDown
        if self._admitted >= self._capacity:
            raise ServerBusy("Too many passwords wait to be checked: try again later.", retry_after=self._retry_after)
        admitted = time.perf_counter()
        self._admitted += 1
        self._nobody_left.clear()
        try:
            await self._turns.acquire()
        except asyncio.CancelledError:
            self._leave()
            raise
        self.running += 1
        self.begun += 1
        self.waited_seconds += time.perf_counter() - admitted
        task = asyncio.create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def _run(self, job: dict[str, Any]) -> dict[str, Any]:
        process = None
        try:
            process = await self._next()
            outcome = await process.do(job)
        except Exception as error:  # noqa: BLE001
            # A closed pipe is told by many names. Threat: a traceback on a terminal shows variables, and the job has
            # the password.
            text = "A process that hashes passwords has died or hung, or cannot be started."
            log.error(text, error=type(error).__name__)  # noqa: TRY400
            if process is not None:
                self._end(process, kill=True)
            raise ServerBusy(
                "The password could not be checked: try again later.", retry_after=self._retry_after
            ) from None
        self._resting.append(process)
        process.rest(self._idle.total_seconds(), self._dismiss)
        if "failed" in outcome:
            raise RuntimeError(f"a password could not be hashed: {outcome['failed']}")
        return outcome

    async def _next(self) -> "_HashProcess":
        """Give a process that rests, or a new one."""
        while self._resting:
            process = self._resting.popleft()
            if process.is_there:
                return process
            self._end(process)
        core = self._cores.popleft()
        try:
            return await _HashProcess.start(self._parameters, self._niceness, core)
        except BaseException:
            self._cores.append(core)
            raise

    def _dismiss(self, process: "_HashProcess") -> None:
        self._resting.remove(process)
        self._end(process)

    def _end(self, process: "_HashProcess", *, kill: bool = False) -> None:
        # Not when it has ended, which takes a while: whoever comes meanwhile needs one in its place.
        self._cores.append(process.core)
        task = asyncio.create_task(process.end(kill=kill))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    def _ended(self, task: asyncio.Task[dict[str, Any]]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may have gone
        self.running -= 1
        self._turns.release()
        self._leave()

    def _leave(self) -> None:
        self._admitted -= 1
        if not self._admitted:
            self._nobody_left.set()


class _HashProcess:
    """A process that hashes: one job after the other."""

    def __init__(self, process: asyncio.subprocess.Process, core: int | None) -> None:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("a hashing process has both pipes")
        self._process = process
        self._input = process.stdin
        self._output = process.stdout
        self._timer: asyncio.TimerHandle | None = None
        self.core = core

    @classmethod
    async def start(cls, parameters: Argon2Parameters, niceness: int, core: int | None) -> Self:
        """Start one, on a core of its own or wherever it may run.

        Raises:
            OSError: the system has no more processes or memory.

        """
        process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if name.startswith(_ENVIRONMENT)},
        )
        started = cls(process, core)
        started._write({"parameters": asdict(parameters), "niceness": niceness, "core": core})
        return started

    @property
    def is_there(self) -> bool:
        """Whether it has not ended, as far as is known."""
        return self._process.returncode is None

    async def do(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Have one job done.

        Raises:
            EOFError, OSError, TimeoutError, RuntimeError: it has died, or hangs.

        """
        if self._timer is not None:
            self._timer.cancel()
        self._write(job)
        async with asyncio.timeout(_JOB_SECONDS):
            line = await self._output.readline()
        if not line:
            raise EOFError
        outcome: dict[str, Any] = json.loads(line)
        return outcome

    def rest(self, seconds: float, dismiss: Callable[[Self], None]) -> None:
        """Wait for the next job, and be dismissed if none comes."""
        self._timer = asyncio.get_running_loop().call_later(seconds, dismiss, self)

    async def end(self, *, kill: bool) -> None:
        """End it, or see that it has ended."""
        if self._timer is not None:
            self._timer.cancel()
        self._input.close()
        if not kill:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), _END_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    def _write(self, message: Mapping[str, Any]) -> None:
        self._input.write(json.dumps(message).encode() + b"\n")


def _cores_for(processes: int) -> list[int | None]:
    """Give each process its core, if all cores get as many; where there are fewer or more, the kernel knows better.

    The kernel would move what computes from core to core whenever something else wakes: that costs sign-ins 5 % here,
    and whoever is moved out of the way by it waits.
    """
    if sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0))
        if processes % len(cores) == 0:
            return list(cores * (processes // len(cores)))
    return [None] * processes
