"""The page that Prometheus reads: what it counts, that several workers have one, and that it tells of nobody."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import grpc
import pytest
from conftest import PASSWORD
from deployment import Deployment, deployment, free_port, seconds_until
from prometheus_client.parser import text_string_to_metric_families
from test_workers import pids, spread

from watchword.client import Client, DeadlineExceededError, NotFoundError, Relationship, SignInRefusedError
from watchword.server.app import services

SECONDS = 15.0


class Page:
    """The page of a deployment."""

    def __init__(self, listen: str) -> None:
        self._url = f"http://{listen}/metrics"

    def text(self) -> str:
        with urlopen(self._url, timeout=5) as response:
            return response.read().decode()

    def value(self, name: str, **labels: str) -> float:
        """The value of one sample; 0 if there is none."""
        samples = [each for family in text_string_to_metric_families(self.text()) for each in family.samples]
        return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())

    def reaches(self, least: float, name: str, **labels: str) -> None:
        """What is looked at once a second is so soon enough."""
        seconds_until(lambda: self.value(name, **labels) >= least, within=SECONDS)


@pytest.fixture(scope="module")
def listen() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def served(listen: str) -> Iterator[Deployment]:
    """One process with metrics."""
    with deployment(WATCHWORD_METRICS_LISTEN=listen) as made:
        yield made


@pytest.fixture
def page(served: Deployment, listen: str) -> Page:
    return Page(listen)


@pytest.fixture
def client(served: Deployment) -> Iterator[Client]:
    with served.client() as made:
        yield made


def test_calls_are_counted_by_method_and_code(client: Client, page: Page):
    before = page.value("watchword_rpc_duration_seconds_count", method="UserService/GetUser")
    client.users.create(username="ana", password=PASSWORD)
    ok = {"method": "UserService/GetUser", "code": "OK"}
    client.users.get_by_username("ana")
    with pytest.raises(NotFoundError):
        client.users.get_by_username("nobody")
    assert page.value("watchword_rpc_requests_total", **ok) == 1
    assert page.value("watchword_rpc_requests_total", **ok | {"code": "NOT_FOUND"}) == 1
    assert page.value("watchword_rpc_refusals_total", method=ok["method"], reason="NOT_FOUND") == 1
    assert page.value("watchword_rpc_duration_seconds_count", method=ok["method"]) == before + 2
    assert page.value("watchword_rpc_duration_seconds_sum", method=ok["method"]) > 0


def test_each_rpc_has_its_series_from_the_start(page: Page):
    expected = {f"{service.name}/{method.name}" for service in services() for method in service.methods}
    families = text_string_to_metric_families(page.text())
    samples = [each for family in families for each in family.samples if each.name == "watchword_rpc_requests_total"]
    assert {each.labels["method"] for each in samples} == expected | {"unknown"}


def test_who_hangs_up_is_counted_so(served: Deployment, page: Page):
    method = "CredentialService/SetPassword"
    with served.client() as client:
        user = client.users.create(username="eve")
    served.signal_database(signal.SIGSTOP)
    try:
        with served.client(timeout=0.5) as client, pytest.raises(DeadlineExceededError):
            client.credentials.set_password(user.user_id, new_password=PASSWORD)
    finally:
        served.signal_database(signal.SIGCONT)
    page.reaches(1, "watchword_rpc_requests_total", method=method, code="CANCELLED")


def test_calls_of_rpcs_that_do_not_exist_are_one_label(served: Deployment, page: Page):
    with grpc.insecure_channel(served.address) as channel:
        for number in range(5):
            for path in (f"/watchword.v1.UserService/Canary{number}", f"/Canary{number}/X"):
                with pytest.raises(grpc.RpcError) as caught:
                    channel.unary_unary(path)(b"", timeout=5)
                assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert page.value("watchword_rpc_requests_total", method="unknown", code="UNIMPLEMENTED") == 10
    assert "Canary" not in page.text()


def test_streams_that_stay_open_are_counted_apart(served: Deployment, page: Page):
    method = "WatchService/Watch"
    with served.client() as client:
        client.ready()
        page.reaches(1, "watchword_watch_streams")
    # As CANCELLED, or as OK if the server has heard first that nothing more is asked.
    page.reaches(1, "watchword_rpc_requests_total", method=method)
    seconds_until(lambda: page.value("watchword_watch_streams") == 0, within=SECONDS)
    # Their duration means nothing, and they are no calls that are under way.
    assert page.value("watchword_rpc_duration_seconds_count", method=method) == 0
    seconds_until(lambda: page.value("watchword_rpc_calls_under_way") == 0, within=SECONDS)


def test_streams_that_end_are_counted(client: Client, page: Page):
    client.relationships.write([Relationship("user:ana", "member", "group:eng")])
    assert list(client.relationships.export())
    method = "RelationshipService/ExportRelationships"
    assert page.value("watchword_rpc_requests_total", method=method, code="OK") == 1
    assert page.value("watchword_rpc_duration_seconds_count", method=method) == 1


def test_the_parts_are_told_of(client: Client, page: Page):
    client.users.create(username="ben", password=PASSWORD)
    with pytest.raises(SignInRefusedError):
        client.sign_in("ben", password="wrong horse battery")
    client.relationships.write([Relationship("user:ben", "member", "group:eng")])
    client.permissions.check("user:ben", "member", "group:eng")
    page.reaches(2, "watchword_password_hashes_total")
    page.reaches(1, "watchword_checks_total", source="database")

    def is_answered_from_cache() -> bool:
        client.permissions.check("user:ben", "member", "group:eng")
        return page.value("watchword_checks_total", source="cache") >= 1

    seconds_until(is_answered_from_cache, within=SECONDS)
    page.reaches(1, "watchword_cache_bytes")
    page.reaches(1, "watchword_pool_requests_total", pool="calls")
    page.reaches(1, "watchword_pool_connections", pool="questions", state="idle")
    assert page.value("watchword_pool_max_connections") == 16
    assert 0 <= page.value("watchword_feed_lag_seconds") < SECONDS


def test_nothing_personal_is_told(client: Client, page: Page):
    user = client.users.create(username="canary", email="canary@example.com", password=PASSWORD)
    tokens = client.sign_in("canary", password=PASSWORD)
    client.relationships.write([Relationship("user:canary", "member", "group:canary")])
    client.check("user:canary", "member", "group:canary")
    with pytest.raises(NotFoundError):
        client.service_accounts.get("canary")
    page.reaches(1, "watchword_checks_total")
    text = page.text()
    for personal in ("canary", user.user_id, tokens.session.session_id, "example.com"):
        assert personal not in text
    labels = set(re.findall(r'(\w+)="', text))
    assert labels == {"method", "code", "reason", "le", "pool", "state", "source"}


def test_the_feed_falls_behind_when_the_database_stops(served: Deployment, page: Page):
    served.signal_database(signal.SIGSTOP)
    try:
        page.reaches(1.5, "watchword_feed_lag_seconds")
    finally:
        served.signal_database(signal.SIGCONT)
    seconds_until(lambda: page.value("watchword_feed_lag_seconds") < 1.5, within=SECONDS)


def test_an_address_that_is_taken_is_refused(served: Deployment, listen: str):
    here = served.address
    served.settings["WATCHWORD_LISTEN"] = f"127.0.0.1:{free_port()}"
    try:
        with served.spawn() as second:
            try:
                assert second.wait(SECONDS) == 1
            finally:
                second.kill()
    finally:
        served.settings["WATCHWORD_LISTEN"] = here
    assert f"Cannot serve metrics on {listen}" in served.log


def test_several_workers_have_one_page():
    listen = f"127.0.0.1:{free_port()}"
    page = Page(listen)
    counted = {"method": "UserService/ListUsers", "code": "OK"}
    with deployment(WATCHWORD_WORKERS="2", WATCHWORD_METRICS_LISTEN=listen) as made:
        with spread(made) as clients:
            before = page.value("watchword_rpc_requests_total", **counted)
            for client in clients:
                client.users.list_page(page_size=1)
            assert page.value("watchword_rpc_requests_total", **counted) == before + len(clients)
            total = before + len(clients)
        assert page.value("watchword_workers") == 2
        page.reaches(2 * 8, "watchword_pool_max_connections", pool="calls")
        # What one has counted does not go with it; how it did does.
        victim = min(pids(made.server))
        os.kill(victim, signal.SIGKILL)
        seconds_until(lambda: len(pids(made.server) - {victim}) == 2, within=SECONDS)
        seconds_until(lambda: page.value("watchword_pool_max_connections", pool="calls") == 2 * 8, within=SECONDS)
        assert page.value("watchword_rpc_requests_total", **counted) == total
        environment = Path(f"/proc/{min(pids(made.server))}/environ").read_text()
        folder = Path(re.findall(r"PROMETHEUS_MULTIPROC_DIR=([^\0]*)", environment)[0])
        assert not [file for file in folder.iterdir() if f"_{victim}." in file.name]
        assert made.stop_server() == 0
    assert not folder.exists()
    with pytest.raises(URLError):
        page.text()
