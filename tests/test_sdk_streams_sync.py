# Made by client/make_sync.py from tests/test_sdk_streams_async.py: do not edit.
"""Streams as the wire shows them: messages under way, resuming, deadlines and endings."""

import threading
from collections.abc import Iterator

import pytest
from sdk_recorder import Recorder, recording, status

from watchword.client import Client, ImportedUser, Relationship, RelationshipFilter, errors
from watchword.client import _streams as streams
from watchword.v1 import relationships_pb2 as pb
from watchword.v1 import users_pb2

API_KEY = "wwk_0191_s3cr3t"


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    monkeypatch.setattr(streams, "_pause", lambda _failures: 0.01)
    with recording() as made:
        made.forbid_retries = True  # so that each attempt is the SDK's own
        yield made


def client_of(recorder: Recorder, **options) -> Client:
    return Client(recorder.address, api_key=API_KEY, **options)


def relationships(count: int) -> list[Relationship]:
    return [Relationship(f"user:{number}", "viewer", "document:1") for number in range(count)]


def committed(revision: str) -> pb.ImportRelationshipsResponse:
    return pb.ImportRelationshipsResponse(revision=revision)


def subjects(call) -> list[str]:
    return [each.subject for each in call.request.relationships]


def exported(*numbers: int, token: str) -> pb.ExportRelationshipsResponse:
    return pb.ExportRelationshipsResponse(
        relationships=[
            pb.Relationship(subject=f"user:{number}", relation="viewer", object="document:1") for number in numbers
        ],
        resume_token=token,
    )


# --- imports ------------------------------------------------------------------------------------------


def test_an_import_is_one_call_with_metadata_and_without_deadline(recorder: Recorder):
    recorder.answers += [committed("1"), committed("2")]
    seen = []
    with client_of(recorder) as client:
        done = client.relationships.import_(relationships(5), batch_size=3, on_progress=seen.append)
    assert (done.relationship_count, done.revision, seen) == (5, "2", [3, 5])
    first, second = recorder.calls
    assert first.metadata["authorization"] == f"Bearer {API_KEY}"
    assert first.metadata["x-request-id"] == second.metadata["x-request-id"]
    assert first.seconds_left > 1e9
    assert first.request.request_id != second.request.request_id


def test_an_import_keeps_few_messages_under_way(recorder: Recorder):
    release, taken = threading.Event(), []
    recorder.answers += [lambda: release.wait() and committed("1")]

    def source() -> Iterator[Relationship]:
        for relationship in relationships(12):
            taken.append(relationship)
            if len(taken) == 6:  # four messages are under way, one is full and one begins
                threading.Timer(0.2, lambda: (counts.append(len(taken)), release.set())).start()
            yield relationship

    counts: list[int] = []
    with client_of(recorder) as client:
        done = client.relationships.import_(source(), batch_size=1)
    assert done.relationship_count == 12
    assert counts == [6]


def test_an_import_goes_on_with_what_was_not_answered(recorder: Recorder):
    recorder.answers += [committed("1"), status("UNAVAILABLE", "SHUTTING_DOWN")]
    seen = []
    with client_of(recorder) as client:
        done = client.relationships.import_(relationships(6), batch_size=2, on_progress=seen.append)
    assert (done.relationship_count, seen) == (6, [2, 4, 6])
    calls = {}
    for call in recorder.calls:
        calls.setdefault(call.metadata["x-request-id"], []).append(subjects(call))
    first, trial, rest = calls.values()
    # Whether the one answer was read before the stream broke off depends on the moment.
    assert first[0] == ["user:0", "user:1"]
    assert [*trial, *rest][-2:] == [["user:2", "user:3"], ["user:4", "user:5"]]
    assert len(trial) == 1


def test_an_import_of_users_goes_on_likewise(recorder: Recorder):
    answer = users_pb2.ImportUsersResponse(results=[{"outcome": 1}, {"outcome": 3, "field": "email", "reason": 31}])
    recorder.answers += [answer, status("UNAVAILABLE", "SHUTTING_DOWN"), *[answer] * 4]
    users = [ImportedUser(external_id=f"{number}") for number in range(6)]
    results = []
    with client_of(recorder) as client:
        done = client.users.import_(users, batch_size=2, on_result=results.append)
    assert (done.created_count, done.refused_count) == (3, 3)
    assert [result.external_id for result in results] == [user.external_id for user in users]
    assert {(result.field, result.reason) for result in results} == {(None, None), ("email", "ALREADY_EXISTS")}
    assert [user.external_id for user in recorder.calls[-1].request.users] == ["4", "5"]


def test_an_import_gives_up_after_five_attempts_without_progress(recorder: Recorder):
    recorder.answers += [status("UNAVAILABLE", "DATABASE_UNAVAILABLE")] * 10
    with client_of(recorder) as client, pytest.raises(errors.DatabaseUnavailableError):
        client.relationships.import_(relationships(4), batch_size=2)
    assert len({call.metadata["x-request-id"] for call in recorder.calls}) == 6


def test_an_import_that_is_refused_says_why(recorder: Recorder):
    recorder.answers += [committed("1"), *[status("INVALID_ARGUMENT", "INVALID_FIELD")] * 2]
    seen = []
    with client_of(recorder) as client, pytest.raises(errors.InvalidArgumentError):
        client.relationships.import_(relationships(40), batch_size=1, on_progress=seen.append)
    assert seen in ([], [1])
    # Where gRPC forgets why, which depends on the moment, one message is tried once more.
    assert len({call.metadata["x-request-id"] for call in recorder.calls}) <= 2


def test_large_relationships_make_small_messages(recorder: Recorder):
    large = [
        Relationship(f"user:{number}", "viewer", "document:1", condition="c", context={"x": "x" * 16_000})
        for number in range(500)
    ]
    with client_of(recorder) as client:
        done = client.relationships.import_(large)
    assert done.relationship_count == 500
    assert all(call.request.ByteSize() < 4 * 1024 * 1024 for call in recorder.calls)
    assert sum(len(call.request.relationships) for call in recorder.calls) == 500


def test_an_answer_that_does_not_come(recorder: Recorder):
    release = threading.Event()
    recorder.answers += [lambda: release.wait() and committed("1")]
    with client_of(recorder, timeout=0.2) as client, pytest.raises(errors.DeadlineExceededError) as caught:
        client.relationships.import_(relationships(1))
    release.set()
    assert caught.value.request_id


def test_a_source_that_fails_ends_the_import(recorder: Recorder):
    def source() -> Iterator[Relationship]:
        yield from relationships(3)
        raise LookupError("no more")

    with client_of(recorder) as client:
        with pytest.raises(LookupError, match="no more"):
            client.relationships.import_(source(), batch_size=1)
        recorder.answers.clear()
        assert (client.relationships.import_(relationships(1))).relationship_count == 1


def test_an_import_with_a_wrong_key_says_so(recorder: Recorder):
    recorder.answers += [status("UNAUTHENTICATED", "API_KEY_INVALID")] * 10
    with client_of(recorder) as client, pytest.raises(errors.ApiKeyInvalidError):
        client.relationships.import_(relationships(100), batch_size=1)


# --- exports ------------------------------------------------------------------------------------------


def test_an_export_goes_on_behind_the_last_message(recorder: Recorder):
    recorder.answers += [
        [exported(0, 1, token="a"), exported(2, token="b"), status("UNAVAILABLE", "SHUTTING_DOWN")],
        [exported(3, token="c")],
    ]
    with client_of(recorder) as client:
        found = list(client.relationships.export(RelationshipFilter(object="document:1")))
    assert found == relationships(4)
    assert [call.request.resume_token for call in recorder.calls] == ["", "b"]
    assert [call.request.filter.object for call in recorder.calls] == ["document:1"] * 2
    assert recorder.calls[0].seconds_left > 1e9


def test_an_export_gives_up_after_five_attempts_without_progress(recorder: Recorder):
    recorder.answers += [[exported(0, token="a"), status("UNAVAILABLE")]] + [[status("UNAVAILABLE")]] * 10
    with client_of(recorder) as client, pytest.raises(errors.UnavailableError):
        assert list(client.relationships.export())
    assert [call.request.resume_token for call in recorder.calls] == ["", *["a"] * 5]


def test_an_export_that_fails_otherwise_is_not_resumed(recorder: Recorder):
    recorder.answers += [[exported(0, token="a"), status("PERMISSION_DENIED", "PERMISSION_MISSING")]]
    with client_of(recorder) as client, pytest.raises(errors.PermissionDeniedError):
        assert list(client.relationships.export())
    assert len(recorder.calls) == 1


def test_a_closed_client_streams_nothing(recorder: Recorder):
    client = client_of(recorder)
    client.close()
    with pytest.raises(errors.ClientClosedError):
        assert list(client.relationships.export())
    with pytest.raises(errors.ClientClosedError):
        client.relationships.import_(relationships(1))
