"""The FastAPI example, as a process under uvicorn, over real HTTP."""

from collections.abc import Iterator

import httpx
import pytest
from conftest import PASSWORD
from example_process import Site, environment, serving, until

from watchword.client import Client, Relationship, RelationshipKey
from watchword.client.testing import LocalServer


@pytest.fixture(scope="module")
def outside(watchword_server: LocalServer) -> Iterator[Client]:
    """Another service, in another process, with two users."""
    watchword_server.reset()
    with Client(watchword_server.address, api_key=watchword_server.api_key, clock=watchword_server.time) as client:
        for name in ("ana", "ben"):
            client.users.create(username=name, password=PASSWORD)
        yield client


@pytest.fixture(scope="module")
def site(outside: Client, watchword_server: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The application, started by its one command beside the key that `make run` writes."""
    folder = tmp_path_factory.mktemp("fastapi")
    (folder / ".watchword").mkdir()
    (folder / ".watchword" / "administrator.key").write_text(f"{watchword_server.api_key}\n")
    env = environment(watchword_server)
    del env["WATCHWORD_API_KEY"]
    with serving(lambda address: ["examples.fastapi_app", address], env=env, cwd=folder) as site:
        yield site


@pytest.fixture(scope="module")
def url(site: Site) -> str:
    return site.url


@pytest.fixture
def ana(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url) as client:
        yield signed_in(client, "ana")


@pytest.fixture
def ben(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url) as client:
        yield signed_in(client, "ben")


def signed_in(client: httpx.Client, name: str) -> httpx.Client:
    response = client.post("/session", json={"name": name, "password": PASSWORD})
    assert response.status_code == 204, response.text
    client.headers["x-csrf-token"] = client.cookies["watchword-csrf"]
    return client


def created(client: httpx.Client) -> str:
    response = client.post("/documents", json={"title": "Plans"})
    assert response.status_code == 201, response.text
    return f"/documents/{response.json()['id']}"


def name_of(path: str) -> str:
    return path.removeprefix("/").replace("s/", ":", 1)


def test_nobody_gets_in(url: str):
    for path in ("/documents", "/documents/1", "/session"):
        response = httpx.get(url + path)
        assert response.status_code == 401
        assert "detail" in response.json()
    refused = httpx.post(f"{url}/session", json={"name": "ana", "password": "wrong"})
    assert (refused.status_code, dict(refused.cookies)) == (401, {})


def test_other_sites_change_nothing(ana: httpx.Client):
    document = created(ana)
    body = {"title": "Changed"}
    for headers in ({"x-csrf-token": ""}, {"x-csrf-token": "x"}, {"origin": "https://evil.example"}):
        assert ana.put(document, json=body, headers=headers).status_code == 403
    assert ana.get(document).json()["title"] == "Plans"
    assert ana.put(document, json=body).json()["title"] == "Changed"


def test_what_is_shared_is_taken_back(ana: httpx.Client, ben: httpx.Client):
    document = created(ana)
    assert ben.get(document).status_code == 403
    assert ben.put(f"{document}/shares/ben", json={"relation": "editor"}).status_code == 403
    # Who has written sees the own write at once, and so do all whom the same process serves.
    assert ana.put(f"{document}/shares/ben", json={"relation": "viewer"}).status_code == 204
    assert ben.get(document).status_code == 200
    assert ana.get(document).json() in ben.get("/documents").json()
    assert ben.put(document, json={"title": "Mine"}).status_code == 403
    assert ben.put(f"{document}/shares/ben", json={"relation": "editor"}).status_code == 403
    assert ana.delete(f"{document}/shares/ben").status_code == 204
    assert ben.get(document).status_code == 403
    assert ana.get(document).json() not in ben.get("/documents").json()


def test_what_another_service_changes_arrives_by_itself(ana: httpx.Client, ben: httpx.Client, outside: Client):
    document = created(ana)
    subject = ben.get("/session").json()["subject"]
    for _ in range(3):
        assert ben.get(document).status_code == 403
        outside.relationships.write([Relationship(subject, "viewer", name_of(document))])
        until(lambda: ben.get(document).status_code == 200, "the grant has arrived")
        outside.relationships.write(deletes=[RelationshipKey(subject, "viewer", name_of(document))])
        until(lambda: ben.get(document).status_code == 403, "it is taken back")
        for _ in range(20):  # at last all that is listed is known to the process
            assert ana.get(document).json() not in ben.get("/documents").json()
    # With its revision at once.
    revision = outside.relationships.write([Relationship(subject, "viewer", name_of(document))])
    assert ben.get(document, headers={"watchword-revision": revision}).status_code == 200


def test_who_has_signed_out_is_nobody(url: str, ana: httpx.Client):
    stolen = dict(ana.cookies)
    bearer = {"authorization": f"Bearer {stolen['watchword-access']}"}
    assert httpx.get(f"{url}/session", headers=bearer).status_code == 200
    assert ana.delete("/session").status_code == 204
    assert set(ana.cookies) == {"watchword-device"}  # it stays
    assert httpx.get(f"{url}/session", headers=bearer).status_code == 401
    assert httpx.Client(base_url=url, cookies=stolen).get("/session").status_code == 401


def test_the_page_runs_no_script_but_its_own(url: str):
    page = httpx.get(url)
    assert page.headers["content-security-policy"] == "default-src 'self'"
    assert '<script src="/page.js">' in page.text
    script = httpx.get(f"{url}/page.js")
    assert "javascript" in script.headers["content-type"]
    assert "innerHTML" not in script.text


def test_the_description_says_what_is_needed(url: str):
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    assert paths["/documents/{document_id}"]["put"]["security"] == [{"bearer": []}]


def test_the_command_says_where_it_is_and_keeps_quiet_otherwise(site: Site, outside: Client):
    assert f"Documents: {site.url}, described at {site.url}/docs" in site.output()
    assert PASSWORD not in site.output()
    assert "wwr_" not in site.output()
