"""Sealed values open in their place, under their key, unchanged; nothing else does."""

import base64
import hashlib
import itertools
import json
import os
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from watchword.server.sealing import (
    KEY_BYTES,
    Keyring,
    KeyringError,
    SealBroken,
    Sealer,
    UnknownMasterKey,
    new_person_key,
)

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
OLD = "old:" + base64.b64encode(bytes(range(32))).decode()
NEW = "new:" + base64.b64encode(bytes(range(32, 64))).decode()


def ring(*entries: str) -> Keyring:
    return Keyring.parse("\n".join(entries), randomness=os.urandom)


@given(st.binary(max_size=200), st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_what_is_sealed_opens_in_its_place(plaintext, context):
    sealer = ring(OLD).sealer("tests")
    sealed = sealer.seal(plaintext, context=context)
    assert sealer.open(sealed, context=context) == plaintext
    with pytest.raises(SealBroken):
        sealer.open(sealed, context=context + "x")


@given(st.data())
def test_any_changed_bit_is_noticed(data):
    sealer = ring(OLD).sealer("tests")
    sealed = bytearray(sealer.seal(b"a secret", context="row/1"))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises((SealBroken, UnknownMasterKey)):
        sealer.open(bytes(sealed), context="row/1")


def test_any_cut_or_addition_is_noticed():
    sealer = ring(OLD).sealer("tests")
    sealed = sealer.seal(b"a secret", context="row/1")
    for wrong in [sealed[:end] for end in range(len(sealed))] + [sealed + b"\0"]:
        with pytest.raises(SealBroken):
            sealer.open(wrong, context="row/1")


@given(st.binary(max_size=80))
def test_bytes_that_were_never_sealed_raise_only_our_errors(junk):
    for sealer in (ring(OLD).sealer("tests"), Sealer.from_key(bytes(32), randomness=os.urandom)):
        with pytest.raises((SealBroken, UnknownMasterKey)):
            sealer.open(junk, context="")


def test_header_and_context_cannot_trade_bytes():
    """A key id that continues into the context must not authenticate as another pair of the two."""
    key = bytes(range(32)).hex()
    short, long = (Keyring({key_id: bytes.fromhex(key)}, randomness=os.urandom) for key_id in ("k", "kx"))
    sealed = short.sealer("tests").seal(b"a secret", context="xrow")
    moved = sealed[:1] + b"\x02kx" + sealed[3:]
    with pytest.raises(SealBroken):
        long.sealer("tests").open(moved, context="row")


def test_purposes_do_not_open_each_others_values():
    keys = ring(OLD)
    sealed = keys.sealer("signing_keys").seal(b"a secret", context="row/1")
    with pytest.raises(SealBroken):
        keys.sealer("answers").open(sealed, context="row/1")


def test_same_value_sealed_twice_looks_different():
    sealer = ring(OLD).sealer("tests")
    assert sealer.seal(b"a secret", context="row/1") != sealer.seal(b"a secret", context="row/1")


def test_nonce_comes_from_the_given_randomness():
    asked = []

    def randomness(count):
        asked.append(count)
        return bytes(count)

    sealed = Sealer.from_key(bytes(KEY_BYTES), randomness=randomness).seal(b"", context="")
    assert asked == [12]
    assert sealed[2:14] == bytes(12)


def test_rotation_keeps_old_values_and_seals_under_the_new_key():
    sealed_old = ring(OLD).sealer("tests").seal(b"a secret", context="row/1")
    rotated = ring(NEW, OLD)
    assert rotated.sealer("tests").open(sealed_old, context="row/1") == b"a secret"
    sealed_new = rotated.sealer("tests").seal(b"a secret", context="row/1")
    with pytest.raises(UnknownMasterKey) as caught:
        ring(OLD).sealer("tests").open(sealed_new, context="row/1")
    assert caught.value.key_id == "new"
    assert ring(NEW).sealer("tests").open(sealed_new, context="row/1") == b"a secret"


def test_same_id_with_another_key_does_not_open():
    sealed = ring(OLD).sealer("tests").seal(b"a secret", context="row/1")
    with pytest.raises(SealBroken):
        ring("old:" + NEW.removeprefix("new:")).sealer("tests").open(sealed, context="row/1")


def test_person_keys_open_only_their_own_values():
    ana, bo = (Sealer.from_key(new_person_key(os.urandom), randomness=os.urandom) for _ in range(2))
    sealed = ana.seal(b"ana@b.test", context="events")
    assert ana.open(sealed, context="events") == b"ana@b.test"
    with pytest.raises(SealBroken):
        bo.open(sealed, context="events")
    with pytest.raises(SealBroken):
        ring(OLD).sealer("events").open(sealed, context="events")
    with pytest.raises(SealBroken):
        ana.open(ring(OLD).sealer("events").seal(b"", context="events"), context="events")
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer.from_key(b"short", randomness=os.urandom)


def test_macs_are_verified_under_any_key_of_the_ring():
    mac = ring(OLD).mac("tests", b"message", 32)
    rotated = ring(NEW, OLD)
    assert len(mac) == 32
    assert rotated.mac("tests", b"message", 32) != mac
    assert rotated.verify_mac("tests", b"message", 32, mac=mac)
    assert rotated.verify_mac("tests", b"message", 32, mac=rotated.mac("tests", b"message", 32))
    assert not ring(NEW).verify_mac("tests", b"message", 32, mac=mac)


def test_macs_are_bound_to_purpose_message_and_length():
    keys = ring(OLD)
    mac = keys.mac("tests", b"message", 32)
    assert not keys.verify_mac("other", b"message", 32, mac=mac)
    assert not keys.verify_mac("tests", b"massage", 32, mac=mac)
    assert not keys.verify_mac("tests", b"message", 16, mac=mac[:16])
    assert not keys.verify_mac("tests", b"message", 32, mac=mac[:16])
    assert not keys.verify_mac("tests", b"message", 32, mac=b"")
    for length in (0, 15, 65):
        with pytest.raises(ValueError, match="16 to 64"):
            keys.mac("tests", b"message", length)


def test_generated_keys_parse_and_differ():
    texts = {Keyring.generate(os.urandom) for _ in range(3)}
    assert len({text.partition(":")[0] for text in texts}) == 3
    for separator in ("\n", ",", "\r\n", " , \n\n"):
        Keyring.parse(separator.join(texts), randomness=os.urandom)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n,",
        "old",
        "old:",
        ":" + OLD.removeprefix("old:"),
        OLD.removeprefix("old:"),
        OLD + "A",
        OLD[:-1],
        OLD[:-2] + "9=",
        OLD.replace("=", ""),
        "o ld:" + OLD.removeprefix("old:"),
        "x" * 33 + ":" + OLD.removeprefix("old:"),
        "old:" + base64.b64encode(bytes(16)).decode(),
        "old:" + base64.b64encode(bytes(33)).decode(),
        "old:ü" + OLD.removeprefix("old:"),
        OLD + "\n" + OLD,
    ],
)
def test_bad_master_keys_are_refused_without_being_shown(text):
    with pytest.raises(KeyringError) as caught:
        Keyring.parse(text, randomness=os.urandom)
    assert OLD.removeprefix("old:")[:8] not in str(caught.value)


def test_no_repr_or_error_shows_a_key():
    keys = ring(OLD)
    sealer = keys.sealer("tests")
    own = Sealer.from_key(bytes(range(32)), randomness=os.urandom)
    errors = []
    for broken in (b"", sealer.seal(b"a secret", context="x")[:-1]):
        with pytest.raises(SealBroken) as caught:
            sealer.open(broken, context="x")
        errors.append(caught.value)
    shown = "".join(f"{thing!r}{thing}" for thing in (keys, sealer, own, *errors))
    for form in (OLD.removeprefix("old:"), bytes(range(32)).hex(), repr(bytes(range(32))), "a secret"):
        assert form not in shown


def aes_gcm_vectors():
    path = CORPORA / "wycheproof" / "aes_gcm_test.json"
    if not path.exists():
        return []
    groups = json.loads(path.read_text())["testGroups"]
    ours = (group for group in groups if (group["keySize"], group["ivSize"], group["tagSize"]) == (256, 96, 128))
    return list(itertools.chain.from_iterable(group["tests"] for group in ours))


def test_primitive_passes_wycheproof():
    """The AES-256-GCM that this build of `cryptography` brings, with the sizes that sealing uses."""
    vectors = aes_gcm_vectors()
    if not vectors:
        pytest.skip("no corpora beside the project")
    for vector in vectors:
        key, nonce, aad, message, sealed = (bytes.fromhex(vector[name]) for name in ("key", "iv", "aad", "msg", "ct"))
        sealed += bytes.fromhex(vector["tag"])
        if vector["result"] == "valid":
            assert AESGCM(key).encrypt(nonce, message, aad) == sealed, vector["tcId"]
            assert AESGCM(key).decrypt(nonce, sealed, aad) == message, vector["tcId"]
        else:
            with pytest.raises(InvalidTag):
                AESGCM(key).decrypt(nonce, sealed, aad)


@given(st.binary(min_size=32, max_size=32), st.text(st.characters(exclude_categories=["Cs"]), max_size=50), st.binary())
def test_keys_are_derived_as_the_standard_says(master, purpose, message):
    """By HKDF of RFC 5869 as `cryptography` has it, so that another program can open what is sealed here."""
    keyring = ring("one:" + base64.b64encode(master).decode())
    derived = HKDF(SHA256(), 32, salt=None, info=f"watchword/mac/{purpose}".encode()).derive(master)
    expected = hashlib.blake2b(message, key=derived, digest_size=32).digest()
    assert keyring.mac(purpose, message, 32) == expected
