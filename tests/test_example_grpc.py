"""The example of gRPC services, started as its documentation says and driven over real connections."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from watchword.client import Client
from watchword.client.testing import LocalServer, SignedIn

ROOT = Path(__file__).parents[1]
Code = grpc.StatusCode
AsUser = Callable[..., SignedIn]


class Example:
    """Both services, and stubs for them."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        from examples.grpc_service.stubs import messages, services

        assert process.stdout is not None
        ports = [process.stdout.readline().split()[-1] for _ in range(2)]
        self.channels = [grpc.insecure_channel(f"127.0.0.1:{port}") for port in ports]
        self.messages = messages
        self.notes, self.desk = services.NotesStub(self.channels[0]), services.DeskStub(self.channels[1])


@pytest.fixture
def example(
    watchword: Client, watchword_server: LocalServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Example]:
    monkeypatch.syspath_prepend(ROOT)
    settings = {"WATCHWORD_ADDRESS": watchword_server.address, "WATCHWORD_API_KEY": watchword_server.api_key}
    log = tmp_path / "log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "examples.grpc_service", "127.0.0.1:0", "127.0.0.1:0"],
            cwd=ROOT,
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        try:
            running = Example(process)
            yield running
            for channel in running.channels:
                channel.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
    assert "Traceback" not in log.read_text(), log.read_text()


def code(call: Callable[..., Any], request: Any, **options: Any) -> grpc.StatusCode:
    try:
        call(request, timeout=20, **options)
    except grpc.RpcError as error:
        return error.code()
    return Code.OK


def eventually(expected: grpc.StatusCode, ask: Callable[[], grpc.StatusCode]) -> None:
    deadline = time.monotonic() + 10
    while (found := ask()) is not expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.005)


def test_notes_are_shared_and_taken_back(example: Example, as_user: AsUser):
    pb, notes = example.messages, example.notes
    ana, ben = as_user("ana"), as_user("ben")
    assert code(notes.CreateNote, pb.CreateNoteRequest(text="Milk")) is Code.UNAUTHENTICATED
    note = notes.CreateNote(pb.CreateNoteRequest(text="Milk"), metadata=ana.metadata)
    read, share = pb.GetNoteRequest(note_id=note.id), pb.ShareNoteRequest(note_id=note.id, username="ben")
    assert code(notes.GetNote, read) is Code.UNAUTHENTICATED
    assert code(notes.GetNote, read, metadata=ben.metadata) is Code.PERMISSION_DENIED
    assert code(notes.ShareNote, share, metadata=ben.metadata) is Code.PERMISSION_DENIED
    assert code(notes.GetNote, pb.GetNoteRequest(), metadata=ana.metadata) is Code.INVALID_ARGUMENT
    nobody = pb.ShareNoteRequest(note_id=note.id, username="nobody")
    assert code(notes.ShareNote, nobody, metadata=ana.metadata) is Code.NOT_FOUND

    notes.ShareNote(share, metadata=ana.metadata)
    assert notes.GetNote(read, metadata=ben.metadata).text == "Milk"
    assert code(notes.ShareNote, share, metadata=ben.metadata) is Code.PERMISSION_DENIED
    title = pb.GetTitleRequest(note_id=note.id)
    eventually(Code.OK, lambda: code(example.desk.GetTitle, title, metadata=ben.metadata))

    notes.UnshareNote(pb.UnshareNoteRequest(note_id=note.id, username="ben"), metadata=ana.metadata)
    assert code(notes.GetNote, read, metadata=ben.metadata) is Code.PERMISSION_DENIED
    eventually(Code.PERMISSION_DENIED, lambda: code(example.desk.GetTitle, title, metadata=ben.metadata))


def test_a_session_that_is_revoked_is_over_at_both(example: Example, watchword: Client, as_user: AsUser):
    pb, ana = example.messages, as_user("ana")
    note = example.notes.CreateNote(pb.CreateNoteRequest(text="Milk"), metadata=ana.metadata)
    calls = [
        (example.notes.GetNote, pb.GetNoteRequest(note_id=note.id)),
        (example.desk.GetTitle, pb.GetTitleRequest(note_id=note.id)),
    ]
    for call, request in calls:
        eventually(Code.OK, lambda call=call, request=request: code(call, request, metadata=ana.metadata))
    watchword.sessions.revoke(ana.tokens.session.session_id)
    for call, request in calls:
        eventually(Code.UNAUTHENTICATED, lambda call=call, request=request: code(call, request, metadata=ana.metadata))


def test_a_write_at_one_service_is_read_at_the_other(example: Example, as_user: AsUser):
    pb, ana, ben = example.messages, as_user("ana"), as_user("ben")
    note = example.notes.CreateNote(pb.CreateNoteRequest(text="Milk\nBread"), metadata=ana.metadata)
    title, share = pb.GetTitleRequest(note_id=note.id), pb.ShareNoteRequest(note_id=note.id, username="ben")
    unshare = pb.UnshareNoteRequest(note_id=note.id, username="ben")
    authorization = ben.metadata[:1]
    for _ in range(15):  # often enough that the feed would not always be first
        for change, request, expected in (
            (example.notes.ShareNote, share, Code.OK),
            (example.notes.UnshareNote, unshare, Code.PERMISSION_DENIED),
        ):
            _, call = change.with_call(request, metadata=ana.metadata)
            revision = [pair for pair in call.trailing_metadata() if pair[0] == "watchword-revision"]
            assert len(revision) == 1
            assert code(example.desk.GetTitle, title, metadata=(*authorization, *revision)) is expected
    # And from one service to the other, on behalf of who called the first.
    for number in range(15):
        draft, call = example.desk.DraftNote.with_call(
            pb.DraftNoteRequest(text=f"{number}\nmore"), metadata=ana.metadata
        )
        assert draft.text == str(number)
        assert "watchword-revision" in dict(call.trailing_metadata())
        read = pb.GetNoteRequest(note_id=draft.note_id)
        assert example.notes.GetNote(read, metadata=ana.metadata).text == f"{number}\nmore"
        assert code(example.notes.GetNote, read, metadata=authorization) is Code.PERMISSION_DENIED


def test_streams(example: Example, as_user: AsUser):
    pb, ana, ben = example.messages, as_user("ana"), as_user("ben")
    note, other = (
        example.notes.CreateNote(pb.CreateNoteRequest(text="Milk"), metadata=who.metadata) for who in (ana, ben)
    )
    example.notes.ShareNote(pb.ShareNoteRequest(note_id=note.id, username="ben"), metadata=ana.metadata)

    def add(*lines: str, note_id: str = note.id) -> grpc.StatusCode:
        first = pb.AddLineRequest(note_id=note.id, line="Bread")
        rest = [pb.AddLineRequest(note_id=note_id, line=line) for line in lines]
        return code(example.notes.AddLines, iter([first, *rest]), metadata=ana.metadata)

    watched = example.notes.WatchNote(pb.WatchNoteRequest(note_id=note.id), metadata=ben.metadata, timeout=30)
    assert next(watched).text == "Milk"
    assert add() is Code.OK
    assert next(watched).text == "Milk\nBread"
    assert add("theft", note_id=other.id) is Code.PERMISSION_DENIED
    assert next(watched).text == "Milk\nBread\nBread"
    read = pb.GetNoteRequest(note_id=other.id)
    assert example.notes.GetNote(read, metadata=ben.metadata).text == "Milk"

    example.notes.UnshareNote(pb.UnshareNoteRequest(note_id=note.id, username="ben"), metadata=ana.metadata)
    assert add() is Code.OK
    with pytest.raises(grpc.RpcError) as caught:
        next(watched)
    assert caught.value.code() is Code.PERMISSION_DENIED


def test_health_is_for_everybody_and_nothing_else_is(example: Example):
    channel = example.channels[0]
    assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5) == b"\x08\x01"
    with pytest.raises(grpc.RpcError) as caught:
        next(channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=5))
    assert caught.value.code() is Code.PERMISSION_DENIED
