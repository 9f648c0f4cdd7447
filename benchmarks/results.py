"""What a run found: figures by name, each with its unit, as they come in."""

import sys
import time
from dataclasses import dataclass, field
from typing import TextIO

from benchmarks.load import Pace, Timing

CALLS = "calls/s"
CHECKS = "checks/s"
MILLISECONDS = "ms"
MICROSECONDS = "us"
REQUESTS = "requests/s"
MIB = "MiB"
RATE_UNITS = frozenset({CALLS, CHECKS, REQUESTS, "rows/s"})
"""Of these more is better; of everything else (milliseconds, bytes, MiB) less is."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that was measured."""

    value: float
    unit: str
    timing: Timing | None = None
    """What stands behind it, if it is of a loop."""
    note: str = ""

    @property
    def more_is_better(self) -> bool:
        """Whether this is a rate."""
        return self.unit in RATE_UNITS


def ratio(ours: Figure, other: Figure) -> float:
    """Tell how many times better ours is; below 1 it is worse, whatever the unit."""
    if ours.unit != other.unit:
        raise ValueError(f"{ours.unit} cannot be held against {other.unit}")
    better, worse = (ours.value, other.value) if ours.more_is_better else (other.value, ours.value)
    return better / worse if worse else float("inf")


@dataclass(frozen=True, slots=True)
class Settings:
    """How large and how long a run is."""

    name: str
    sizes: tuple[int, ...]
    """Of the worlds; the first is the one that is compared with the peer."""
    pace: Pace
    members: int
    documents: int
    visible: tuple[int, ...]
    verified: int
    """How many answers of each kind are checked before anything is timed."""
    questions: int
    """How many different ones of each kind a cold loop asks."""
    wide: int
    """How many different ones are asked of a warm server, to fill its cache."""
    kept_calls: int
    """How often what the SDK keeps is asked for."""
    tokens: int
    """How many access tokens are shown for the first time."""
    misses: int
    """How many questions are asked that nothing is kept of."""
    processes: int
    """How many follow the feed while answers are taken back."""
    streams: int
    """How many follow it in few processes, and idly."""
    take_backs: int
    """How many answers of each kind are taken back."""
    accounts: tuple[int, int]
    """How many users two servers have, who are listed."""
    imported: int
    """How many are imported with their hashes."""
    sessions: int
    """How many people are signed in at a time."""
    refusals: int
    """How many sign-ins of each kind are refused to see whether their time tells anything."""
    starts: int
    """How often a process is started."""
    requests: int
    """How many requests each application gets on each of its routes."""
    people: int = 10
    """Of how many ordinary people the lists are asked for; what each must see is worked out from the whole world."""


FULL = Settings(
    name="full",
    sizes=(100_000, 1_000_000),
    pace=Pace(seconds=3, repeats=3),
    members=1_000_000,
    documents=100_000,
    visible=(100, 10_000),
    verified=200,
    questions=4000,
    wide=40_000,
    kept_calls=100_000,
    tokens=400,
    misses=16_000,
    processes=100,
    streams=1_000,
    take_backs=60,
    accounts=(10_000, 1_000_000),
    imported=50_000,
    sessions=200,
    refusals=400,
    starts=5,
    requests=2_000,
)
QUICK = Settings(
    name="quick",
    sizes=(10_000,),
    pace=Pace(seconds=0.3, repeats=1),
    members=20_000,
    documents=5_000,
    visible=(100, 1_000),
    verified=100,
    questions=1000,
    wide=4000,
    kept_calls=10_000,
    tokens=40,
    misses=800,
    processes=4,
    streams=40,
    take_backs=5,
    accounts=(1_000, 10_000),
    imported=2_000,
    sessions=32,
    refusals=12,
    starts=1,
    requests=100,
)


@dataclass(slots=True)
class Results:
    """Figures by name, such as `limit.select.c16` or `ours.100k.cold.miss.c1`; told on a stream as they come in."""

    figures: dict[str, Figure] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    spreads: dict[str, list[float]] = field(default_factory=dict)
    """Milliseconds of single events, to be shown as histograms."""
    progress: TextIO = field(default=sys.stderr, repr=False)
    _began: float = field(default_factory=time.monotonic)

    def add(self, name: str, value: float, unit: str, *, note: str = "") -> None:
        """Take a figure."""
        self._take(name, Figure(value, unit, note=note))

    def add_loop(self, name: str, timing: Timing, *, in_flight: int, each: int = 1) -> None:
        """Take a loop's figures: alone it is told by its p50, with others in flight by its throughput.

        Args:
            name: of the figure.
            timing: what the loop showed.
            in_flight: how many calls.
            each: how many checks a call holds; the throughput is of checks then.

        """
        if in_flight == 1:
            value, unit = timing.p50_ms, MILLISECONDS
        else:
            value, unit = timing.throughput * each, CALLS if each == 1 else CHECKS
        self._take(name, Figure(value, unit, timing))

    def note(self, text: str) -> None:
        """Take something that a reader of the figures must know."""
        self.notes.append(text)
        self.say(text)

    def say(self, text: str) -> None:
        """Tell what goes on."""
        self.progress.write(f"[{time.monotonic() - self._began:6.1f} s] {text}\n")
        self.progress.flush()

    def _take(self, name: str, figure: Figure) -> None:
        self.figures[name] = figure
        timing = figure.timing
        detail = "" if timing is None else f"  ({timing.throughput:,.0f}/s, p50 {timing.p50_ms:.2f} ms)"
        self.say(f"{name:<44} {figure.value:>12,.2f} {figure.unit}{detail}")


def label(size: int) -> str:
    """Write a size as people say it: 10k, 100k, 1M."""
    for unit, letter in ((1_000_000, "M"), (1_000, "k")):
        if size >= unit and size % unit == 0:
            return f"{size // unit}{letter}"
    return str(size)
