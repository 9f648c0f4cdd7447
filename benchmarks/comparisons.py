"""The report of permissions: what is held against what, and what it should come to. Add a row, and it stands there.

Each row names one figure of ours, the limit that it runs into, the peer's figure for the same, and the target.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks.results import Figure, Settings, label, ratio
from benchmarks.world import KINDS


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should come to: by itself, or as a multiple of the limit or of the peer's figure."""

    bound: float
    of: Literal["value", "limit", "peer"] = "value"

    def is_met(self, ours: Figure, limit: Figure | None, peer: Figure | None) -> bool | None:
        """Tell whether it is met, or None if what it refers to was not measured."""
        if self.of == "value":
            return ours.value >= self.bound if ours.more_is_better else ours.value <= self.bound
        other = limit if self.of == "limit" else peer
        return None if other is None else ratio(ours, other) >= self.bound


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row: a title and the names of figures."""

    title: str
    ours: str
    limit: str | None = None
    peer: str | None = None
    target: Target | None = None

    def is_met(self, figures: Mapping[str, Figure]) -> bool | None:
        """Tell whether the target is met; None if there is none, or nothing to tell it by."""
        ours = figures.get(self.ours)
        if ours is None or self.target is None:
            return None
        return self.target.is_met(ours, figures.get(self.limit or ""), figures.get(self.peer or ""))


_KINDS = {
    "direct": "direct hit",
    "miss": "miss",
    "folder": "folder of 3 levels",
    "group": "group of 3 levels",
    "mixed": "mixed",
}
# Milliseconds, calls or rows a second, bytes, MiB.
_TARGETS = {
    "check.mixed.c1": Target(1.5),
    "check.mixed.c16": Target(1800),
    "batch.c4": Target(10_000),
    "list.100.c1": Target(3),
    "list.10000.c1": Target(80),
    "write.c1": Target(1.67),
    "write.c16": Target(1500),
    "import": Target(60_000),
    "size": Target(400),
    "hot.batch.c4": Target(60_000),
    "hot.c16": Target(5_000),
    "memory.rest": Target(120),
    "memory.wide": Target(376),
    "peer.mixed.c16": Target(3, of="peer"),
}


def comparisons(settings: Settings) -> list[Comparison]:
    """List them, for the sizes of a run; the peer has only the first one."""
    rows: list[Comparison] = []
    for size in settings.sizes:
        rows += _of_world(label(size), settings, with_peer=size == settings.sizes[0])
    rows += _of_specials(settings)
    return rows


def _of_world(size: str, settings: Settings, *, with_peer: bool) -> Iterator[Comparison]:
    def row(title: str, ours: str, limit: str | None = None, peer: str | None = None, target: str = "") -> Comparison:
        name = f"ours.{size}.{ours}"
        return Comparison(f"{title} ({size})", name, limit, peer if with_peer else None, _TARGETS.get(target))

    for kind in (*KINDS, "mixed"):
        for c in (1, 16):
            name = f"check.{kind}.c{c}"
            yield row(f"Check cold, {_KINDS[kind]}, c{c}", f"cold.{name}", f"limit.select.c{c}", f"peer.{name}", name)
    if with_peer:
        name = "check.mixed.c16"
        yield row("Check cold, mixed, c16, against SpiceDB", f"cold.{name}", None, f"peer.{name}", "peer.mixed.c16")
    yield row("BatchCheck of 100 cold, c1", "cold.batch.c1", None, "peer.batch.c1", "batch.c1")
    yield row("BatchCheck of 100 cold, c4", "cold.batch.c4", None, "peer.batch.c4", "batch.c4")
    for count in (*settings.visible, "ordinary"):
        if count != "ordinary" or with_peer:
            title = f"ListObjects, {count:,} results" if isinstance(count, int) else "ListObjects, ordinary people"
            name = f"list.{count}.c1"
            yield row(title, f"cold.{name}", None, f"peer.{name}", name)
    for c in (1, 16):
        name = f"write.c{c}"
        yield row(f"WriteRelationships of one, c{c}", f"cold.{name}", f"limit.insert.c{c}", f"peer.{name}", name)
    yield row("ImportRelationships", "import", f"limit.copy.{size}", "peer.load", "import")
    yield row("A relationship with all indexes", "size", f"limit.copy.{size}.size", "peer.size", "size")
    for c in (1, 16):
        yield row(f"Check warm, hot set, c{c}", f"warm.check.hot.c{c}", f"limit.echo.c{c}", target=f"hot.c{c}")
    yield row("Check warm, wide set, c16", "warm.check.wide.c16", "limit.echo.c16")
    yield row("BatchCheck of 100 warm, c4", "warm.batch.c4", target="hot.batch.c4")
    yield row("Memory of a worker at rest", "warm.memory.rest", target="memory.rest")
    yield row("Memory of a worker, cache warm", "warm.memory.wide", target="memory.wide")


def _of_specials(settings: Settings) -> Iterator[Comparison]:
    prefix = f"ours.{label(settings.sizes[-1])}"
    yield Comparison(f"Import of a group of {settings.members:,}", f"{prefix}.cold.import.group")
    for case in ("large group", "large folder", "chain of 20"):
        width = {"large group": f" ({settings.members:,})", "large folder": f" ({settings.documents:,})"}.get(case, "")
        for who, kind in (("insider", "hit"), ("stranger", "miss")):
            for temperature, limit in (("cold", "select"), ("warm", "echo")):
                name = f"{prefix}.{temperature}.check.{case}, {who}.c1"
                yield Comparison(f"Check {temperature}, {case}{width}, {kind}, c1", name, f"limit.{limit}.c1")


def growth(settings: Settings) -> list[tuple[str, str, str]]:
    """List what is held against itself in the smallest and the largest world: title and two names."""
    if len(settings.sizes) == 1:
        return []
    small, large = label(settings.sizes[0]), label(settings.sizes[-1])
    rows = [f"cold.check.{kind}.c16" for kind in (*KINDS, "mixed")]
    rows += ["cold.batch.c4", *(f"cold.list.{count}.c1" for count in settings.visible), "cold.write.c16"]
    rows += ["warm.check.hot.c16", "warm.batch.c4", "import", "size", "warm.memory.hot", "warm.memory.wide"]
    return [(name, f"ours.{small}.{name}", f"ours.{large}.{name}") for name in rows]
