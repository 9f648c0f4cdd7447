"""What comes beside a request: no metadata makes the server believe, repeat or log what it should not."""

import base64
import json
import re
import socket

import grpc
import pytest
from conftest import PASSWORD
from wire import RPC, Outcome, Wire, assert_lawful, outcome_of, valid

LIST = RPC["ListUsers"]


@pytest.fixture
def wire(channel, metadata) -> Wire:
    return Wire(channel, metadata)


# ----- who calls ------------------------------------------------------------------------------------------------------


def test_authorization_that_proves_nothing(wire, watchword_server):
    key = watchword_server.api_key
    prefix, digits, secret = key.split("_", 2)
    for value in (
        "",
        "Bearer",
        "Bearer ",
        "Bearer  " + key,
        key,
        "Basic " + base64.b64encode(f"administrator:{key}".encode()).decode(),
        f"Bearer {key} ",
        f"Bearer {key},Bearer {key}",
        f"Bearer {key}x",
        f"Bearer {key[:-1]}",
        f"Bearer {key.upper()}",
        f"Bearer {key[:-1]}{'A' if key[-1] != 'A' else 'B'}",
        f"Bearer {prefix}_{digits.upper()}_{secret}",
        f"Bearer {prefix}_{'0' * 32}_{secret}",
        f"Bearer {prefix}_{'+1' * 16}_{secret}",
        f"Bearer {prefix}_{' ' * 32}_{secret}",
        f"Bearer {prefix}_{digits}_{'=' * 43}",
        f"Bearer {prefix}_{digits}_' or 1=1 --",
        "Bearer " + "x" * 7_000,
        "Bearer null",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
    ):
        outcome = wire.call(LIST, b"", [("authorization", value)])
        assert_lawful(outcome, LIST)
        assert outcome.reason == "API_KEY_INVALID", value
        assert secret not in outcome.text
    assert wire.call(LIST, b"", []).reason == "API_KEY_INVALID"
    assert wire.call(LIST, b"", [("authorization-bin", f"Bearer {key}".encode())]).reason == "API_KEY_INVALID"
    assert wire.call(LIST, b"", [("authorization", f"bearer {key}")]).code == "OK"
    assert secret not in watchword_server.log()


def test_who_may_not_call_learns_nothing_of_the_request(wire, watchword):
    watchword.service_accounts.create("billing")
    key = watchword.service_accounts.create_key("billing", permissions=["verify_tokens"]).api_key
    for request in (b"\xff\xff", LIST.request(page_size=-1), b""):
        assert wire.call(LIST, request, [("authorization", "Bearer x")]).reason == "API_KEY_INVALID"
        outcome = wire.call(LIST, request, [("authorization", f"Bearer {key}")])
        assert (outcome.reason, outcome.metadata["permission"]) == ("PERMISSION_MISSING", "read_users")


def unsigned(kid: object) -> str:
    header = json.dumps({"alg": "EdDSA", "typ": "at+jwt", "kid": kid})
    return ".".join(
        base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (header.encode(), b"{}", b"x" * 64)
    )


TOKENS = [
    "",
    "x",
    "..",
    "a.b.c",
    "x" * 5_000,
    *map(unsigned, ("", "x", "\0", "x\0y", "\ud800", "\U0001f600", "x" * 2_000, "' or 1=1 --", None, 7, {}, [])),
]


@pytest.mark.parametrize("token", TOKENS, ids=range(len(TOKENS)))
def test_access_tokens_that_prove_nothing(wire, metadata, token):
    outcome = wire.call(LIST, b"", [*metadata, ("on-behalf-of", token)])
    assert_lawful(outcome, LIST)
    assert outcome.reason == "ON_BEHALF_OF_INVALID", outcome.short
    rpc = RPC["IntrospectToken"]
    outcome = wire.call(rpc, rpc.request(token=token))
    assert_lawful(outcome, rpc)
    assert outcome.reason == "INVALID_FIELD" if not token or len(token) > 4096 else not outcome.response.active


# ----- the id of the call ---------------------------------------------------------------------------------------------


def ids(channel: grpc.Channel, metadata) -> tuple[str, str]:
    """Make a call that fails; give its id as the trailing metadata and as the error have it."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(LIST.path)(LIST.request(page_size=-1).SerializeToString(), metadata=metadata, timeout=10)
    return dict(caught.value.trailing_metadata())["x-request-id"], outcome_of(caught.value).metadata["request_id"]


def test_a_harmless_id_is_the_calls(channel, metadata, watchword_server):
    for given in ("0af7651916cd43dd8448eb211c80319c", "a/b:c=d+e.f_g-h", "x" * 128):
        assert ids(channel, [*metadata, ("x-request-id", given)]) == (given, given)
        assert f'"request_id": "{given}"' in watchword_server.log()


@pytest.mark.parametrize(
    "given",
    [
        "",
        " ",
        "a b",
        'a", "level": "error',
        "<script>",
        "${jndi:ldap://x}",
        "x" * 129,
        "%0a",
        "a,b",
        "~!@#$^&*()",
        "\\n",
    ],
)
def test_an_id_that_could_forge_a_log_is_replaced(channel, metadata, watchword_server, given):
    before = len(watchword_server.log())
    trailing, told = ids(channel, [*metadata, ("x-request-id", given)])
    assert trailing == told
    assert re.fullmatch("[0-9a-f]{24}", told)
    new = watchword_server.log()[before:]
    assert not given.strip() or given not in new
    assert [json.loads(line)["request_id"] for line in new.splitlines()] == [told]


@pytest.mark.parametrize(
    "given",
    [
        b"a\nFORGED",
        b"a\r\nFORGED",
        b"a\0FORGED",
        b"a\x1b[2JFORGED",
        b"\x7fFORGED",
        "é\u2028FORGED".encode(),
        b"\xff\xfeFORGED",
        b"\xed\xa0\x80FORGED",
    ],
)
def test_bytes_that_no_client_of_grpc_would_send(watchword, watchword_server, given):
    """Whether grpc or the pipeline refuses them, no log line is forged and the server goes on."""
    before = len(watchword_server.log())
    key = f"Bearer {watchword_server.api_key}".encode()
    raw_call(watchword_server.address, [(b"authorization", key), (b"x-request-id", given), (b"on-behalf-of", given)])
    raw_call(watchword_server.address, [(b"authorization", b"Bearer " + given)])
    raw_call(watchword_server.address, [(b"authorization", key), (b"x-request-id", b"harmless")])
    assert watchword.users.list_page().items == ()
    new = watchword_server.log()[before:]
    assert '"request_id": "harmless"' in new
    assert "FORGED" not in new
    assert '"incident"' not in new
    assert all(isinstance(json.loads(line), dict) for line in new.splitlines())


@pytest.mark.parametrize(
    "body",
    [b"", b"\1\0\0\0\0", b"\1\0\0\0\4\x1f\x8b\0\0", b"\0\xff\xff\xff\xff", b"\0\0\0\0\5ab", b"\7\0\0\0\0", b"\0" * 10],
)
def test_frames_that_are_no_message(watchword, watchword_server, body):
    """They are grpc's own to refuse, or to let lie until the deadline; the server does not notice and goes on."""
    before = len(watchword_server.log())
    key = f"Bearer {watchword_server.api_key}".encode()
    for encoding in (b"identity", b"gzip", b"nope", b"\xff"):
        headers = [(b"authorization", key), (b"grpc-encoding", encoding), (b"grpc-timeout", b"200m")]
        raw_call(watchword_server.address, headers, body)
    assert watchword.users.list_page().items == ()
    assert '"incident"' not in watchword_server.log()[before:]


def raw_call(address: str, headers: list[tuple[bytes, bytes]], body: bytes = b"\0\0\0\0\0") -> None:
    """Make a call frame by frame (RFC 9113) and read until the server has had enough of it."""

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload

    def literal(name: bytes, value: bytes) -> bytes:
        def string(text: bytes) -> bytes:  # RFC 7541 5.2: a length of 7 bits, continued if it does not fit
            if len(text) < 127:
                return bytes([len(text)]) + text
            rest = len(text) - 127
            return bytes([127, rest & 0x7F | 0x80, rest >> 7]) + text

        return b"\0" + string(name) + string(value)

    pseudo = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", LIST.path.encode()), (b":authority", b"x")]
    usual = [(b"te", b"trailers"), (b"content-type", b"application/grpc")]
    block = b"".join(literal(*header) for header in (*pseudo, *usual, *headers))
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
        connection.sendall(hello + frame(1, 4, 1, block) + frame(0, 1, 1, body))
        received = b""
        while data := connection.recv(65_536):
            received += data
            while len(received) >= 9 and len(received) >= 9 + int.from_bytes(received[:3]):
                kind, flags = received[3], received[4]
                received = received[9 + int.from_bytes(received[:3]) :]
                if kind in {3, 7} or (kind == 1 and flags & 1):  # RST_STREAM, GOAWAY, the last HEADERS
                    return


# ----- amount and kind ------------------------------------------------------------------------------------------------


def test_metadata_that_is_too_large(wire, watchword, metadata):
    for size in (32 * 1024, 1024 * 1024):
        outcome = wire.call(LIST, b"", [*metadata, ("x-padding", "x" * size)])
        assert outcome.code == "RESOURCE_EXHAUSTED", outcome.short
        many = [(f"x-{number}", "x") for number in range(size // 40)]
        assert wire.call(LIST, b"", [*metadata, *many]).code == "RESOURCE_EXHAUSTED"
    assert watchword.users.list_page().items == ()


def test_metadata_that_means_nothing_here(wire, metadata):
    extra = [
        ("x-anything", "~ !"),
        ("trace-bin", bytes(range(256))),
        ("x-request-id-bin", b"\0\n"),
        ("on-behalf-of-bin", b"x"),
        ("grpc-status-details-bin", b"\xff"),
        ("x-request-id", "first"),
        ("x-request-id", "second"),
    ]
    assert wire.call(LIST, b"", [*metadata, *extra]).code == "OK"


def test_compressed_requests(channel, metadata):
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        answer = channel.unary_unary(LIST.path)(b"", metadata=metadata, compression=compression, timeout=10)
        assert LIST.response.FromString(answer).users == []


def test_a_secret_of_the_request_is_in_no_error_and_no_log(wire, watchword, watchword_server):
    watchword.users.create(username="ana", password=PASSWORD)
    secret = "ZZsecretZZ"
    for name in ("CreateUser", "SetPassword", "ChangePassword", "StartSignIn", "RefreshSession", "IntrospectToken"):
        request = valid(RPC[name])
        for field in request.DESCRIPTOR.fields:
            if "password" in field.name or "token" in field.name:
                setattr(request, field.name, secret + "\x01" * 5_000)
        outcome: Outcome = wire.call(RPC[name], request)
        assert outcome.reason == "INVALID_FIELD", name
        assert secret not in outcome.text
    assert secret not in watchword_server.log()
