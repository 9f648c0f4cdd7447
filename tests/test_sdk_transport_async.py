"""How calls travel: attempts, deadlines, metadata, errors, TLS, views and closing, as the wire shows them."""

import datetime as dt
import ipaddress
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2
from sdk_recorder import Recorder, recording, status
from test_verifier import ISSUER, PUBLIC, jwk, jwks, token, verifier

from watchword.client import TLS, AsyncClient, errors
from watchword.v1 import sessions_pb2, sign_in_pb2, tokens_pb2, users_pb2

API_KEY = "wwk_0191_s3cr3t"
NOW = 1_800_000_000
UNREACHED = (errors.UnavailableError, errors.DeadlineExceededError)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with recording() as made:
        yield made


def client_of(recorder: Recorder, **options: Any) -> AsyncClient:
    return AsyncClient(recorder.address, api_key=API_KEY, **options)


# --- attempts -----------------------------------------------------------------------------------------


async def test_unavailable_is_tried_again_with_the_same_request_id(recorder: Recorder):
    recorder.answers += [status("UNAVAILABLE"), status("UNAVAILABLE", "SHUTTING_DOWN")]
    recorder.answers += [users_pb2.CreateUserResponse(user=users_pb2.User(user_id="u"))]
    async with client_of(recorder) as client:
        user = await client.users.create(username="ana")
    assert user.user_id == "u"
    assert len(recorder.calls) == 3
    assert len({call.request.request_id for call in recorder.calls}) == 1
    assert uuid.UUID(recorder.calls[0].request.request_id).version == 4
    assert len({call.metadata["x-request-id"] for call in recorder.calls}) == 1


async def test_attempts_end(recorder: Recorder):
    recorder.answers += [status("UNAVAILABLE", "DATABASE_UNAVAILABLE")] * 10
    async with client_of(recorder) as client:
        with pytest.raises(errors.DatabaseUnavailableError) as caught:
            await client.users.get("u")
    assert len(recorder.calls) == 5
    assert caught.value.retryable


@pytest.mark.parametrize("code", ["ABORTED", "INTERNAL", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "UNKNOWN"])
async def test_nothing_else_is_tried_again(recorder: Recorder, code: str):
    recorder.answers += [status(code)]
    async with client_of(recorder) as client:
        with pytest.raises(errors.WatchwordError) as caught:
            await client.users.create(username="ana")
    assert len(recorder.calls) == 1
    assert caught.value.code == code


async def test_a_server_that_is_not_there():
    async with AsyncClient("127.0.0.1:1", api_key=API_KEY) as client:
        with pytest.raises(errors.UnavailableError) as caught:
            await client.users.get("u")
    assert caught.value.request_id
    assert API_KEY not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r} {caught.value.__cause__}"


async def test_a_request_id_of_the_caller_is_kept(recorder: Recorder):
    async with client_of(recorder) as client:
        await client.users.delete("u", request_id="0191c3a0-0000-4000-8000-000000000001")
    assert recorder.calls[0].request.request_id == "0191c3a0-0000-4000-8000-000000000001"


# --- deadlines and metadata ---------------------------------------------------------------------------


async def test_each_call_has_a_deadline(recorder: Recorder):
    async with client_of(recorder) as client:
        await client.users.get("u")
        await client.with_timeout(3).users.get("u")
    async with client_of(recorder, timeout=5) as client:
        await client.users.get("u")
    assert [round(call.seconds_left) for call in recorder.calls] == [10, 3, 5]


async def test_a_late_answer_is_not_waited_for(recorder: Recorder):
    release = threading.Event()
    recorder.answers += [lambda: release.wait() and users_pb2.GetUserResponse()]
    async with client_of(recorder, timeout=0.2) as client:
        with pytest.raises(errors.DeadlineExceededError) as caught:
            await client.users.get("u")
    release.set()
    assert not caught.value.retryable


async def test_metadata(recorder: Recorder):
    async with client_of(recorder) as client:
        await client.users.get("u")
        await client.on_behalf_of("a.b.c").users.get("u")
        await client.users.get("u")
    plain, behalf, again = (call.metadata for call in recorder.calls)
    assert plain["authorization"] == behalf["authorization"] == f"Bearer {API_KEY}"
    assert behalf["on-behalf-of"] == "a.b.c"
    assert "on-behalf-of" not in plain
    assert "on-behalf-of" not in again
    assert len({call.metadata["x-request-id"] for call in recorder.calls}) == 3


async def test_a_view_does_not_close_the_client(recorder: Recorder):
    async with client_of(recorder) as client:
        async with client.on_behalf_of("a.b.c") as view:
            await view.users.get("u")
        await client.users.get("u")
    for closed in (client, view, client.with_timeout(1)):
        with pytest.raises(errors.ClientClosedError):
            await closed.users.get("u")


async def test_closing_without_having_called():
    client = AsyncClient(api_key=API_KEY)
    await client.close()
    await client.close()
    with pytest.raises(errors.ClientClosedError):
        await client.verify("x")


# --- errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), sorted(errors.ERRORS.items(), key=str))
async def test_each_error_arrives(recorder: Recorder, name: str, kind: type[errors.WatchwordError]):
    recorder.answers += [status(kind.default_code, name, key="value", request_id="r1")]
    recorder.forbid_retries = True
    async with client_of(recorder) as client:
        with pytest.raises(errors.WatchwordError) as caught:
            await client.users.get("u")
    error = caught.value
    assert type(error) is kind
    assert (error.code, error.reason, error.request_id) == (kind.default_code, name, "r1")
    assert error.metadata == {"key": "value", "request_id": "r1"}
    assert isinstance(error.__cause__, grpc.RpcError)
    assert str(error) == f"told {name} ({name}, request r1)"


async def test_details_of_an_error(recorder: Recorder):
    violations = [error_details_pb2.BadRequest.FieldViolation(field="user.email", description="no @")]
    recorder.answers += [
        status("INVALID_ARGUMENT", "INVALID_FIELD", error_details_pb2.BadRequest(field_violations=violations)),
        status(
            "RESOURCE_EXHAUSTED", "SERVER_BUSY", error_details_pb2.RetryInfo(retry_delay=Duration(nanos=250_000_000))
        ),
    ]
    async with client_of(recorder) as client:
        with pytest.raises(errors.InvalidArgumentError) as invalid:
            await client.users.create(email="x")
        with pytest.raises(errors.ServerBusyError) as busy:
            await client.sign_in("ana", password="x")
    assert invalid.value.field_violations == (errors.FieldViolation("user.email", "no @"),)
    assert invalid.value.retry_after is None
    assert busy.value.retry_after == dt.timedelta(seconds=0.25)
    assert busy.value.retryable


async def test_reasons_of_others_mean_nothing(recorder: Recorder):
    recorder.answers += [
        status("PERMISSION_DENIED", "NOT_FOUND", domain="proxy.example.com", id="x"),
        status("UNIMPLEMENTED", "A_REASON_OF_A_NEWER_SERVER"),
    ]
    async with client_of(recorder) as client:
        with pytest.raises(errors.PermissionDeniedError) as foreign:
            await client.users.get("u")
        with pytest.raises(errors.WatchwordError) as newer:
            await client.users.get("u")
    assert (foreign.value.reason, foreign.value.metadata) == ("", {})
    assert foreign.value.request_id == recorder.calls[0].metadata["x-request-id"]
    assert type(newer.value) is errors.WatchwordError
    assert newer.value.reason == "A_REASON_OF_A_NEWER_SERVER"


async def test_a_sign_in_that_needs_more(recorder: Recorder):
    recorder.answers += [sign_in_pb2.StartSignInResponse()]
    async with client_of(recorder) as client:
        with pytest.raises(errors.SignInIncompleteError):
            await client.sign_in("ana", password="x")


# --- pages --------------------------------------------------------------------------------------------


async def test_a_listing_asks_for_a_page_when_it_needs_one(recorder: Recorder):
    ids = ["a", "b", "c"]
    recorder.answers += [
        sessions_pb2.ListSessionsResponse(sessions=[sessions_pb2.Session(session_id=name)], next_page_token=token)
        for name, token in zip(ids, ["t1", "t2", ""], strict=True)
    ]
    found = []
    async with client_of(recorder) as client:
        async for session in client.sessions.list("u", include_ended=True, page_size=1):
            found.append(session.session_id)
            assert len(recorder.calls) == len(found)
    assert found == ids
    assert [call.request.page_token for call in recorder.calls] == ["", "t1", "t2"]
    assert all(call.request.include_ended and call.request.page_size == 1 for call in recorder.calls)


# --- keys ---------------------------------------------------------------------------------------------


def signing_keys(max_age: int = 300, keys: str | None = None) -> tokens_pb2.GetSigningKeysResponse:
    return tokens_pb2.GetSigningKeysResponse(
        jwks=jwks(jwk(PUBLIC)) if keys is None else keys,
        issuer=ISSUER,
        default_audience="watchword",
        max_age=Duration(seconds=max_age),
    )


async def test_keys_are_fetched_once(recorder: Recorder):
    recorder.answers += [signing_keys()]
    async with client_of(recorder, clock=lambda: NOW) as client:
        first = await client.verify(token())
        assert await client.on_behalf_of("a.b.c").verify(token()) == first == verifier().verify(token())
        with pytest.raises(errors.TokenAudienceMismatchError):
            await client.verify(token(), audience="other")
        with pytest.raises(errors.TokenMalformedError):
            await client.verify("x")
    assert [call.rpc for call in recorder.calls] == ["GetSigningKeys"]


async def test_keys_are_not_kept_for_longer_than_they_may(recorder: Recorder):
    recorder.answers += [signing_keys(max_age=0), signing_keys(max_age=0), status("INTERNAL")]
    async with client_of(recorder, clock=lambda: NOW) as client:
        await client.verify(token())
        await client.verify(token())
        with pytest.raises(errors.InternalError):
            await client.verify(token())


async def test_an_unknown_key_is_asked_for_once_in_a_while(recorder: Recorder):
    recorder.answers += [signing_keys(keys=jwks()), signing_keys(keys=jwks(jwk(PUBLIC, kid="k2"))), signing_keys()]
    async with client_of(recorder, clock=lambda: NOW) as client:
        for _ in range(5):
            with pytest.raises(errors.TokenKeyUnknownError):
                await client.verify(token())
    assert len(recorder.calls) == 2


async def test_a_new_key_is_found(recorder: Recorder):
    recorder.answers += [signing_keys(keys=jwks()), signing_keys()]
    async with client_of(recorder, clock=lambda: NOW) as client:
        await client.verify(token())
    assert len(recorder.calls) == 2


async def test_keys_that_cannot_be_used(recorder: Recorder):
    recorder.answers += [signing_keys(keys="{}"), signing_keys()]
    async with client_of(recorder, clock=lambda: NOW) as client:
        with pytest.raises(errors.InternalError):
            await client.verify(token())
        await client.verify(token())


# --- TLS ----------------------------------------------------------------------------------------------


def certificate() -> tuple[bytes, bytes]:
    """A self-signed certificate for localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


async def test_tls_in_both_directions():
    server, server_key = certificate()
    mine, my_key = certificate()
    credentials = grpc.ssl_server_credentials([(server_key, server)], root_certificates=mine, require_client_auth=True)
    with recording(credentials) as recorder:
        trusting = TLS(root_certificates=server, certificate_chain=mine, private_key=my_key)
        async with client_of(recorder, tls=trusting) as client:
            await client.users.get("u")
        for wrong in (TLS(root_certificates=mine), TLS(root_certificates=server), TLS()):
            async with client_of(recorder, tls=wrong, timeout=0.5) as client:
                with pytest.raises(UNREACHED):
                    await client.users.get("u")
    assert len(recorder.calls) == 1


async def test_the_api_key_does_not_leave_the_machine_in_clear(recorder: Recorder, monkeypatch: pytest.MonkeyPatch):
    # To the SDK a name that it cannot judge is elsewhere, so it speaks TLS, which this server does not.
    monkeypatch.setattr("watchword.client._transport.is_local", lambda _address: False)
    async with client_of(recorder, timeout=0.5) as client:
        with pytest.raises(UNREACHED):
            await client.users.get("u")
    assert not recorder.calls
    async with client_of(recorder, plaintext=True) as client:
        await client.users.get("u")
    assert len(recorder.calls) == 1
