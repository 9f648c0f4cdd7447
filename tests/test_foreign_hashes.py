"""Hashes that other software made are verified as they are, at a bounded cost; made here by the real frameworks."""

import base64
import contextlib
import hashlib
import hmac
import json
import random
import secrets
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import argon2
import bcrypt
import django.contrib.auth.hashers as django
import passlib.hash as passlib
import pytest
import werkzeug.security as werkzeug
from argon2 import Type
from argon2.low_level import hash_secret
from hypothesis import given
from hypothesis import strategies as st
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

from watchword.server.config import Argon2Parameters
from watchword.server.foreign_hashes import HashRefused, Refusal, recognise
from watchword.server.hashing import Verdict
from watchword.server.passwords import PasswordHasher

passlib.argon2.set_backend("argon2_cffi")  # `using` comes too early for it to find one by itself
SCRIPTS = (
    "abcXYZ 019!$:",
    "žščřďťňéáíůñç",
    "дом мир лес",
    "山の上ふるい寺",
    "สวัสดี",
    "🦊🌲🏔️🛶🔥",
    "가각힣",
    "\u0301\u0323",
)


def made_by_argon2(type_: Type, version: int) -> Callable[[str], str]:
    return lambda password: hash_secret(
        password.encode(), secrets.token_bytes(16), 1, 64, 2, 32, type_, version
    ).decode()


def made_by_bcrypt(prefix: str) -> Callable[[str], str]:
    """The library writes 2a and 2b; PHP's 2y is the same function."""
    return lambda password: bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode().replace("$2b$", prefix)


def made_by_django(hasher: type[django.BasePasswordHasher], **cost: int) -> Callable[[str], str]:
    weaker = type(hasher.__name__, (hasher,), cost)()
    return lambda password: weaker.encode(password, weaker.salt())


def made_by_flask_security(inner: Callable[[str], str]) -> Callable[[str], str]:
    """As its `get_hmac` does before it hands a password to passlib; with the key before it, as an import brings it."""
    key = b"SECURITY_PASSWORD_SALT of an application"

    def make(password: str) -> str:
        code = base64.b64encode(hmac.digest(key, password.encode(), hashlib.sha512)).decode()
        return f"$hmac-sha512${base64.b64encode(key).decode()}${inner(code)}"

    return make


BCRYPT = {
    "bcrypt 2a": made_by_bcrypt("$2a$"),
    "bcrypt 2b": made_by_bcrypt("$2b$"),
    "bcrypt 2y": made_by_bcrypt("$2y$"),
    "passlib bcrypt": passlib.bcrypt.using(rounds=4, truncate_error=True).hash,
    "pwdlib bcrypt": BcryptHasher(rounds=4).hash,
    "pwdlib bcrypt 2a": BcryptHasher(rounds=4, prefix="2a").hash,
    "django bcrypt": made_by_django(django.BCryptPasswordHasher, rounds=4),
}
# PBKDF2 and scrypt pad a password with NULs.
PADDED = {
    "django pbkdf2_sha256": made_by_django(django.PBKDF2PasswordHasher, iterations=10),
    "django pbkdf2_sha1": made_by_django(django.PBKDF2SHA1PasswordHasher, iterations=10),
    "django scrypt": made_by_django(django.ScryptPasswordHasher, work_factor=16),
    "werkzeug scrypt": lambda password: werkzeug.generate_password_hash(password, "scrypt:1024:8:1"),
    "werkzeug pbkdf2 sha1": lambda password: werkzeug.generate_password_hash(password, "pbkdf2:sha1:10"),
    "werkzeug pbkdf2 sha256": lambda password: werkzeug.generate_password_hash(password, "pbkdf2:sha256:10"),
    "werkzeug pbkdf2 sha512": lambda password: werkzeug.generate_password_hash(password, "pbkdf2:sha512:10"),
    "passlib pbkdf2 sha1": passlib.pbkdf2_sha1.using(rounds=10).hash,
    "passlib pbkdf2 sha256": passlib.pbkdf2_sha256.using(rounds=10).hash,
    "passlib pbkdf2 sha512": passlib.pbkdf2_sha512.using(rounds=10).hash,
    "passlib scrypt": passlib.scrypt.using(rounds=4).hash,
}
EXACT = {
    **{
        f"argon2{type_.name.lower()} v{version}": made_by_argon2(type_, version)
        for type_ in Type
        for version in (16, 19)
    },
    "argon2-cffi": argon2.PasswordHasher(1, 64, 2).hash,
    "pwdlib argon2": Argon2Hasher(1, 64, 2).hash,
    "passlib argon2": passlib.argon2.using(time_cost=1, memory_cost=64, parallelism=2).hash,
    "passlib bcrypt_sha256": passlib.bcrypt_sha256.using(rounds=4).hash,
    "passlib bcrypt_sha256 of old": passlib.bcrypt_sha256.using(rounds=4, version=1).hash,
    "django bcrypt_sha256": made_by_django(django.BCryptSHA256PasswordHasher, rounds=4),
    "django argon2": made_by_django(django.Argon2PasswordHasher, time_cost=1, memory_cost=64, parallelism=2),
    "flask-security argon2": made_by_flask_security(argon2.PasswordHasher(1, 64, 2).hash),
    "flask-security pbkdf2": made_by_flask_security(PADDED["passlib pbkdf2 sha512"]),
    # With a bcrypt before version 5, which cut off by itself.
    "flask-security bcrypt": made_by_flask_security(lambda code: passlib.bcrypt.using(rounds=4).hash(code[:72])),
}
MAKERS = {**BCRYPT, **PADDED, **EXACT}
every_maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def random_password(random_: random.Random, *, max_bytes: int, nul: bool) -> str:
    signs = [sign for script in SCRIPTS for sign in script]
    password = "".join(random_.choice(signs) for _ in range(random_.randint(1, 60)))
    if nul:
        at = random_.randrange(len(password))
        password = f"{password[:at]}\0{password[at:]}x"
    password = unicodedata.normalize(random_.choice(["NFC", "NFD"]), password)
    while len(password.encode()) > max_bytes:
        password = password[:-1]
    return password


def made(text: str) -> Callable[[str], bool]:
    found = recognise(text)
    return lambda password: found.matches(password.encode())


class TestFrameworks:
    @every_maker
    def test_random_passwords_match_and_others_do_not(self, make):
        seed = secrets.randbits(32)
        random_ = random.Random(seed)
        exotic = make not in BCRYPT.values()
        for turn in range(6):
            password = random_password(random_, max_bytes=4096 if exotic else 72, nul=exotic and turn % 2 == 0)
            matches = made(make(password))
            assert matches(password), seed
            for wrong in (password + "x", "x" + password, password[:-1], password.swapcase() + "y"):
                assert not matches(wrong[:72] if not exotic and wrong[72:] else wrong) or wrong[:72] == password, seed

    @every_maker
    def test_a_password_of_72_bytes_and_more(self, make):
        for size in (71, 72):
            assert made(make("p" * size))("p" * size)
        if make in BCRYPT.values():
            return
        for size in (73, 128, 255, 256, 4096):
            matches = made(make("é" * (size // 2) + "x" * (size % 2)))
            assert matches("é" * (size // 2) + "x" * (size % 2))
            assert not matches("é" * (size // 2) + "y")
            assert not matches("é" * 36)

    @pytest.mark.parametrize("make", BCRYPT.values(), ids=BCRYPT)
    def test_bcrypt_never_takes_a_longer_password_for_a_shorter_one(self, make):
        matches = made(make("p" * 72))
        assert matches("p" * 72)
        assert not matches("p" * 73)
        assert not matches("p" * 72 + "any other end")
        assert not made(make(""))("p" * 73), "whatever is computed in place of one that does not fit"

    @pytest.mark.parametrize("make", BCRYPT.values(), ids=BCRYPT)
    def test_bcrypt_never_takes_a_nul_for_the_end(self, make):
        """bcrypt repeats its key with a NUL between: to it, "ab" and "ab NUL ab" are the same."""
        matches = made(make("ab"))
        assert matches("ab")
        for wrong in ("ab\0", "ab\0ab", "ab\0cd", "\0ab", "\0"):
            assert not matches(wrong)

    @pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)
    def test_a_nul_counts(self, make):
        matches = made(make("ab\0cd"))
        assert matches("ab\0cd")
        for wrong in ("ab", "ab\0", "ab\0c", "ab\0cd\0", "abcd"):
            assert not matches(wrong)

    @pytest.mark.parametrize("make", PADDED.values(), ids=PADDED)
    def test_a_nul_inside_counts(self, make):
        matches = made(make("ab\0cd"))
        assert matches("ab\0cd")
        for wrong in ("ab", "ab\0", "ab\0c", "abcd"):
            assert not matches(wrong)

    @every_maker
    def test_a_changed_hash_matches_no_longer(self, make):
        text = make("hvězda")
        for changed in (text[:-8] + ("A" if text[-8] != "A" else "B") + text[-7:], text[:-3]):
            with contextlib.suppress(HashRefused):
                assert not made(changed)("hvězda")
        assert text[-12:] not in repr(recognise(text))

    @pytest.mark.parametrize(
        ("framework", "scheme", "weak"),
        [
            (argon2.PasswordHasher().hash, "argon2id", False),
            (Argon2Hasher().hash, "argon2id", False),
            (BcryptHasher().hash, "bcrypt", False),
            (
                lambda password: django.make_password(password, hasher=django.PBKDF2PasswordHasher()),
                "pbkdf2_sha256",
                False,
            ),
            (lambda password: django.make_password(password, hasher=django.Argon2PasswordHasher()), "argon2id", False),
            (lambda password: django.make_password(password, hasher=django.ScryptPasswordHasher()), "scrypt", False),
            (werkzeug.generate_password_hash, "scrypt", True),
            (passlib.pbkdf2_sha256.hash, "pbkdf2_sha256", True),
            (passlib.bcrypt_sha256.hash, "bcrypt_sha256", False),
            (passlib.scrypt.hash, "scrypt", True),
            (lambda _: "$2b$09$abcdefghijklmnopqrstuuo18IGPhAd/HzW4M2PTaBFRFTK9llj.O", "bcrypt", True),
            (lambda _: "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$c29tZXNhbHRzb21lc2FsdA", "argon2id", True),
        ],
    )
    def test_their_defaults_are_taken_and_rated(self, framework, scheme, weak):
        text = framework("staple")
        found = recognise(text)
        assert (found.scheme, found.is_weak) == (scheme, weak)
        if not text.startswith(("$2b$09", "$argon2id$v=19$m=8,")):
            assert found.matches(b"staple")


def corpus(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class TestCorpora:
    def test_hashes_of_passlib(self, corpora):
        unsupported = {"django_des_crypt", "django_salted_md5", "django_salted_sha1", "django_disabled"}
        matched = 0
        for case in corpus(corpora / "password_hashes.jsonl"):
            if case["kind"] != "correct" or case["scheme"] in unsupported:
                with pytest.raises(HashRefused) as refused:
                    recognise(case["hash"])
                assert case["hash"] not in str(refused.value)
                continue
            secret = bytes.fromhex(case["secret_hex"]) if "secret_hex" in case else case["secret"].encode()
            found = recognise(case["hash"])
            if case["scheme"] == "bcrypt" and len(secret) > 72:
                assert not found.matches(secret)
                secret = secret[:72]
            assert found.matches(secret), case
            assert not found.matches(secret[:-1] + b"~"), case
            matched += 1
        assert matched > 50

    def test_hashes_of_django(self, corpora):
        refused = {}
        for text in json.loads((corpora / "django_encoded.json").read_text()):
            try:
                assert recognise(text).scheme.startswith(text.split("$")[0][:6])
            except HashRefused as error:
                refused[text.split("$")[0]] = error.why
        assert refused == {"argon2": Refusal.MALFORMED, "md5": Refusal.UNKNOWN}


SALT, HASH = "c29tZXNhbHRzb21lc2FsdA", "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE"
HASH64 = base64.b64encode(b"a" * 64).decode()
TOO_COSTLY = [
    f"$argon2id$v=19$m=4194304,t=1,p=1${SALT}${HASH}",
    f"argon2$argon2id$v=19$m=4194304,t=1,p=1${SALT}${HASH}",
    f"$argon2id$v=19$m=4294967295,t=4294967295,p=1${SALT}${HASH}",
    f"$argon2id$v=19$m=65536,t=100000,p=1${SALT}${HASH}",
    f"$argon2id$v=19$m=65536,t=1,p=255${SALT}${HASH}",
    f"$argon2i$m=999999999999,t=1,p=1${SALT}${HASH}",
    "$2b$31$abcdefghijklmnopqrstuuo18IGPhAd/HzW4M2PTaBFRFTK9llj.O",
    "$2b$15$abcdefghijklmnopqrstuuo18IGPhAd/HzW4M2PTaBFRFTK9llj.O",
    "bcrypt_sha256$$2b$31$abcdefghijklmnopqrstuuo18IGPhAd/HzW4M2PTaBFRFTK9llj.O",
    "$bcrypt-sha256$v=2,t=2b,r=31$5Hg1DKFqPE8C2aflZ5vVoe$wOK1VFFtS8IGTrGa7.h5fs0u84qyPbS",
    f"pbkdf2_sha256$1000000000$salt${HASH}=",
    f"pbkdf2:sha256:1000000000$salt${'ab' * 32}",
    f"$pbkdf2-sha256$1000000000${SALT}${HASH}",
    f"scrypt$1073741824$salt$8$1${HASH64}",
    f"scrypt:549755813888:8:1$salt${'ab' * 64}",
    f"scrypt:16384:8:100000$salt${'ab' * 64}",
    f"$scrypt$ln=31,r=8,p=1${SALT}${HASH}",
    f"$hmac-sha512$a2V5$$argon2id$v=19$m=4194304,t=1,p=1${SALT}${HASH}",
]
OTHERWISE_REFUSED = {
    "": Refusal.UNKNOWN,
    "password": Refusal.UNKNOWN,
    "md5$salt$900150983cd24fb0d6963f7d28e17f72": Refusal.UNKNOWN,
    "900150983cd24fb0d6963f7d28e17f72": Refusal.UNKNOWN,
    "!Ae8Wp0kXf3": Refusal.DISABLED,
    "$2b$12$abcdefghijklmnopqrstuv": Refusal.MALFORMED,
    "$2b$03$abcdefghijklmnopqrstuuo18IGPhAd/HzW4M2PTaBFRFTK9llj.O": Refusal.MALFORMED,
    "$2x$12$abcdefghijklmnopqrstuuo18IGPhAd/HzW4M2PTaBFRFTK9llj.O": Refusal.MALFORMED,
    f"$argon2id$v=20$m=64,t=1,p=1${SALT}${HASH}": Refusal.MALFORMED,
    f"$argon2id$v=19$m=64,t=0,p=1${SALT}${HASH}": Refusal.MALFORMED,
    f"$argon2id$v=19$m=-64,t=1,p=1${SALT}${HASH}": Refusal.MALFORMED,
    f"$argon2id$v=19$m=7,t=1,p=1${SALT}${HASH}": Refusal.MALFORMED,
    f"$argon2id$v=19$m=64,t=1,p=1$c2hvcnQ${HASH}": Refusal.MALFORMED,
    f"$argon2id$v=19$m=64,t=1,p=1${SALT}$c2hvcnQ": Refusal.MALFORMED,
    f"$argon2id$v=19$m=64,t=1,p=1,keyid=AA${SALT}${HASH}": Refusal.MALFORMED,
    f"pbkdf2_sha256$٣$salt${HASH}=": Refusal.MALFORMED,
    f"pbkdf2_sha256$10$salt${HASH}{HASH}": Refusal.MALFORMED,
    "pbkdf2:sha256$salt$abcd": Refusal.MALFORMED,
    f"scrypt:16383:8:1$salt${'ab' * 64}": Refusal.MALFORMED,
    f"scrypt:16384:8:1$salt${'ab' * 64}\n": Refusal.MALFORMED,
    f"scrypt:16384:8:1$salt${'ab' * 32}": Refusal.MALFORMED,
    f"$scrypt$ln=4,r=8,p=1${SALT}${HASH[:40]}": Refusal.MALFORMED,
    "$argon2id$" + "A" * 1_000_000: Refusal.MALFORMED,
    "pbkdf2_sha256$1$" + "a" * 1000 + "$!": Refusal.MALFORMED,
    f"$hmac-sha512$a2V5$$hmac-sha512$a2V5$$argon2id$v=19$m=64,t=1,p=1${SALT}${HASH}": Refusal.MALFORMED,
}


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "why"), [*((text, Refusal.TOO_COSTLY) for text in TOO_COSTLY), *OTHERWISE_REFUSED.items()]
    )
    def test_refused_before_anything_is_computed(self, text, why):
        began = time.thread_time()
        with pytest.raises(HashRefused) as refused:
            recognise(text)
        assert time.thread_time() - began < 0.1
        assert refused.value.why is why
        assert not text or text not in str(refused.value)

    @given(st.one_of(st.text(), st.sampled_from([*TOO_COSTLY, *(make("x") for make in MAKERS.values())])), st.data())
    def test_whatever_the_text_it_is_read_or_refused(self, text, data):
        """Cut, changed and doubled hashes too; and one that is read has a cost that is borne: it can be computed."""
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 3)) :]
        try:
            found = recognise(text)
        except HashRefused:
            return
        assert "$" in text
        assert found.scheme


WEAK = Argon2Parameters(memory_kib=8, time=1, allow_weak=True)


@pytest.fixture
async def hasher():
    hasher = PasswordHasher(WEAK, processes=2, queue_limit=4, randomness=secrets.token_bytes)
    yield hasher
    await hasher.close()


class TestVerification:
    """By the server's own hasher."""

    @every_maker
    async def test_whatever_form_was_hashed_and_is_typed(self, hasher, make):
        mixed = "Ame\u0301lie \ud55c\uae00"
        composed, taken_apart = (unicodedata.normalize(form, mixed) for form in ("NFC", "NFD"))
        assert len({mixed, composed, taken_apart}) == 3
        every = (mixed, composed, taken_apart)
        for hashed, typed in [(mixed, (mixed,)), (composed, every), (taken_apart, every)]:
            stored = make(hashed)
            for password in typed:
                assert await hasher.verify(password, stored) == Verdict(ok=True, rehash=True)
        assert await hasher.verify(composed + "x", stored) == Verdict(ok=False, rehash=False)

    async def test_a_hash_of_todays_parameters_but_another_form_is_made_anew(self, hasher):
        taken_apart = unicodedata.normalize("NFD", "hvězda nad Tatrou")
        theirs = argon2.PasswordHasher(WEAK.time, WEAK.memory_kib, WEAK.parallelism).hash(taken_apart)
        assert await hasher.verify("hvězda nad Tatrou", theirs) == Verdict(ok=True, rehash=True)
        ours = await hasher.hash(taken_apart)
        assert await hasher.verify(taken_apart, ours) == Verdict(ok=True, rehash=False)

    @pytest.mark.parametrize("stored", TOO_COSTLY)
    async def test_a_hostile_hash_in_the_database_is_a_wrong_password(self, hasher, stored):
        if not stored.startswith("$argon2"):  # the server's own format has the limits of its settings
            assert await hasher.verify("staple", stored) == Verdict(ok=False, rehash=False)
