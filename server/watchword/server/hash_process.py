"""A process that hashes passwords and does nothing else: `passwords.py` starts it and asks it.

One hash keeps a processor busy for 20 ms. A thread of the server would do that beside those that answer other calls,
and take Python's lock from them whenever it begins and ends; and of a thread neither the memory comes back nor the
damage is bounded if a library for a foreign format fails.

Each line of the input is a job as JSON, and each line of the output its outcome. The first line is no job: it says
what a hash costs. The input's end is the only end: signals that reach all processes of a terminal or a unit of systemd
are for the server, which lets those that wait for a hash have it. It has no settings, no keys and no connection.
"""

import signal

if __name__ == "__main__":  # before all that takes time to import
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)

import contextlib
import ctypes
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from watchword.server.config import Argon2Parameters
from watchword.server.hashing import Hashing
from watchword.server.password_policy import PasswordPolicy

_SLICE_NANOSECONDS: Final = 100_000_000
_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
"""The system call for which Python has no function, by machine (Linux, include/uapi/asm-generic/unistd.h)."""


def _jobs(hashing: Hashing) -> Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]]:
    policy = PasswordPolicy()

    def make(job: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"hash": hashing.hash(job["password"], bytes.fromhex(job["salt"]))}

    def check_and_make(job: Mapping[str, Any]) -> Mapping[str, Any]:
        rule = policy.broken_rule(job["password"], own_words=job["own_words"])
        return make(job) if rule is None else {"broken_rule": rule}

    def verify(job: Mapping[str, Any]) -> Mapping[str, Any]:
        verdict = hashing.verify(job["password"], job["stored"], decoy=job["decoy"])
        return {"unreadable": True} if verdict is None else {"ok": verdict.ok, "rehash": verdict.rehash}

    return {"make": make, "check_and_make": check_and_make, "verify": verify}


def _settle(niceness: int, core: int | None) -> None:
    """Step back behind all others, and keep to one core if told so.

    Threat: a storm of sign-ins that makes every other answer late. Whoever signs in waits for a hash anyway.
    """
    _ask_for_long_slices(os.nice(niceness))
    if core is not None:
        with contextlib.suppress(OSError):  # taken away from the container since the server asked which there are
            os.sched_setaffinity(0, {core})


class _Attributes(ctypes.Structure):
    """The kernel's struct sched_attr: sched_setattr(2)."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def _ask_for_long_slices(niceness: int) -> None:
    """Let whoever else wakes come first at once, in return for long turns: Linux's own, from 6.12 on (EEVDF).

    Niceness alone says how much of a processor somebody gets, not how soon: what wakes waits for the end of a slice,
    and with it the answer to a call. Measured in a storm of sign-ins: p99 of other answers 9 ms instead of 13 to 15,
    and 5 % more sign-ins. An older kernel ignores it, and without the call there is niceness.
    """
    number = _SETATTR.get(platform.machine()) if sys.platform == "linux" else None
    if number is not None:
        wanted = _Attributes(
            size=ctypes.sizeof(_Attributes), policy=os.SCHED_BATCH, nice=niceness, runtime=_SLICE_NANOSECONDS
        )
        ctypes.CDLL(None).syscall(number, 0, ctypes.byref(wanted), 0)


def main() -> None:
    """Answer job after job until the input ends."""
    lines, answers = sys.stdin.buffer, sys.stdout.buffer
    told = json.loads(lines.readline())
    _settle(told["niceness"], told["core"])
    jobs = _jobs(Hashing(Argon2Parameters(**told["parameters"])))
    for line in lines:
        job = json.loads(line)
        try:
            outcome = jobs[job["do"]](job)
        except MemoryError:
            sys.exit("A process that hashes passwords ends: it got no memory.")
        except Exception as error:  # noqa: BLE001
            # Threat: a traceback, or the error's text, that quotes the password.
            outcome = {"failed": type(error).__name__}
        answers.write(json.dumps(outcome).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
