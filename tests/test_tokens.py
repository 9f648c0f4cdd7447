"""TokenService: introspection, signing keys, and the server's own verifier against the SDK's."""

import base64
import json
from datetime import timedelta

import pytest
from conftest import PASSWORD
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from watchword.client import Client, InactiveReason, SessionTokens, TokenError, TokenKind, User
from watchword.server.identifiers import node
from watchword.v1 import tokens_pb2, tokens_pb2_grpc

NOT_RECOGNIZED = InactiveReason.NOT_RECOGNIZED


@pytest.fixture
def ana(watchword: Client) -> User:
    return watchword.users.create(username="ana", password=PASSWORD)


@pytest.fixture
def tokens(watchword: Client, ana) -> SessionTokens:
    return watchword.sign_in("ana", password=PASSWORD)


def segments(token: str) -> list[dict]:
    return [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


def test_claims_are_those_of_rfc_9068_and_no_more(tokens, ana):
    header, claims = segments(tokens.access_token)
    assert header.keys() == {"alg", "typ", "kid"}
    assert (header["alg"], header["typ"]) == ("EdDSA", "at+jwt")
    assert claims.keys() == {
        *("iss", "sub", "aud", "client_id", "iat", "exp", "jti", "sid", "auth_time", "amr", "acr", "rev")
    }
    assert claims["sub"] == f"user:{ana.user_id}"
    assert claims["exp"] - claims["iat"] == 300
    assert (claims["aud"], claims["amr"], claims["acr"]) == ("internal", ["pwd"], "aal1")
    epoch, _, horizon = claims["rev"].partition(".")
    assert len(epoch) == 16
    assert horizon.isdigit()


def test_rev_is_a_horizon_before_the_session(watchword: Client, tokens, sql):
    """A token must not claim to know of a transaction that was running when it was made (DESIGN.md section 2)."""
    (row,) = sql("select max(xid::text::bigint) as xid from events where type = 'session-established'")
    _, claims = segments(tokens.access_token)
    assert int(claims["rev"].partition(".")[2]) <= row["xid"]


def test_introspection_names_what_it_depends_on(channel, metadata, tokens, ana):
    stub = tokens_pb2_grpc.TokenServiceStub(channel)
    answer = stub.IntrospectToken(tokens_pb2.IntrospectTokenRequest(token=tokens.access_token), metadata=metadata)
    names = [f"session:{tokens.session.session_id}", f"user:{ana.user_id}", "signing_keys"]
    assert list(answer.nodes) == [node(name) for name in names]
    assert answer.horizon.count(".") == 1
    assert 0 < answer.remaining_lifetime.ToTimedelta().total_seconds() <= 300


def test_every_end_names_a_node_of_the_token(watchword: Client, tokens, ana, sql):
    """What takes a token back must say so to whoever cached an answer about it."""
    answer_nodes = {node(f"session:{tokens.session.session_id}"), node(f"user:{ana.user_id}"), node("signing_keys")}

    def named_since(event_id: int) -> set[int]:
        rows = sql("select nodes from events where event_id > %s", event_id)
        return {number for row in rows for number in row["nodes"]}

    def last() -> int:
        return sql("select max(event_id) as n from events")[0]["n"]

    for end in (
        watchword.sessions.revoke,
        lambda _: watchword.sessions.revoke_all(ana.user_id),
        lambda _: watchword.credentials.set_password(ana.user_id, new_password="another horse altogether"),
        lambda _: watchword.tokens.rotate_signing_key(revoke_current=True),
        lambda _: watchword.users.suspend(ana.user_id),
    ):
        before = last()
        assert watchword.tokens.introspect(tokens.access_token).active
        end(tokens.session.session_id)
        assert not watchword.tokens.introspect(tokens.access_token).active
        assert answer_nodes & named_since(before)
        status = watchword.users.get(ana.user_id).status
        password = PASSWORD
        if status == "suspended":
            break
        try:
            tokens = watchword.sign_in("ana", password=password)
        except Exception:  # noqa: BLE001
            tokens = watchword.sign_in("ana", password="another horse altogether")
        answer_nodes |= {node(f"session:{tokens.session.session_id}")}


def test_a_token_expires(watchword: Client, watchword_server, tokens):
    watchword_server.advance(290)
    assert watchword.tokens.introspect(tokens.access_token).active
    watchword_server.advance(11)
    assert watchword.tokens.introspect(tokens.access_token).inactive_reason is InactiveReason.EXPIRED


@pytest.mark.parametrize("text", ["x", "a.b.c", "..", "wwk_", "wwr_x", "\u0000", "é" * 20, "x" * 4096])
def test_what_is_no_token_is_an_answer(watchword: Client, text):
    introspection = watchword.tokens.introspect(text)
    assert not introspection.active
    assert introspection.inactive_reason is NOT_RECOGNIZED
    assert introspection.kind is TokenKind.UNSPECIFIED


def b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def test_forgeries(watchword: Client, tokens):
    """The usual attacks, each on both verifiers: RFC 8725, and what the libraries are known to let through."""
    head, body, signature = tokens.access_token.split(".")
    header, claims = segments(tokens.access_token)
    own = Ed25519PrivateKey.generate()
    public = b64(own.public_key().public_bytes_raw())

    def signed(changed_header: dict, changed_claims: dict | None = None) -> str:
        first = b64(json.dumps(changed_header).encode())
        second = b64(json.dumps(changed_claims or claims).encode())
        return f"{first}.{second}.{b64(own.sign(f'{first}.{second}'.encode()))}"

    stray = signature[:10] + "!" + signature[10:]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spare_bits = signature[:-1] + alphabet[alphabet.index(signature[-1]) ^ 1]
    forgeries = [
        f"{b64(json.dumps({**header, 'alg': 'none'}).encode())}.{body}.",
        f"{head}.{body}.",
        signed({**header, "alg": "HS256"}),
        signed(header),
        signed({**header, "jwk": {"kty": "OKP", "crv": "Ed25519", "x": public}}),
        signed({**header, "jku": "https://attacker.example/jwks"}),
        signed({**header, "crit": ["exp"]}),
        signed({**header, "kid": "nobody"}),
        signed({**header, "typ": "JWT"}),
        signed(header, {**claims, "iss": "https://attacker.example"}),
        f"{head}.{body}.{signature}=",
        f"{head}.{body}.{signature}==",
        f"{head}.{body}.{stray}",
        f"{head}.{body}.{spare_bits}",
        f"{head}=.{body}.{signature}",
        f" {tokens.access_token}",
        f"{tokens.access_token}\n",
        f"{tokens.access_token}.x",
        f"{head}.{body[:-1]}.{signature}",
    ]
    assert watchword.verify(tokens.access_token)
    assert watchword.tokens.introspect(tokens.access_token).active
    for forgery in forgeries:
        assert watchword.tokens.introspect(forgery).inactive_reason is NOT_RECOGNIZED, forgery
        with pytest.raises(TokenError):
            watchword.verify(forgery)


def test_random_changes_are_refused_by_both_verifiers_alike(watchword: Client, tokens):
    token = tokens.access_token

    @given(position=st.integers(0, len(token) - 1), sign=st.characters(max_codepoint=0x17F, exclude_categories=["Cs"]))
    def changed(position, sign):
        text = token[:position] + sign + token[position + 1 :]
        by_server = watchword.tokens.introspect(text).active
        try:
            by_sdk = bool(watchword.verify(text))
        except TokenError:
            by_sdk = False
        assert by_server is by_sdk is (text == token)

    changed()


def test_rotation_overlaps_and_everybody_follows(watchword: Client, watchword_server, ana):
    def sign_in() -> tuple[str, str]:
        token = watchword.sign_in("ana", password=PASSWORD).access_token
        return token, segments(token)[0]["kid"]

    old_token, old_kid = sign_in()
    rotated = watchword.tokens.rotate_signing_key()
    assert rotated.signing_key_id != old_kid
    # Asked again while the new key waits, the answer is that key: rotations do not pile up.
    assert watchword.tokens.rotate_signing_key().signing_key_id == rotated.signing_key_id
    keys = {key["kid"] for key in json.loads(watchword.tokens.get_signing_keys().jwks)["keys"]}
    assert {old_kid, rotated.signing_key_id} <= keys
    assert sign_in()[1] == old_kid
    max_age = watchword.tokens.get_signing_keys().max_age
    watchword_server.advance(2 * max_age.total_seconds() - 10)
    late_token, kid = sign_in()
    assert kid == old_kid
    watchword_server.advance(20)
    new_token, kid = sign_in()
    assert kid == rotated.signing_key_id
    for token in (late_token, new_token):
        assert watchword.tokens.introspect(token).active
        assert watchword.verify(token)
    assert not watchword.tokens.introspect(old_token).active
    watchword_server.advance(400)
    keys = {key["kid"] for key in json.loads(watchword.tokens.get_signing_keys().jwks)["keys"]}
    assert old_kid not in keys


def test_a_leaked_key_is_taken_back_at_once(watchword: Client, tokens, ana):
    rotated = watchword.tokens.rotate_signing_key(revoke_current=True)
    introspection = watchword.tokens.introspect(tokens.access_token)
    assert introspection.inactive_reason is InactiveReason.REVOKED
    keys = [key["kid"] for key in json.loads(watchword.tokens.get_signing_keys().jwks)["keys"]]
    assert keys == [rotated.signing_key_id]
    fresh = watchword.sessions.refresh(tokens.refresh_token)
    assert watchword.tokens.introspect(fresh.access_token).active
    assert watchword.verify(fresh.access_token)


def test_the_published_keys_say_all_that_a_verifier_must_know(watchword: Client):
    keys = watchword.tokens.get_signing_keys()
    assert keys.issuer == "https://watchword.internal"
    assert keys.default_audience == "internal"
    assert keys.access_token_lifetime == timedelta(minutes=5)
    for key in json.loads(keys.jwks)["keys"]:
        assert (key["kty"], key["crv"], key["use"], key["alg"]) == ("OKP", "Ed25519", "sig", "EdDSA")
        assert "d" not in key
