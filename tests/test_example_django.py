"""The Django application of the examples, served as its users serve it, and used as people and programs use it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import PASSWORD
from deployment import free_port, seconds_until

from watchword.client import Client
from watchword.client.testing import LocalServer

ROOT = Path(__file__).parents[1]
APP = "examples.django_app"
SERVERS = {
    "gunicorn": ["gunicorn", "--preload", "--workers=2", "--bind={address}", f"{APP}.servers:wsgi"],
    "uvicorn": ["uvicorn", "--workers=2", "--host={host}", "--port={port}", f"{APP}.servers:asgi"],
    "runserver": [APP, "{address}"],
}
WITHIN = 5.0
EVIL = "<script>alert(1)</script>"


@contextmanager
def serving(command: list[str], server: LocalServer, folder: Path) -> Iterator[str]:
    """Run a server of the application, and give its URL once it answers; nothing is left of it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WATCHWORD_", "DJANGO_"))}
    watchword = {"WATCHWORD_ADDRESS": server.address, "WATCHWORD_API_KEY": server.api_key}
    environment = {**clean, **watchword, "DOCUMENTS_DATABASE": str(folder / "documents.sqlite3")}
    subprocess.run([sys.executable, "-m", APP, "prepare"], cwd=ROOT, env=environment, check=True)
    port = str(free_port())
    told = [each.format(host="127.0.0.1", port=port, address=f"127.0.0.1:{port}") for each in command]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", *told], cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        seconds_until(lambda: process.poll() is not None or is_ready(url), within=30)
        assert process.poll() is None, (folder / "log").read_text()[-3000:]
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready").status_code == 200
    except httpx.TransportError:
        return False


class Person:
    """Somebody at a browser. Every request has a connection of its own, so any worker may get it."""

    def __init__(self, url: str, cookies: Any = None) -> None:
        limits = httpx.Limits(max_keepalive_connections=0)
        headers = {"accept": "text/html"}
        self.http = httpx.Client(base_url=url, limits=limits, headers=headers, cookies=cookies, timeout=20)

    def get(self, path: str) -> httpx.Response:
        return self.http.get(path)

    def submit(self, path: str, on: str = "/", **fields: str) -> httpx.Response:
        """Fill in a form of a page and send it."""
        page = self.get(on)
        assert page.status_code == 200, page.text
        (token, *_) = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        return self.http.post(path, data={"csrfmiddlewaretoken": token, **fields})

    def sign_in(self, name: str) -> httpx.Response:
        return self.submit("/sign-in", on="/sign-in", name=name, password=PASSWORD)

    def statuses(self, path: str) -> set[int]:
        """What all workers say, most likely."""
        return {self.get(path).status_code for _ in range(12)}

    def until(self, statuses: set[int], path: str) -> None:
        seconds_until(lambda: self.statuses(path) == statuses, within=WITHIN)


@pytest.fixture(params=["gunicorn", "uvicorn"])
def url(request: pytest.FixtureRequest, watchword: Client, watchword_server: LocalServer, tmp_path: Path) -> Any:
    for name in ("ana", "ben"):
        watchword.users.create(username=name, password=PASSWORD)
    with serving(SERVERS[request.param], watchword_server, tmp_path) as url:
        seconds_until(lambda: len({httpx.get(f"{url}/ready").json()["process"] for _ in range(8)}) == 2, within=30)
        yield url


@pytest.fixture
def person(url: str) -> Iterator[Callable[..., Person]]:
    people: list[Person] = []

    def make(name: str = "", cookies: Any = None) -> Person:
        people.append(Person(url, cookies))
        if name:
            assert people[-1].sign_in(name).status_code == 302
        return people[-1]

    yield make
    for each in people:
        each.http.close()


def test_people_share_documents_and_take_them_back(person: Callable[..., Person], watchword: Client):
    visitor = person()
    assert visitor.get("/").headers["location"] == "/sign-in?next=%2F"
    forged = visitor.http.post("/sign-in", data={"name": "ana", "password": PASSWORD})
    refused = visitor.submit("/sign-in", on="/sign-in", name="ana", password="wrong")
    assert (forged.status_code, refused.status_code) == (403, 401)
    lured = visitor.submit("/sign-in?next=https://evil.example.com", on="/sign-in", name="ana", password=PASSWORD)
    assert (lured.status_code, lured.headers["location"]) == (302, "/")

    ana, ben = person("ana"), person("ben")
    created = ana.submit("/documents", title=EVIL)
    document = created.headers["location"]
    # The writer sees its own write at once, whichever worker is asked.
    assert ana.statuses(document) == {200}
    for page in (ana.get("/").text, ana.get(document).text):
        assert EVIL not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert document not in ben.get("/").text
    assert ben.statuses(document) == {403}

    shared = ana.submit(f"{document}/share", on=document, name="ben", relation="viewer")
    assert (shared.status_code, "watchword-revision" in shared.headers) == (302, True)
    ben.until({200}, document)
    assert document in ben.get("/").text
    assert ben.get(f"{document}/text").status_code == 200
    assert ben.submit(f"{document}/edit", text="Ben's").status_code == 403
    assert ben.submit(f"{document}/share", name="ben", relation="editor").status_code == 403

    assert ana.submit(f"{document}/unshare", on=document, name="ben").status_code == 302
    for path in (document, f"{document}/text", f"/api{document}"):
        ben.until({403}, path)


def test_programs_need_no_csrf_token_and_browsers_do(person: Callable[..., Person], url: str, watchword: Client):
    ana = person("ana")
    document = ana.submit("/documents", title="Plans").headers["location"]
    change = {"title": "Plans", "text": "Dig"}
    assert ana.http.post(f"{document}/edit", data={"text": "forged"}).status_code == 403
    assert ana.http.put(f"/api{document}", json=change).status_code == 403
    bearer = {"authorization": f"Bearer {watchword.sign_in('ana', password=PASSWORD).access_token}"}
    assert httpx.put(f"{url}/api{document}", json=change, headers=bearer).json()["text"] == "Dig"
    assert [each["title"] for each in httpx.get(f"{url}/api/documents", headers=bearer).json()] == ["Plans"]
    assert httpx.get(f"{url}/api{document}").status_code == 401
    assert ana.submit(f"{document}/edit", on=document, text="Dig deeper").status_code == 302
    assert ana.get(f"{document}/text").text == "Dig deeper"


def test_who_signs_out_is_signed_out_on_every_worker(person: Callable[..., Person]):
    ana = person("ana")
    copied = person(cookies=dict(ana.http.cookies))
    assert copied.statuses("/") == {200}
    assert ana.submit("/sign-out").headers["location"] == "/sign-in"
    assert not [name for name in ana.http.cookies if name in {"watchword-access", "watchword-refresh"}]
    assert ana.statuses("/") == {302}
    thief = person(cookies={name: copied.http.cookies[name] for name in ("watchword-access", "watchword-refresh")})
    # Each time with the stolen cookies: an answer clears them.
    stolen = dict(thief.http.cookies)

    def ask() -> int:
        thief.http.cookies = httpx.Cookies(stolen)
        return thief.get("/").status_code

    seconds_until(lambda: {ask() for _ in range(12)} == {302}, within=WITHIN)


def test_one_command_serves_it(watchword: Client, watchword_server: LocalServer, tmp_path: Path):
    watchword.users.create(username="ana", password=PASSWORD)
    with serving(SERVERS["runserver"], watchword_server, tmp_path) as url:
        ana = Person(url)
        assert ana.sign_in("ana").status_code == 302
        assert "Documents" in ana.get("/").text
        ana.http.close()
