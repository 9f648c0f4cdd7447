"""The gRPC interceptors: the real SDK, the real server, and calls over real connections, in threads and in asyncio."""

import asyncio
import logging
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from conftest import PASSWORD
from grpc_probe import DECLARED, FORGOTTEN, MODEL, Served, ask, pb, served, services

from watchword.client import AsyncClient, Client, Relationship, RelationshipKey
from watchword.client.grpc import (
    AUTHENTICATED,
    PUBLIC,
    AsyncServerInterceptor,
    ClientInterceptor,
    Requires,
    ServerInterceptor,
    async_client_interceptors,
    current_principal,
    current_token,
)
from watchword.client.testing import LocalServer

Code = grpc.StatusCode
KINDS = ("One", "Down", "Up", "Both")


@pytest.fixture(params=["threads", "asyncio"])
def place(request: pytest.FixtureRequest, world: Client, watchword_server: LocalServer) -> Iterator[Served]:
    with served(request.param, watchword_server) as running:
        yield running


@pytest.fixture
def world(watchword: Client) -> Client:
    watchword.permissions.write_model(dsl=MODEL)
    for name in ("ana", "ben"):
        watchword.users.create(username=name, password=PASSWORD)
    return watchword


@pytest.fixture
def ana(world: Client) -> str:
    return world.sign_in("ana", password=PASSWORD).access_token


def subject(world: Client, name: str = "ana") -> str:
    return f"user:{world.users.get_by_username(name).user_id}"


def grant(world: Client, *notes: str) -> str:
    return world.relationships.write([Relationship(subject(world), "viewer", f"note:{note}") for note in notes])


def revoke(world: Client, note: str) -> None:
    world.relationships.write(deletes=[RelationshipKey(subject(world), "viewer", f"note:{note}")])


def after(revision: str) -> tuple[tuple[str, str], ...]:
    return (("watchword-revision", revision),)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- who is calling -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_nobody_gets_in_without_a_good_token(place: Served, ana: str, name: str):
    good = ("authorization", f"Bearer {ana}")
    wrong = ["", "Bearer", "Bearer ", f"Basic {ana}", f"Bearer {ana}x", "Bearer x", f"Bearer {ana} {ana}", ana]
    for metadata in [(), (good, good), *((("authorization", value),) for value in wrong)]:
        assert place.refused(name, ask("1"), metadata=metadata) is Code.UNAUTHENTICATED
    assert place.refused(name, ask("a#b"), metadata=()) is Code.UNAUTHENTICATED  # before anything else is looked at
    assert place.probe.seen == []


def test_the_handler_knows_the_caller_and_nobody_else_does(place: Served, world: Client, ana: str):
    ben = world.sign_in("ben", password=PASSWORD).access_token
    for token, name in ((ana, "ana"), (ben, "ben"), (ana, "ana")):
        assert place.call("Who", ask(), token=token) == subject(world, name).removeprefix("user:")
        assert place.call("Public", ask()) == "nobody"
        assert place.call("Public", ask(), token=token) == "nobody"
    assert current_token() is None
    with pytest.raises(RuntimeError, match="caller"):
        current_principal()


def test_a_session_that_is_revoked_ends_at_once(place: Served, world: Client, ana: str):
    assert place.call("Who", ask(), token=ana)
    world.sessions.revoke(world.authenticate(ana).session_id)
    eventually(lambda: _code(place, "Who", ana) is Code.UNAUTHENTICATED)


def _code(place: Served, name: str, token: str, *requests: Any) -> grpc.StatusCode | None:
    try:
        place.call(name, *(requests or (ask(),)), token=token)
    except grpc.RpcError as error:
        return error.code()
    return None


def test_a_token_that_is_over_is_refused(place: Served, ana: str, watchword_server: LocalServer):
    watchword_server.advance(600)
    assert place.refused("Who", ask(), token=ana) is Code.UNAUTHENTICATED


# --- may they -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_denied_granted_and_taken_back(place: Served, world: Client, ana: str, name: str):
    place.probe.outgoing.put(None)
    assert place.refused(name, ask("1"), token=ana) is Code.PERMISSION_DENIED
    assert place.probe.seen == []
    place.call(name, ask("1"), token=ana, metadata=after(grant(world, "1")))
    assert place.refused(name, ask("2"), token=ana) is Code.PERMISSION_DENIED
    revoke(world, "1")

    def is_refused() -> bool:
        place.probe.outgoing.put(None)
        return _code(place, name, ana, ask("1")) is Code.PERMISSION_DENIED

    eventually(is_refused)


def test_the_object_is_named_by_nested_fields_and_integers(place: Served, world: Client, ana: str):
    seen = after(grant(world, "7", "fixed"))
    assert place.call("Nested", pb.Ask(note=pb.Note(id="7")), token=ana, metadata=seen) == "7"
    assert place.call("Number", ask(number=7), token=ana) == "7"
    assert place.call("Fixed", ask(), ask("x"), token=ana) == "done"
    assert place.refused("Nested", ask(), token=ana) is Code.INVALID_ARGUMENT
    assert place.refused("Number", ask(), token=ana) is Code.INVALID_ARGUMENT
    assert place.refused("Nested", pb.Ask(note_id="7", note=pb.Note(id="8")), token=ana) is Code.PERMISSION_DENIED
    revoke(world, "fixed")
    eventually(lambda: _code(place, "Fixed", ana) is Code.PERMISSION_DENIED)


MALFORMED = [
    "",
    "#",
    "a#b",
    "note#viewer",
    "a#",
    "*",
    ":",
    "a:b",
    " ",
    "a b",
    "a\n",
    "a\0",
    "\u202e",
    "é",
    "x" * 300,
    "{}",
]


@pytest.mark.parametrize("name", KINDS)
def test_what_no_object_can_be_named_is_no_argument(place: Served, world: Client, ana: str, name: str):
    everybody = [Relationship("user:*", "viewer", f"note:{note}") for note in ("b", "viewer", "x")]
    seen = after(world.relationships.write(everybody))
    for note in MALFORMED:
        with pytest.raises(grpc.RpcError) as caught:
            place.call(name, ask(note), token=ana, metadata=seen)
        assert caught.value.code() is Code.INVALID_ARGUMENT, note
        assert "note_id" in caught.value.details()
    assert place.refused(name, ask("a@b"), token=ana) is Code.PERMISSION_DENIED  # an id can be an address
    assert place.probe.seen == []


@pytest.mark.parametrize("kind", FORGOTTEN)
def test_what_is_not_declared_is_for_nobody(place: Served, ana: str, kind: str):
    method = getattr(place.channel, kind)(f"/probe.v1.Forgotten/{kind}")
    request = b"" if kind.startswith("unary") else iter([b""])
    with pytest.raises(grpc.RpcError, match="not among the methods declared") as caught:
        list(method(request, metadata=(("authorization", f"Bearer {ana}"),)))
    assert caught.value.code() is Code.PERMISSION_DENIED
    assert place.probe.seen == []
    with pytest.raises(grpc.RpcError) as caught:
        place.channel.unary_unary("/probe.v1.Nothing/Nothing")(b"")
    assert caught.value.code() is Code.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"Typo": AUTHENTICATED}, "Typo: there is no such method"),
        ({"One": None}, "/probe.v1.Probe/One is not declared"),
        ({"One": Requires("can_view", "note:{nothing}")}, "must be a field of the request"),
        ({"One": Requires("can_view", "note:{note}")}, "must be a field of the request"),
        ({"One": Requires("can_view", "note:{ids}")}, "must be a field of the request"),
        ({"One": Requires("can_view", "note:{flag}")}, "must be a field of the request"),
        ({"One": Requires("can_view", "note:{note_id.id}")}, "must be a field of the request"),
        ({"One": Requires("can_view", "{note_id}")}, "must be an object"),
        ({"One": Requires("can_view", "note:{note_id}/{number}")}, "must be an object"),
        ({"One": Requires("can_view", "note:*")}, "must be an object"),
        ({"One": Requires("can_view", "note:a#viewer")}, "must be an object"),
        ({"One": Requires("", "note:1")}, "/One must be declared as"),
        ({"One": "can_view"}, "/One must be declared as"),
    ],
)
def test_mistakes_are_found_when_the_server_starts(changes: dict[str, Any], text: str):
    rules = DECLARED | {f"/probe.v1.Probe/{name}": rule for name, rule in changes.items()}
    rules = {path: rule for path, rule in rules.items() if rule is not None}
    for make, client in ((ServerInterceptor, Client(api_key="x")), (AsyncServerInterceptor, AsyncClient(api_key="x"))):
        with pytest.raises(ValueError, match=text):
            make(client, rules)


def test_a_service_that_is_public_altogether_need_not_be_complete():
    client = Client(api_key="x")
    ServerInterceptor(client, {"/probe.v1.Probe/Public": PUBLIC, "/elsewhere.Unknown/Method": AUTHENTICATED})
    for path in ("probe.v1.Probe/Who", "/Who", "/probe.v1.Probe/*", ""):
        with pytest.raises(ValueError, match="path of a method"):
            ServerInterceptor(client, {path: PUBLIC})


def test_what_the_handler_asks_itself_is_told_alike(place: Served, world: Client, ana: str):
    assert place.refused("Own", ask("1"), token=ana) is Code.PERMISSION_DENIED
    assert place.call("Own", ask("1"), token=ana, metadata=after(grant(world, "1")))
    assert place.refused("Fail", ask("1"), token=ana) is Code.UNKNOWN


# --- streams ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Up", "Both"])
def test_each_message_of_a_stream_is_decided_on(place: Served, world: Client, ana: str, name: str):
    seen = after(grant(world, "1", "2"))
    place.call(name, ask("1"), ask(), ask("2"), token=ana, metadata=seen)
    assert place.probe.seen == ["1", "0", "2"]  # one that names none was about the one before
    for requests, code in [
        ([ask("1"), ask("3"), ask("2")], Code.PERMISSION_DENIED),
        ([ask("1"), ask("a#b"), ask("2")], Code.INVALID_ARGUMENT),
    ]:
        place.probe.seen.clear()
        assert place.refused(name, *requests, token=ana) is code
        assert place.probe.seen == ["1"]
    place.probe.seen.clear()
    assert place.refused(name, ask(), ask("1"), token=ana) is Code.INVALID_ARGUMENT
    assert place.refused(name, token=ana) is Code.INVALID_ARGUMENT
    assert place.probe.seen == []


def test_a_handler_that_swallows_a_refusal_gets_nothing_out_of_it(place: Served, world: Client, ana: str):
    place.probe.swallowing = True
    seen = after(grant(world, "1"))
    assert place.refused("Up", ask("1"), ask("2"), token=ana, metadata=seen) is Code.PERMISSION_DENIED
    assert place.probe.seen == ["1"]


def downstream(place: Served, token: str, revision: str) -> tuple[Any, Callable[[], str]]:
    metadata = (("authorization", f"Bearer {token}"), *after(revision))
    answers = place.stub.Down(ask("1"), metadata=metadata, timeout=20)

    def answer() -> str:
        place.probe.outgoing.put("x")
        return next(answers).text

    return answers, answer


@pytest.mark.parametrize("what", ["permission", "session", "token"])
def test_a_stream_ends_when_what_let_it_begin_does(
    place: Served, world: Client, ana: str, what: str, watchword_server: LocalServer
):
    answers, answer = downstream(place, ana, grant(world, "1"))
    assert answer() == "x"
    if what == "permission":
        revoke(world, "1")
    elif what == "session":
        world.sessions.revoke(world.authenticate(ana).session_id)
    else:
        watchword_server.advance(600)
    with pytest.raises(grpc.RpcError):
        eventually(lambda: answer() != "x")
    assert answers.code() is (Code.PERMISSION_DENIED if what == "permission" else Code.UNAUTHENTICATED)


def test_a_stream_that_the_caller_leaves_leaves_nothing_behind(place: Served, world: Client, ana: str):
    for _ in range(6):  # more than there are threads
        answers, answer = downstream(place, ana, grant(world, "1"))
        answer()
        answers.cancel()
        place.probe.outgoing.put(None)
        place.probe.outgoing = queue.Queue()
    assert place.call("Who", ask(), token=ana)


# --- when it cannot be known --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_without_a_server_nobody_gets_in(kind: str, world: Client, ana: str, watchword_server: LocalServer):
    with served(kind, watchword_server, address="localhost:1", timeout=0.3) as place:
        for name in ("Who", *KINDS):
            assert place.refused(name, ask("1"), token=ana) is Code.UNAVAILABLE
        assert place.call("Public", ask()) == "nobody"


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_a_mistake_of_the_service_is_not_the_callers_fault(
    kind: str, world: Client, ana: str, watchword_server: LocalServer, caplog: pytest.LogCaptureFixture
):
    account = world.service_accounts.create("weak")
    key = world.service_accounts.create_key(account.service_account_id, permissions=["verify_tokens", "watch"])
    with served(kind, watchword_server, api_key=key.api_key) as place:
        with pytest.raises(grpc.RpcError) as caught:
            place.call("One", ask("1"), token=ana)
        assert caught.value.code() is Code.INTERNAL
        assert "check_permissions" not in caught.value.details()
    assert "check_permissions" in caplog.text
    assert ana not in caplog.text


def test_ordinary_functions_are_not_served_by_asyncio_unguarded(world: Client, ana: str, watchword_server: LocalServer):
    with served("asyncio", watchword_server) as place:
        called: list[Any] = []
        type(place.probe).Ordinary = lambda *_: called.append(1)
        interceptor = AsyncServerInterceptor(place.probe.client, {"/a.B/C": AUTHENTICATED})
        handler = grpc.unary_unary_rpc_method_handler(place.probe.Ordinary)

        async def found(_details: Any) -> Any:
            return handler

        details = type("Details", (), {"method": "/a.B/C", "invocation_metadata": ()})()
        with pytest.raises(TypeError, match="coroutine"):
            asyncio.run(interceptor.intercept_service(found, details))
        assert called == []


# --- revisions ----------------------------------------------------------------------------------------


def test_what_was_written_is_told_with_the_trailing_metadata(place: Served, world: Client, ana: str):
    def trailing(*metadata: tuple[str, str]) -> dict[str, str]:
        metadata = (("authorization", f"Bearer {ana}"), *metadata)
        _, call = place.stub.Write.with_call(ask("9"), metadata=metadata)
        return dict(call.trailing_metadata())

    assert trailing() == {"own": "kept", "watchword-revision": place.probe.revision}
    earlier = grant(world, "1")
    assert trailing(*after(earlier)) == {"own": "kept", "watchword-revision": place.probe.revision}
    _, call = place.stub.Who.with_call(ask(), metadata=(("authorization", f"Bearer {ana}"), *after(earlier)))
    assert "watchword-revision" not in dict(call.trailing_metadata())


def test_a_revision_counts_in_its_call_alone(place: Served, world: Client, ana: str):
    revision = grant(world, "1")
    assert place.call("Own", ask("1"), token=ana, metadata=after(revision)) == revision
    for bogus in ("x", "1" * 500, "a.b"):
        assert place.call("Own", ask("1"), token=ana, metadata=after(bogus)) == ""


def test_a_write_is_seen_wherever_its_revision_has_come(place: Served, world: Client, ana: str):
    for number in range(30):  # often enough that the feed would not always be first
        note = str(number)
        assert place.refused("One", ask(note), token=ana) is Code.PERMISSION_DENIED
        assert place.call("One", ask(note), token=ana, metadata=after(grant(world, note))) == note


def test_a_write_before_an_abort_is_told_too(world: Client, ana: str, watchword_server: LocalServer):
    with served("threads", watchword_server) as place, pytest.raises(grpc.RpcError) as caught:
        place.stub.Write(ask("9", flag=True), metadata=(("authorization", f"Bearer {ana}"),))
    assert caught.value.code() is Code.ABORTED
    assert dict(caught.value.trailing_metadata())["watchword-revision"] == place.probe.revision


# --- calls to other services --------------------------------------------------------------------------


def test_a_channel_sends_and_notes_revisions_and_tokens(place: Served, world: Client, ana: str):
    shown = [ana]
    interceptor = ClientInterceptor(world, token=lambda: shown[0])
    stub = services.ProbeStub(grpc.intercept_channel(place.channel, interceptor))
    # What was written here is seen there, by each kind of call.
    for number, call in enumerate([stub.One, stub.Down, stub.Up, stub.Both]):
        place.probe.outgoing.put(None)
        grant(world, str(number))
        answer = call(iter([ask(str(number))]) if call in {stub.Up, stub.Both} else ask(str(number)))
        if call in {stub.Down, stub.Both}:
            assert [each.text for each in answer] == ["3"] * (call == stub.Both)
    assert stub.Own(ask("1")).text == world.revision
    # What was written there is known here.
    with world.at_least(grant(world, "1")):
        stub.Write(ask("9"))
        assert world.revision == place.probe.revision
    assert world.revision == place.probe.revision
    future = stub.Write.future(ask("10"))
    future.result()
    eventually(lambda: world.revision == place.probe.revision)
    # The caller's own token is left alone.
    shown[0] = "no token"
    assert stub.Who(ask(), metadata=(("authorization", f"Bearer {ana}"),)).text
    for call in (stub.Who, stub.Down):
        with pytest.raises(grpc.RpcError) as caught:
            list(call(ask("1")))
        assert caught.value.code() is Code.UNAUTHENTICATED


async def test_a_channel_of_asyncio_does_the_same(
    place: Served, world: Client, ana: str, watchword_server: LocalServer
):
    client = AsyncClient(watchword_server.address, api_key=watchword_server.api_key, clock=watchword_server.time)
    interceptors = async_client_interceptors(client, token=lambda: ana)
    async with client, grpc.aio.insecure_channel(place.address, interceptors=interceptors) as channel:
        stub = services.ProbeStub(channel)
        for number, call in enumerate([stub.One, stub.Down, stub.Up, stub.Both]):
            place.probe.outgoing.put(None)
            written = [Relationship(subject(world), "viewer", f"note:{number}")]
            await client.relationships.write(written)
            answer = call([ask(str(number))] if call in {stub.Up, stub.Both} else ask(str(number)))
            if call in {stub.Down, stub.Both}:
                assert [each.text async for each in answer] == ["3"] * (call == stub.Both)
            else:
                assert (await answer).text
        assert (await stub.Own(ask("1"))).text == client.revision
        with client.at_least(await asyncio.to_thread(grant, world, "1")):
            await stub.Write(ask("9"))
            assert client.revision == place.probe.revision
        failing = stub.Fail(ask("x"))
        with pytest.raises(grpc.aio.AioRpcError, match="x"):
            await failing
        stream = stub.Both(iter([ask("1"), ask("other")]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            assert [each.text async for each in stream] == ["1"]
        assert caught.value.code() is Code.PERMISSION_DENIED


def test_no_token_goes_along_unless_asked_for(place: Served, world: Client, ana: str, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    stub = services.ProbeStub(grpc.intercept_channel(place.channel, ClientInterceptor(world)))
    with pytest.raises(grpc.RpcError) as caught:
        stub.Who(ask())
    assert caught.value.code() is Code.UNAUTHENTICATED
    stub = services.ProbeStub(grpc.intercept_channel(place.channel, ClientInterceptor(world, token=current_token)))
    with pytest.raises(grpc.RpcError) as caught:
        stub.Who(ask())
    assert caught.value.code() is Code.UNAUTHENTICATED
    assert ana not in caplog.text
