"""The Flask example under gunicorn, which loads it once and then forks two workers, over real HTTP."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from conftest import PASSWORD
from example_process import ROOT, Site, environment, serving, until

from watchword.client import Client
from watchword.client.testing import LocalServer

WORKERS = 2


@pytest.fixture(scope="module")
def outside(watchword_server: LocalServer) -> Iterator[Client]:
    """Another service, in another process, with two users."""
    watchword_server.reset()
    with Client(watchword_server.address, api_key=watchword_server.api_key, clock=watchword_server.time) as client:
        for name in ("ana", "ben"):
            client.users.create(username=name, password=PASSWORD)
        yield client


@pytest.fixture(scope="module")
def env(outside: Client, watchword_server: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the application finds around it, once it is prepared."""
    database = tmp_path_factory.mktemp("flask") / "documents.sqlite3"
    env = environment(watchword_server, DOCUMENTS_DATABASE=str(database))
    subprocess.run([sys.executable, "-m", "examples.flask_app", "prepare"], env=env, cwd=ROOT, check=True)
    return env


@pytest.fixture(scope="module")
def site(env: dict[str, str]) -> Iterator[Site]:
    def gunicorn(address: str) -> list[str]:
        options = ["--preload", "--workers", str(WORKERS), "--bind", address]
        return ["gunicorn", *options, "examples.flask_app.application:app"]

    with serving(gunicorn, env=env) as site:
        yield site


@pytest.fixture(scope="module")
def workers(site: Site) -> list[int]:
    """The processes that serve, each of which has a live feed."""
    seen: set[int] = set()

    def ask(_number: int) -> None:
        response = httpx.get(f"{site.url}/ready")
        assert response.status_code == 200, response.text
        seen.add(response.json()["process"])

    def all_are_seen() -> bool:
        with ThreadPoolExecutor(4 * WORKERS) as threads:
            list(threads.map(ask, range(4 * WORKERS)))
        return len(seen) == WORKERS

    until(all_are_seen, "every worker has a live feed")
    assert site.pid not in seen
    return sorted(seen)


@contextmanager
def only(worker: int, workers: list[int]) -> Iterator[None]:
    """Let one worker serve, and the others wait."""
    others = [each for each in workers if each != worker]
    try:
        for other in others:
            os.kill(other, signal.SIGSTOP)
        yield
    finally:
        for other in others:
            os.kill(other, signal.SIGCONT)


class Person:
    """Somebody with a browser, who fills in the forms of pages."""

    def __init__(self, client: httpx.Client, name: str) -> None:
        self.http = client
        client.headers.update({"accept": "text/html", "origin": str(client.base_url)})
        page = self.http.get("/sign-in")
        assert 'name="password"' in page.text
        response = self.http.post("/sign-in", data={"name": name, "password": PASSWORD})
        assert (response.status_code, response.headers["location"]) == (303, "/")

    def post(self, path: str, *, page: str = "/", **fields: str) -> httpx.Response:
        (token, *_) = re.findall(r'name="csrf_token" value="([^"]+)"', self.http.get(page).text)
        return self.http.post(path, data={"csrf_token": token, **fields})

    def create(self, title: str = "Plans") -> str:
        response = self.post("/documents", title=title)
        assert response.status_code == 303, response.text
        return response.headers["location"]

    def status(self, path: str, **headers: str) -> int:
        return self.http.get(
            path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        ).status_code


@pytest.fixture
def ana(site: Site) -> Iterator[Person]:
    with httpx.Client(base_url=site.url) as client:
        yield Person(client, "ana")


@pytest.fixture
def ben(site: Site) -> Iterator[Person]:
    with httpx.Client(base_url=site.url) as client:
        yield Person(client, "ben")


def test_nobody_is_shown_where_to_sign_in(site: Site):
    response = httpx.get(site.url, headers={"accept": "text/html"})
    assert (response.status_code, response.headers["location"]) == (303, "/sign-in")
    assert httpx.get(f"{site.url}/api/documents/1").status_code == 401
    assert httpx.get(site.url, headers={"accept": "application/json"}).status_code == 401
    refused = httpx.post(f"{site.url}/sign-in", data={"name": "ana", "password": "wrong"})
    assert (refused.status_code, dict(refused.cookies)) == (401, {})
    assert "The name or the password is wrong." in refused.text


def test_other_sites_change_nothing(ana: Person):
    document = ana.create()
    for fields in ({}, {"csrf_token": "x"}):
        assert ana.http.post(document, data={"text": "Changed", **fields}).status_code == 403
    token = ana.http.cookies["watchword-csrf"]
    evil = ana.http.post(
        document, data={"text": "Changed", "csrf_token": token}, headers={"origin": "https://e.example"}
    )
    assert evil.status_code == 403
    assert "Changed" not in ana.http.get(document).text
    assert ana.post(document, page=document, text="Changed").status_code == 303
    assert "Changed" in ana.http.get(document).text


def test_what_people_write_runs_in_nobodys_page(ana: Person, ben: Person):
    attack = "</title></textarea><script>alert(1)</script>"
    document = ana.create(title=attack)
    ana.post(document, page=document, text=attack)
    shared = ana.post(f"{document}/share", page=document, name="ben", relation="viewer")
    for reader, page in ((ana, "/"), (ana, document), (ben, document)):
        # Another worker may serve ben than served ana.
        text = reader.http.get(page, headers={"watchword-revision": shared.headers["watchword-revision"]}).text
        assert "<script>" not in text
        assert "&lt;script&gt;" in text


def test_every_worker_takes_back_what_another_one_did(ana: Person, ben: Person, workers: list[int]):
    first, second = workers
    document = ana.create()
    for _ in range(2):
        with only(second, workers):
            assert ben.status(document) == 403  # and remembers that
        with only(first, workers):
            shared = ana.post(f"{document}/share", page=document, name="ben", relation="viewer")
            assert shared.status_code == 303
            assert ben.status(document) == 200
        with only(second, workers):
            # With the revision of the write at once, without it as soon as the feed has told.
            assert ben.status(document, watchword_revision=shared.headers["watchword-revision"]) == 200
            until(lambda: ben.status(document) == 200, "the grant has arrived")
        with only(first, workers):
            taken = ana.post(f"{document}/unshare", page=document, name="ben")
            assert taken.status_code == 303
            assert ben.status(document) == 403
        with only(second, workers):
            assert ben.status(document, watchword_revision=taken.headers["watchword-revision"]) == 403
            until(lambda: ben.status(document) == 403, "it is taken back")
        first, second = second, first


def test_who_has_signed_out_is_nobody_to_every_worker(site: Site, ana: Person, workers: list[int]):
    first, second = workers
    bearer = {"authorization": f"Bearer {ana.http.cookies['watchword-access']}", "accept": "text/html"}
    for worker in workers:
        with only(worker, workers):
            assert httpx.get(site.url, headers=bearer).status_code == 200
    with only(first, workers):
        assert ana.post("/sign-out").headers["location"] == "/sign-in"
        assert set(ana.http.cookies) == {"watchword-device"}  # it stays
        assert httpx.get(site.url, headers=bearer).status_code == 401
    with only(second, workers):
        until(lambda: httpx.get(site.url, headers=bearer).status_code == 401, "the session has ended")


def test_only_the_owner_shares(ana: Person, ben: Person):
    document = ana.create()
    shared = ana.post(f"{document}/share", page=document, name="ben", relation="editor")
    assert ben.status(document, watchword_revision=shared.headers["watchword-revision"]) == 200
    assert ben.post(f"{document}/share", page=document, name="ben", relation="editor").status_code == 403
    assert ana.post(f"{document}/share", page=document, name="ben", relation="owner").status_code == 400
    assert ana.post(f"{document}/share", page=document, name="nobody", relation="viewer").status_code == 400


def test_the_command_serves_too(env: dict[str, str]):
    with serving(lambda address: ["examples.flask_app", address], env=env) as site:
        assert f"Documents: {site.url}" in site.output()
        with httpx.Client(base_url=site.url) as client:
            assert Person(client, "ana").status("/") == 200, site.output()
