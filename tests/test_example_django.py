"""The Django application of the examples, served as its users serve it, and used as people and programs use it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest
from conftest import PASSWORD
from example_process import ROOT, environment, serving, until

from watchword.client import Client
from watchword.client.testing import LocalServer

APP = "examples.django_app"
TOKENS = ("watchword-access", "watchword-refresh")
EVIL = "</title></textarea><script>alert(1)</script>"


def gunicorn(address: str) -> list[str]:
    return ["gunicorn", "--preload", "--workers=2", f"--bind={address}", f"{APP}.servers:wsgi"]


def uvicorn(address: str) -> list[str]:
    return ["uvicorn", "--workers=2", f"--port={address.rpartition(':')[2]}", f"{APP}.servers:asgi"]


@dataclass(frozen=True, slots=True)
class Site:
    """The application, and the two processes that serve it."""

    url: str
    workers: tuple[int, ...]

    @contextmanager
    def only(self, worker: int) -> Iterator[None]:
        """Let one worker serve, and the other wait."""
        (other,) = set(self.workers) - {worker}
        os.kill(other, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(other, signal.SIGCONT)


@pytest.fixture(scope="module")
def env(watchword_server: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the application finds around it, once it is prepared."""
    watchword_server.reset()
    with Client(watchword_server.address, api_key=watchword_server.api_key) as client:
        for name in ("ana", "ben"):
            client.users.create(username=name, password=PASSWORD)
    database = tmp_path_factory.mktemp("django") / "documents.sqlite3"
    env = environment(watchword_server, DOCUMENTS_DATABASE=str(database))
    subprocess.run([sys.executable, "-m", APP, "prepare"], cwd=ROOT, env=env, check=True)
    return env


@pytest.fixture(scope="module", params=[gunicorn, uvicorn], ids=["gunicorn", "uvicorn"])
def site(request: pytest.FixtureRequest, env: dict[str, str]) -> Iterator[Site]:
    with serving(request.param, env=env) as served:
        workers: set[int] = set()

        def ask(_number: int) -> None:
            response = httpx.get(f"{served.url}/ready", timeout=20)
            if response.status_code == 200:
                workers.add(response.json()["process"])

        def all_are_seen() -> bool:
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(ask, range(8)))
            return len(workers) == 2

        until(all_are_seen, "both workers have a live feed")
        yield Site(served.url, tuple(workers))


class Person:
    """Somebody at a browser. Every request has a connection of its own, so that any worker may get it."""

    def __init__(self, url: str) -> None:
        limits = httpx.Limits(max_keepalive_connections=0)
        headers = {"accept": "text/html,*/*;q=0.8"}
        self.http = httpx.Client(base_url=url, limits=limits, headers=headers, timeout=20)

    def get(self, path: str) -> httpx.Response:
        return self.http.get(path)

    def status(self, path: str) -> int:
        return self.get(path).status_code

    def submit(self, path: str, on: str = "/", **fields: str) -> httpx.Response:
        """Fill in a form of a page and send it."""
        page = self.get(on)
        assert page.status_code == 200, page.text
        (token, *_) = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        return self.http.post(path, data={"csrfmiddlewaretoken": token, **fields})

    def sign_in(self, name: str, password: str = PASSWORD, path: str = "/sign-in") -> httpx.Response:
        return self.submit(path, on="/sign-in", name=name, password=password)

    def create(self, title: str) -> str:
        response = self.submit("/documents", title=title)
        assert response.status_code == 302, response.text
        return response.headers["location"]


@pytest.fixture
def person(site: Site) -> Iterator[Callable[..., Person]]:
    people: list[Person] = []

    def make(name: str = "") -> Person:
        people.append(Person(site.url))
        if name:
            assert people[-1].sign_in(name).status_code == 302
        return people[-1]

    yield make
    for each in people:
        each.http.close()


def test_people_sign_in_through_the_form(person: Callable[..., Person]):
    visitor = person()
    assert visitor.get("/").headers["location"] == "/sign-in?next=%2F"
    forged = visitor.http.post("/sign-in", data={"name": "ana", "password": PASSWORD})
    assert (forged.status_code, visitor.sign_in("ana", "wrong").status_code) == (403, 401)
    assert not set(TOKENS) & set(visitor.http.cookies)
    for elsewhere in ("https://evil.example.com", "//evil.example.com", "javascript:alert(1)"):
        response = visitor.sign_in("ana", path=f"/sign-in?next={elsewhere}")
        assert (response.status_code, response.headers["location"]) == (302, "/")
    assert visitor.sign_in("ana", path="/sign-in?next=/ready").headers["location"] == "/ready"


def test_what_people_write_runs_in_nobodys_page(person: Callable[..., Person]):
    ana = person("ana")
    document = ana.create(EVIL)
    assert ana.submit(f"{document}/edit", on=document, text=EVIL).status_code == 302
    for page in (ana.get("/").text, ana.get(document).text):
        assert "<script>" not in page
        assert "&lt;/title&gt;&lt;/textarea&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_every_worker_takes_back_what_another_one_did(person: Callable[..., Person], site: Site):
    ana, ben = person("ana"), person("ben")
    document = ana.create("Plans")
    first, second = site.workers
    for one, other in ((first, second), (second, first)):
        with site.only(other):
            assert document not in ben.get("/").text
            assert ben.status(document) == 403  # and remembers that
        with site.only(one):
            shared = ana.submit(f"{document}/share", on=document, name="ben", relation="viewer")
            assert (shared.status_code, "watchword-revision" in shared.headers) == (302, True)
            assert ben.status(document) == 200
        with site.only(other):
            until(lambda: ben.status(document) == 200, "the grant has arrived", within=5)
            assert document in ben.get("/").text
            assert (ben.status(f"{document}/text"), ben.status(f"/api{document}")) == (200, 200)
            assert ben.submit(f"{document}/edit", text="Ben's").status_code == 403
            assert ben.submit(f"{document}/share", name="ben", relation="editor").status_code == 403
        with site.only(one):
            assert ana.submit(f"{document}/unshare", on=document, name="ben").status_code == 302
            assert ben.status(document) == 403
        with site.only(other):
            until(lambda: ben.status(document) == 403, "it is taken back", within=5)
            assert (ben.status(f"{document}/text"), ben.status(f"/api{document}")) == (403, 403)


def test_who_writes_sees_it_at_once_whichever_worker_is_asked(person: Callable[..., Person], site: Site):
    ana = person("ana")
    first, second = site.workers
    for number in range(4):
        with site.only(first):
            document = ana.create(f"Draft {number}")
        with site.only(second):
            assert ana.status(document) == 200
        first, second = second, first


def test_programs_need_no_csrf_token_and_browsers_do(person: Callable[..., Person], site: Site):
    ana = person("ana")
    document = ana.create("Budget")
    change = {"title": "Budget", "text": "Dig"}
    assert ana.http.post(f"{document}/edit", data={"text": "forged"}).status_code == 403
    assert ana.http.put(f"/api{document}", json=change).status_code == 403
    bearer = {"authorization": f"Bearer {ana.http.cookies['watchword-access']}"}
    assert httpx.put(f"{site.url}/api{document}", json=change, headers=bearer).json()["text"] == "Dig"
    assert "Budget" in [each["title"] for each in httpx.get(f"{site.url}/api/documents", headers=bearer).json()]
    assert httpx.get(f"{site.url}/api{document}").status_code == 401
    assert ana.submit(f"{document}/edit", on=document, text="Dig deeper").status_code == 302
    assert ana.get(f"{document}/text").text == "Dig deeper"


def test_who_has_signed_out_is_nobody_to_every_worker(person: Callable[..., Person], site: Site):
    ana = person("ana")
    stolen = {name: ana.http.cookies[name] for name in TOKENS}

    def thief() -> int:
        return httpx.get(site.url, cookies=stolen, headers={"accept": "text/html"}).status_code

    first, second = site.workers
    for worker in site.workers:
        with site.only(worker):
            assert thief() == 200
    with site.only(first):
        assert ana.submit("/sign-out").headers["location"] == "/sign-in"
        assert not set(TOKENS) & set(ana.http.cookies)
        assert (ana.status("/"), thief()) == (302, 302)
    with site.only(second):
        until(lambda: thief() == 302, "the session has ended", within=5)


def test_the_command_serves_too(env: dict[str, str]):
    with serving(lambda address: [APP, address], env=env) as served:
        assert f"Documents: {served.url}" in served.output()
        ana = Person(served.url)
        assert (ana.sign_in("ana").status_code, ana.status("/")) == (302, 200)
        ana.http.close()
