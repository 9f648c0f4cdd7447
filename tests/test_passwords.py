"""Which passwords are taken, that hashes are argon2id, and that hashing never stops the server."""

# ruff: noqa: RUF001  (other scripts are the point)

import asyncio
import itertools
import os
import threading
import time
import unicodedata
from datetime import timedelta
from pathlib import Path

import argon2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zxcvbn import zxcvbn

from watchword.server.errors import PasswordRefused, ServerBusy, ShuttingDown
from watchword.server.passwords import (
    MAX_CHARACTERS,
    MIN_CHARACTERS,
    Argon2Parameters,
    PasswordHasher,
    PasswordPolicy,
    Verdict,
    normalize,
)

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
WEAK = Argon2Parameters(memory_kib=8, time=1, allow_weak=True)
GOOD = "hvězda nad Tatrou"
OWN_WORDS = ["ana.silva@shop.example", "anasilva", "Ana Maria da Silva"]

any_text = st.text(st.characters(exclude_categories=["Cs"]))


def make_hasher(parameters=WEAK, *, threads=2, queue_limit=4):
    return PasswordHasher(
        parameters, policy=PasswordPolicy(), threads=threads, queue_limit=queue_limit, randomness=os.urandom
    )


@pytest.fixture
def hasher():
    hasher = make_hasher()
    yield hasher
    hasher.close()


@pytest.fixture
def argon2_calls(monkeypatch):
    """Count the hashes that argon2 really computes; it still computes them."""
    calls = []
    for name in ("hash_secret", "verify_secret"):
        real = getattr(argon2.low_level, name)

        def counting(*args, real=real, **kwargs):
            try:
                result = real(*args, **kwargs)
            except argon2.exceptions.VerifyMismatchError:
                calls.append("mismatch")
                raise
            calls.append("done")
            return result

        monkeypatch.setattr(argon2._password_hasher, name, counting)
    return calls


def refusal(password, own_words=()):
    try:
        PasswordPolicy().check(password, own_words=own_words)
    except PasswordRefused as error:
        return error.rule
    return None


class TestPolicy:
    @pytest.mark.parametrize(
        "password",
        [
            GOOD,
            "correct horse battery staple",
            "x9#kQ2v!",
            "        q8 Zf  ",
            "čtyři modří sloni",
            "наша старая дача",
            "สวัสดีชาวโลกทุกคน",
            "山の上のふるい寺",
            "🦊🌲🏔️🛶🔥🌙⭐🎣",
            "nul\0 in the middle",
            "line\nfeed and\ttab",
            "k7" + "no rules of composition " * 5,
        ],
    )
    def test_takes_any_unicode(self, password):
        assert refusal(password, OWN_WORDS) is None

    def test_length_counts_characters_after_nfc(self):
        eight = "żółwie9q"
        assert len(unicodedata.normalize("NFD", eight)) > MIN_CHARACTERS == len(eight)
        assert refusal(eight) is None
        assert refusal(unicodedata.normalize("NFD", eight)) is None
        assert refusal(unicodedata.normalize("NFD", eight[:-1])) == "too_short"
        assert refusal("") == "too_short"
        assert refusal("🦊🌲🏔🛶🔥🌙⭐") == "too_short"
        longest = "".join(chr(0x4E00 + 7 * i * i % 5000) for i in range(MAX_CHARACTERS))
        assert refusal(longest) is None
        assert refusal(longest[:128]) is None
        assert refusal(longest + "x") == "too_long"

    @pytest.mark.parametrize(
        "password",
        [
            "password",
            "PASSWORD",
            "P@55w0rd",
            "drowssap",
            "namrepus",
            "12345678",
            "qwerty123",
            "iloveyou",
            "password" * 16,
            "aaaaaaaa",
            "👍" * 200,
            "密码密码密码密码",
            "\0" * 8,
            "abcdefghijklmnop",
            "1qaz2wsx",
            "        ",
            "watchmen",
        ],
    )
    def test_refuses_common_ones(self, password):
        assert refusal(password) == "common"

    @pytest.mark.parametrize(
        "password",
        [
            "anasilva1990",
            "AnaSilva!!!!!!!",
            "silva-maria-ana",
            "4n4 51lv4 1!",
            "ana.silva@shop.example",
            "watchword2024",
            "Watchword-W4tchw0rd",
        ],
    )
    def test_refuses_the_users_own_words(self, password):
        assert refusal(password, OWN_WORDS) == "personal"

    def test_own_words_in_other_scripts(self):
        assert refusal("АНАСТАСИЯ-петрова1", ["Анастасия Петрова"]) == "personal"
        assert refusal("山田太郎山田花子19", ["山田太郎", "山田花子"]) == "personal"
        assert refusal(unicodedata.normalize("NFD", "žofie.černá12"), ["Žofie Černá"]) == "personal"
        assert refusal("ＡＮＡＳＩＬＶＡ２４", OWN_WORDS) == "personal"

    def test_own_words_may_be_a_part_of_more(self):
        assert refusal("anaconda river boat", OWN_WORDS) is None
        assert refusal("shop until dawn", OWN_WORDS) is None
        assert refusal("da la me no 7z", ["da la me no"]) is None, "short words are nobody's own"

    @given(any_text, st.lists(any_text, max_size=3))
    def test_never_raises_anything_else(self, password, own_words):
        assert refusal(password, own_words) in {None, "too_short", "too_long", "common", "personal"}
        assert refusal(password, own_words) == refusal(unicodedata.normalize("NFD", password), own_words)

    def test_naughty_strings(self):
        path = CORPORA / "naughty-strings.txt"
        if not path.exists():
            pytest.skip("no corpora beside the project")
        for line in path.read_text(encoding="utf-8").split("\n"):
            assert refusal(line, [line[:3], line]) in {None, "too_short", "too_long", "common", "personal"}

    @given(
        st.lists(
            st.sampled_from(["qwerty", "love", "123", "13.05.1987", "Zx", "dragon", "987654", "aaaa", "monkey", "é"]),
            min_size=1,
            max_size=4,
        ).map("".join)
    )
    def test_is_at_least_as_strict_as_zxcvbn(self, password):
        """Our short cut through zxcvbn must not let pass what the whole of it would refuse."""
        if len(password) >= MIN_CHARACTERS and zxcvbn(password)["guesses"] < 10_000:
            assert refusal(password) == "common"

    def test_cost_is_bounded(self):
        """zxcvbn as a whole takes more than a second for the first of these."""
        signs = "4@8({[<3691!|0$5+7%2"
        for password in (signs * 3, signs, (signs * 13)[:256], "".join(map(chr, range(0x100, 0x200)))):
            began = time.thread_time()
            refusal(password, ["a" * 254, "b c d " * 80])
            assert time.thread_time() - began < 0.1


class TestParameters:
    def test_defaults_are_at_the_floor(self):
        assert Argon2Parameters() == Argon2Parameters(memory_kib=19456, time=2, parallelism=1)
        Argon2Parameters(memory_kib=7168, time=5)
        Argon2Parameters(memory_kib=65536, time=3, parallelism=4)

    @pytest.mark.parametrize(("memory_kib", "time_"), [(19455, 2), (19456, 1), (7167, 64), (8, 1)])
    def test_weaker_is_refused(self, memory_kib, time_):
        with pytest.raises(ValueError, match="too weak"):
            Argon2Parameters(memory_kib=memory_kib, time=time_)
        assert Argon2Parameters(memory_kib=memory_kib, time=time_, allow_weak=True).time == time_

    @pytest.mark.parametrize("broken", [{"time": 0}, {"parallelism": 0}, {"memory_kib": 15, "parallelism": 2}])
    def test_impossible_is_refused(self, broken):
        with pytest.raises(ValueError, match="argon2 needs"):
            Argon2Parameters(**{"memory_kib": 8, "time": 1, "allow_weak": True} | broken)


class TestHashing:
    async def test_hash_is_a_phc_string_with_the_parameters(self):
        hasher = make_hasher(Argon2Parameters())
        stored = await hasher.hash(GOOD)
        assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert stored != await hasher.hash(GOOD), "each hash has its own salt"
        assert await hasher.verify(GOOD, stored) == Verdict(ok=True, rehash=False)
        hasher.close()

    async def test_salt_comes_from_the_given_randomness(self):
        hasher = PasswordHasher(WEAK, policy=PasswordPolicy(), threads=1, queue_limit=1, randomness=bytes)
        assert "$AAAAAAAAAAAAAAAAAAAAAA$" in await hasher.hash(GOOD)
        hasher.close()

    @pytest.mark.parametrize("password", [GOOD, "nul\0one", "🦊🌲🏔️🛶", "  spaces  ", "x" * 4096, ""])
    async def test_verify(self, hasher, password):
        stored = await hasher.hash(password)
        assert (await hasher.verify(password, stored)).ok
        for wrong in (password + "x", password + "\0", password + " ", " " + password, password[:-1] or "y"):
            assert await hasher.verify(wrong, stored) == Verdict(ok=False, rehash=False)

    async def test_nfc_and_nfd_are_the_same_password(self, hasher):
        composed, taken_apart = (unicodedata.normalize(form, GOOD) for form in ("NFC", "NFD"))
        assert composed != taken_apart
        assert normalize(taken_apart) == composed
        assert (await hasher.verify(taken_apart, await hasher.hash(composed))).ok
        assert (await hasher.verify(composed, await hasher.check_and_hash(taken_apart, []))).ok

    async def test_other_parameters_ask_for_a_new_hash(self, hasher):
        for older in (
            argon2.PasswordHasher(time_cost=2, memory_cost=8, parallelism=1),
            argon2.PasswordHasher(time_cost=1, memory_cost=16, parallelism=1),
            argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, type=argon2.Type.I),
        ):
            stored = older.hash(GOOD)
            assert await hasher.verify(GOOD, stored) == Verdict(ok=True, rehash=True)
            assert await hasher.verify("wrong", stored) == Verdict(ok=False, rehash=False)

    async def test_check_and_hash_applies_the_policy(self, hasher):
        for password, rule in (("short", "too_short"), ("password", "common"), ("anasilva24", "personal")):
            with pytest.raises(PasswordRefused) as caught:
                await hasher.check_and_hash(password, OWN_WORDS)
            assert caught.value.rule == rule
        assert (await hasher.verify(GOOD, await hasher.check_and_hash(GOOD, OWN_WORDS))).ok

    @pytest.mark.parametrize("parameters", [WEAK, Argon2Parameters()])
    async def test_unknown_user_costs_the_same_work(self, argon2_calls, parameters):
        hasher = make_hasher(parameters)
        stored = await hasher.hash(GOOD)
        argon2_calls.clear()
        assert not (await hasher.verify("wrong one", stored)).ok
        assert not (await hasher.verify("wrong one", None)).ok
        assert argon2_calls == ["mismatch", "mismatch"]
        hasher.close()

    @pytest.mark.parametrize(
        "stored",
        [
            "",
            "x",
            "\0",
            "é",
            "$argon2id$",
            "$argon2id$v=19$m=19456,t=2,p=1$AAAA$BB",
            "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$!!!!",
            "$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$c29tZXNhbHRzb21lc2FsdA",
            "pbkdf2_sha256$600000$salt$hash",
            "$2b$12$abcdefghijklmnopqrstuv",
        ],
    )
    async def test_unreadable_hash_is_a_wrong_password_with_the_same_work(self, argon2_calls, capsys, stored):
        hasher = make_hasher()
        argon2_calls.clear()
        assert not (await hasher.verify(GOOD, None)).ok
        unknown_user = argon2_calls.copy()
        argon2_calls.clear()
        assert await hasher.verify(GOOD, stored) == Verdict(ok=False, rehash=False)
        assert argon2_calls == unknown_user == ["mismatch"] * 2, "composed and taken apart"
        logged = capsys.readouterr()
        assert "cannot be read" in logged.out + logged.err
        assert GOOD not in logged.out + logged.err
        assert len(stored) < 2 or stored not in logged.out + logged.err
        hasher.close()


class Blockade:
    """Jobs that hold the hasher's threads until they are let go."""

    def __init__(self, hasher, count):
        self.hasher = hasher
        self.go = threading.Event()
        self.started = threading.Semaphore(0)
        self.tasks = [asyncio.ensure_future(hasher._run(self._job)) for _ in range(count)]

    def _job(self):
        self.started.release()
        assert self.go.wait(30)
        return "done"

    async def wait_until_running(self, count):
        for _ in range(count):
            assert await asyncio.to_thread(self.started.acquire, timeout=30)

    async def end(self):
        self.go.set()
        return await asyncio.gather(*self.tasks, return_exceptions=True)


class TestAdmission:
    async def test_more_than_fits_is_refused_at_once(self):
        hasher = make_hasher(threads=2, queue_limit=3)
        blockade = Blockade(hasher, 5)
        await blockade.wait_until_running(2)
        assert (hasher.running, hasher.waiting) == (2, 3)
        refused = await asyncio.gather(*(hasher.hash(GOOD) for _ in range(50)), return_exceptions=True)
        assert all(isinstance(error, ServerBusy) for error in refused)
        assert refused[0].retry_after == timedelta(seconds=1)
        for call in (hasher.verify(GOOD, None), hasher.check_and_hash(GOOD, [])):
            with pytest.raises(ServerBusy):
                await call
        assert await blockade.end() == ["done"] * 5
        assert (hasher.running, hasher.waiting) == (0, 0)
        assert await hasher.hash(GOOD)
        hasher.close()

    async def test_never_more_threads_than_allowed(self):
        hasher = make_hasher(threads=2, queue_limit=30)
        lock, now, most = threading.Lock(), 0, 0

        def job():
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            hasher._hash(GOOD)
            with lock:
                now -= 1

        await asyncio.gather(*(hasher._run(job) for _ in range(32)))
        assert most <= 2
        hasher.close()

    async def test_no_queue_at_all(self):
        hasher = make_hasher(threads=1, queue_limit=0)
        blockade = Blockade(hasher, 1)
        await blockade.wait_until_running(1)
        with pytest.raises(ServerBusy):
            await hasher.hash(GOOD)
        await blockade.end()
        assert await hasher.hash(GOOD)
        hasher.close()

    async def test_abandoned_running_job_keeps_its_place_until_it_ends(self):
        """Threat: calls that give up at once and come again would pile up work without limit."""
        hasher = make_hasher(threads=1, queue_limit=0)
        blockade = Blockade(hasher, 1)
        await blockade.wait_until_running(1)
        blockade.tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await blockade.tasks[0]
        assert hasher.running == 1
        with pytest.raises(ServerBusy):
            await hasher.hash(GOOD)
        blockade.go.set()
        hasher._pool.submit(lambda: None).result(30)  # runs after the abandoned one: that one has ended
        assert (hasher.running, hasher.waiting) == (0, 0)
        assert await hasher.hash(GOOD)
        hasher.close()

    async def test_abandoned_waiting_job_never_runs_and_frees_its_place(self):
        hasher = make_hasher(threads=1, queue_limit=1)
        blockade = Blockade(hasher, 1)
        await blockade.wait_until_running(1)
        ran = []
        waiting = asyncio.ensure_future(hasher._run(lambda: ran.append("x")))
        await asyncio.sleep(0)
        assert hasher.waiting == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (hasher.running, hasher.waiting) == (1, 0)
        await blockade.end()
        assert await hasher.hash(GOOD)
        assert ran == []
        hasher.close()

    async def test_failing_job_frees_its_place(self):
        hasher = make_hasher(threads=1, queue_limit=0)
        for _ in range(3):
            with pytest.raises(PasswordRefused):
                await hasher.check_and_hash("short", [])
        assert (hasher.running, hasher.waiting) == (0, 0)
        hasher.close()

    async def test_event_loop_goes_on_while_a_thread_hashes(self):
        hasher = make_hasher(threads=1, queue_limit=1)
        blockade = Blockade(hasher, 1)
        await blockade.wait_until_running(1)
        real = asyncio.ensure_future(hasher.hash(GOOD))
        turns = itertools.count()
        for _ in range(100):
            next(turns)
            await asyncio.sleep(0)
        assert next(turns) == 100
        assert not real.done()
        await blockade.end()
        assert await real
        hasher.close()

    async def test_closed(self, hasher):
        assert await hasher.hash(GOOD)
        hasher.close()
        with pytest.raises(ShuttingDown):
            await hasher.hash(GOOD)
        assert (hasher.running, hasher.waiting) == (0, 0)

    async def test_close_waits_for_what_was_admitted(self):
        hasher = make_hasher(threads=1, queue_limit=3)
        calls = [asyncio.ensure_future(hasher.hash(GOOD)) for _ in range(4)]
        await asyncio.sleep(0)
        hasher.close()
        assert len(await asyncio.gather(*calls)) == 4
