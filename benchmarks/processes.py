"""What processes cost, from /proc: CPU time with all threads, and memory."""

import os
from collections.abc import Mapping
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int, *, with_children: bool = False) -> float:
    """Tell the CPU time of a process; with its children: PostgreSQL has one for each connection, a server for hashes.

    Children that have ended count through their parent, which collected them.
    """
    user, system, ended_user, ended_system = (int(value) for value in _stat(pid)[11:15])
    total = (user + system) / _TICK
    if with_children:
        total += (ended_user + ended_system) / _TICK
        for child in _children(pid):
            try:
                total += cpu_seconds(child)
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended between the two looks, and its parent has its time at the next one
    return total


def resident_mib(pid: int) -> float:
    """Tell how much memory a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def proportional_mib(pid: int) -> float:
    """Tell the same with what it shares with other processes counted in equal parts."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


class Meter:
    """CPU time of named processes between two looks."""

    def __init__(self, *, servers: Mapping[str, int], postgres: int) -> None:
        self._servers = {"client": os.getpid(), **servers}
        self._postgres = postgres

    def look(self) -> dict[str, float]:
        """Take the CPU seconds of each so far."""
        seconds = {name: cpu_seconds(pid, with_children=name != "client") for name, pid in self._servers.items()}
        return {**seconds, "postgres": cpu_seconds(self._postgres, with_children=True)}


def _stat(pid: int) -> list[str]:
    # The name comes second, in brackets, and may hold anything.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
