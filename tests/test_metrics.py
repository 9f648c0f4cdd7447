"""The metrics of a client, as Prometheus reads them."""

import asyncio
import gc
import math
import re
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from watchword.client import AsyncClient, Client, Relationship
from watchword.client.metrics import FeedCollector
from watchword.client.testing import LocalServer

MODEL = """
model
  schema 1.1
type user
type note
  relations
    define viewer: [user]
"""
GAUGES = {
    "watchword_feed_connected",
    "watchword_feed_fresh",
    "watchword_feed_staleness_seconds",
    "watchword_feed_round_trip_seconds",
    "watchword_kept_answers",
    "watchword_kept_bytes",
}
COUNTERS = {
    "watchword_hits",
    "watchword_misses",
    "watchword_feed_changes",
    "watchword_feed_reconnects",
    "watchword_feed_resynchronizations",
}


def registry(collector: FeedCollector) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(collector)
    return made


def scraped(made: CollectorRegistry) -> dict[str, float]:
    """The values by the names of their samples, after the strict parser of OpenMetrics has taken them."""
    families = list(text_string_to_metric_families(openmetrics(made).decode()))
    assert {family.name: family.type for family in families} == dict.fromkeys(GAUGES, "gauge") | dict.fromkeys(
        COUNTERS, "counter"
    )
    samples = [sample for family in families for sample in family.samples]
    assert {sample.name for sample in samples} == GAUGES | {f"{name}_total" for name in COUNTERS}
    assert not any(sample.labels for sample in samples)
    return {sample.name: sample.value for sample in samples}


@pytest.fixture
def made(watchword: Client) -> CollectorRegistry:
    watchword.permissions.write_model(dsl=MODEL)
    return registry(FeedCollector(watchword))


def test_before_the_first_question_nothing_is_known(made: CollectorRegistry):
    values = scraped(made)
    assert values.pop("watchword_feed_staleness_seconds") == math.inf
    assert set(values.values()) == {0.0}


def test_they_are_what_the_status_says(watchword: Client, made: CollectorRegistry):
    watchword.ready()
    watchword.relationships.write([Relationship("user:ana", "viewer", "note:1")])
    for _ in range(10):
        watchword.check("user:ana", "viewer", "note:1")
    values, status = scraped(made), watchword.status()
    assert values["watchword_feed_connected"] == values["watchword_feed_fresh"] == 1
    assert 0 <= values["watchword_feed_staleness_seconds"] <= status.staleness_seconds
    assert values["watchword_hits_total"] == status.hits
    assert values["watchword_misses_total"] == status.misses > 0
    assert values["watchword_hits_total"] + values["watchword_misses_total"] == 10
    assert values["watchword_kept_answers"] == status.entries > 0
    assert values["watchword_kept_bytes"] == status.bytes > 0
    assert values["watchword_feed_round_trip_seconds"] > 0
    assert values["watchword_feed_reconnects_total"] == 0


def test_a_change_is_counted_and_counters_never_fall(
    watchword: Client, made: CollectorRegistry, watchword_server: LocalServer
):
    watchword.ready()
    before = scraped(made)
    watchword.relationships.write([Relationship("user:ana", "viewer", "note:1")])
    watchword.check("user:ana", "viewer", "note:1")
    watchword_server.reset()  # all is forgotten
    watchword.ready()
    after = scraped(made)
    for name in COUNTERS:
        assert after[f"{name}_total"] >= before[f"{name}_total"]
    assert after["watchword_misses_total"] > before["watchword_misses_total"]


def test_a_name_is_the_only_label(watchword: Client):
    made = CollectorRegistry()
    made.register(FeedCollector(watchword, name="first"))
    watchword.users.create(username="ana", email="ana@example.com", password="correct horse battery")
    tokens = watchword.sign_in("ana", password="correct horse battery")
    watchword.check(watchword.authenticate(tokens.access_token).subject, "member", "group:secret")
    text = generate_latest(made).decode()
    assert set(re.findall(r"\{(.*)\}", text)) == {'client="first"'}
    for personal in ("ana", "secret", tokens.session.user_id, tokens.session.session_id):
        assert personal not in text
    (family, *_) = FeedCollector(watchword, name='"\n\\').collect()
    assert family.samples[0].labels == {"client": '"\n\\'}


def test_two_clients_without_names_are_refused(watchword: Client, made: CollectorRegistry):
    with pytest.raises(ValueError, match="Duplicated"):
        made.register(FeedCollector(watchword))


def test_registering_asks_the_client_nothing():
    client = Client("localhost:1", api_key="x")
    registry(FeedCollector(client))
    assert client._guard._lives.existing() is None


async def test_an_asynchronous_client_is_scraped_from_anywhere(watchword_async: AsyncClient):
    async with watchword_async as client:
        await client.ready()
        made = registry(FeedCollector(client))
        here, elsewhere = scraped(made), await asyncio.to_thread(scraped, made)
        assert here["watchword_feed_fresh"] == elsewhere["watchword_feed_fresh"] == 1


def test_an_event_loop_that_is_gone_or_stuck_does_not_spoil_the_scrape():
    async def make() -> FeedCollector:
        collector = FeedCollector(AsyncClient("localhost:1", api_key="x"))
        with ThreadPoolExecutor() as pool:  # waited for in the loop, which is stuck meanwhile
            assert pool.submit(lambda: list(collector.collect())).result() == []
        return collector

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        collector = asyncio.run(make())
        assert list(collector.collect()) == []
        gc.collect()
    assert not [each for each in warned if "never awaited" in str(each.message)]
    with pytest.raises(RuntimeError, match="no running event loop"):
        FeedCollector(AsyncClient("localhost:1", api_key="x"))
