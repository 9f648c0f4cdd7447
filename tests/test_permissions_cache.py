"""The cache of nodes, step by step: what was read ahead of the feed waits, and what has changed since never enters."""

import gc
import tracemalloc
from uuid import UUID

import pytest

from watchword.server.feed import Change, Recent
from watchword.server.identifiers import PERMISSION_MODEL
from watchword.server.node_cache import NodeCache
from watchword.server.permissions.known import Content, NotKnown
from watchword.server.permissions.relationships import Relationship
from watchword.server.permissions.standing import Standing
from watchword.server.storage.gathered import Gathered
from watchword.server.storage.snapshot import Visible

NODE, USER = "group:1#member", "user:bob"
ROW = Relationship("group:1", "member", USER)


class Cache:
    """A cache whose feed is at transaction 100."""

    def __init__(self) -> None:
        self.standing, self.recent, self.nudges = Standing(), Recent(), 0
        self.cache = NodeCache(self.recent, self.standing, max_bytes=1_000_000, nudge=self.nudge)
        self.recent.forget(at("100:100:"))
        self.cache.forget(at("100:100:"), "epoch")

    def nudge(self) -> None:
        self.nudges += 1

    def offer(self, visible: str, row: Relationship | None, epoch: str = "epoch") -> None:
        content = Content()
        if row is None:
            content.absent[USER] = None
        else:
            content.direct[USER] = row
        gathered = Gathered(at(visible), epoch, UUID(int=1), frozenset({USER}))
        gathered.contents[NODE] = content
        self.cache.offer(gathered)

    def look(self, visible: str, **changes: str) -> None:
        """Bring it to a snapshot; changes by transaction, as `x101=name`."""
        found = [
            Change(int(xid[1:]), self.standing.node(name)[:1] if "#" in name else [self.standing.plain(name)])
            for xid, name in changes.items()
        ]
        for change in found:
            self.recent.add(change)
        self.cache.apply(found, at(visible))

    def known(self) -> object:
        try:
            return self.cache.reader.direct(NODE, USER)
        except NotKnown:
            return "not known"


def at(visible: str) -> Visible:
    return Visible.parse(visible)


@pytest.fixture
def cache() -> Cache:
    return Cache()


def test_what_was_read_at_the_snapshot_of_the_feed_enters_at_once(cache: Cache):
    cache.offer("100:100:", ROW)
    assert cache.known() == ROW
    assert cache.cache.is_disabled(USER) is False
    assert cache.cache.model_id == UUID(int=1)


@pytest.mark.parametrize("visible", ["101:101:", "100:102:100", "105:105:"])
def test_what_was_read_ahead_of_the_feed_waits_for_it(cache: Cache, visible: str):
    cache.offer(visible, ROW)
    assert cache.known() == "not known"
    assert cache.cache.model_id is None
    assert cache.nudges == 1
    cache.look("110:110:")
    assert cache.known() == ROW


def test_what_changed_before_the_reading_and_is_told_later_does_no_harm(cache: Cache):
    cache.offer("103:103:", ROW)
    cache.look("103:103:", x102=NODE)
    assert cache.known() == ROW


@pytest.mark.parametrize(
    ("visible", "changed"),
    [("103:103:", "x103"), ("103:103:", "x104"), ("102:105:102", "x102"), ("102:105:102", "x103")],
)
def test_what_has_changed_since_does_not_enter(cache: Cache, visible: str, changed: str):
    """At or after the horizon, even if the reading has seen it: which of them it saw is not asked."""
    cache.offer(visible, ROW)
    cache.look("110:110:", **{changed: NODE})
    assert cache.known() == "not known"


def test_a_reading_older_than_what_is_remembered_does_not_enter(cache: Cache):
    cache.offer("99:99:", ROW)
    cache.offer("99:100:99", ROW)
    assert cache.known() == "not known"
    cache.offer("100:100:", ROW, epoch="other")
    assert cache.known() == "not known"


@pytest.mark.parametrize("name", [NODE, "group#member"])
def test_a_change_that_names_a_node_drops_it(cache: Cache, name: str):
    cache.offer("100:100:", ROW)
    hash_ = cache.standing.bulk(name) if name != NODE else cache.standing.node(name)[0]
    change = Change(100, [hash_])
    cache.recent.add(change)
    cache.cache.apply([change], at("101:101:"))
    assert cache.known() == "not known"
    assert cache.cache.bytes == 0
    cache.offer("100:100:", ROW)
    assert cache.known() == "not known"
    cache.offer("101:101:", None)
    assert cache.known() is None


def test_accounts_and_the_model_fall_by_their_names(cache: Cache):
    cache.offer("100:100:", ROW)
    cache.look("102:102:", x100=USER, x101=PERMISSION_MODEL)
    assert cache.cache.is_disabled(USER) is None
    assert cache.cache.model_id is None
    assert cache.known() == ROW


def test_memory_is_bounded_and_what_is_used_stays(cache: Cache):
    cache.offer("100:100:", ROW)
    for number in range(5_000):
        content = Content()
        content.absent[USER] = None
        gathered = Gathered(at("100:100:"), "epoch", UUID(int=1), frozenset())
        gathered.contents[f"group:x{number}#member"] = content
        cache.cache.offer(gathered)
        assert cache.known() == ROW
        assert cache.cache.bytes <= 1_010_000


@pytest.mark.parametrize("rows", [0, 1, 20, 500], ids=lambda rows: f"{rows} rows a node")
def test_the_bound_is_one_of_memory_and_not_of_numbers(rows: int):
    """By Python's own account of what is held, hashes and names included."""
    limit = 8 * 1024 * 1024
    standing, recent = Standing(), Recent()
    cache = NodeCache(recent, standing, max_bytes=limit, nudge=lambda: None)
    recent.forget(at("100:100:"))
    cache.forget(at("100:100:"), "epoch")

    def fill(start: int) -> None:
        gathered = Gathered(at("100:100:"), "epoch", UUID(int=1), frozenset())
        for number in range(start, start + 50):
            object_, content = f"group:{number:036}", Content()
            content.everything = {
                subject: Relationship(object_, "member", subject)
                for subject in (f"user:{number * 1000 + row:036}" for row in range(rows))
            }
            gathered.contents[f"{object_}#member"] = content
        cache.offer(gathered)

    gc.collect()
    tracemalloc.start()
    try:
        for start in range(0, 40_000 // (rows + 1) + 2_000, 50):
            fill(start)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert cache.bytes > limit // 3
    # What is dropped leaves its hash behind in `Standing`, which has a bound of its own.
    assert held < 1.3 * limit
