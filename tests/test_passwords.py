"""Which passwords are taken, that hashes are argon2id, and that hashing never stops the server."""

# ruff: noqa: RUF001  (other scripts are the point)

import asyncio
import os
import signal
import subprocess
import sys
import time
import unicodedata
from datetime import timedelta
from pathlib import Path

import argon2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zxcvbn import zxcvbn

from watchword.server import hashing, passwords
from watchword.server.config import Argon2Parameters
from watchword.server.errors import PasswordRefused, ServerBusy, ShuttingDown
from watchword.server.hashing import SALT_BYTES, Hashing, Verdict, phc_string
from watchword.server.password_policy import MAX_CHARACTERS, MIN_CHARACTERS, PasswordPolicy, normalize
from watchword.server.passwords import PasswordHasher, _cores_for

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
WEAK = Argon2Parameters(memory_kib=8, time=1, allow_weak=True)
GOOD = "hvězda nad Tatrou"
OWN_WORDS = ["ana.silva@shop.example", "anasilva", "Ana Maria da Silva"]

any_text = st.text(st.characters(exclude_categories=["Cs"]))


DUMMY = phc_string(WEAK, bytes(SALT_BYTES), bytes(32))


def make_hasher(parameters=WEAK, *, processes=2, queue_limit=4, **more):
    return PasswordHasher(parameters, processes=processes, queue_limit=queue_limit, randomness=os.urandom, **more)


@pytest.fixture
async def hasher():
    hasher = make_hasher()
    yield hasher
    await hasher.close()


@pytest.fixture
def argon2_calls(monkeypatch):
    """Count the hashes that are really computed, by either library; they are still computed."""
    calls = []

    def count(module, name):
        real = getattr(module, name)

        def counting(*args, **kwargs):
            try:
                result = real(*args, **kwargs)
            except argon2.exceptions.VerifyMismatchError:
                calls.append(name)
                raise
            calls.append(name)
            return result

        monkeypatch.setattr(module, name, counting)

    count(hashing, "crypto_pwhash_alg")
    count(argon2._password_hasher, "verify_secret")
    return calls


def refusal(password, own_words=()):
    return PasswordPolicy().broken_rule(password, own_words=own_words)


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
        await hasher.close()

    async def test_salt_comes_from_the_given_randomness(self):
        hasher = PasswordHasher(WEAK, processes=1, queue_limit=1, randomness=bytes)
        assert "$AAAAAAAAAAAAAAAAAAAAAA$" in await hasher.hash(GOOD)
        await hasher.close()

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
    def test_unknown_user_costs_the_same_work(self, argon2_calls, parameters):
        hashes = Hashing(parameters)
        stored, decoy = hashes.hash(GOOD, bytes(SALT_BYTES)), phc_string(parameters, bytes(SALT_BYTES), bytes(32))
        argon2_calls.clear()
        assert hashes.verify("wrong one", stored, decoy=decoy) == Verdict(ok=False, rehash=False)
        assert hashes.verify("wrong one", None, decoy=decoy) == Verdict(ok=False, rehash=False)
        assert argon2_calls == ["crypto_pwhash_alg"] * 2

    @given(
        st.binary(max_size=300),
        st.binary(min_size=8, max_size=24) | st.binary(min_size=SALT_BYTES, max_size=SALT_BYTES),
        st.integers(8, 64),
        st.integers(1, 3),
        st.integers(1, 2),
        st.integers(4, 70),
    )
    def test_both_libraries_make_the_same_hashes(self, password, salt, memory_kib, passes, lanes, length):
        memory_kib *= lanes
        cost = Argon2Parameters(memory_kib=memory_kib, time=passes, parallelism=lanes, allow_weak=True)
        theirs = argon2.low_level.hash_secret_raw(
            password, salt, passes, memory_kib, lanes, length, argon2.low_level.Type.ID
        )
        ours = hashing._argon2id(password, salt, cost, length)
        assert ours == (theirs if lanes == 1 and len(salt) == SALT_BYTES and length >= 16 else None)
        stored = phc_string(cost, salt, theirs)
        assert Hashing(WEAK)._is_made_of(stored, password)
        assert not Hashing(WEAK)._is_made_of(stored, password + b"x")

    @pytest.mark.parametrize("parameters", [WEAK, Argon2Parameters(memory_kib=65536, time=3, parallelism=4)])
    def test_argon2_cffi_reads_them(self, parameters):
        stored = Hashing(parameters).hash(GOOD, os.urandom(SALT_BYTES))
        assert argon2.PasswordHasher().verify(stored, normalize(GOOD))
        assert argon2.extract_parameters(stored).memory_cost == parameters.memory_kib

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
            "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAB",
            "$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$c29tZXNhbHRzb21lc2FsdA",
            "pbkdf2_sha256$600000$salt$hash",
            "$2b$12$abcdefghijklmnopqrstuv",
        ],
    )
    async def test_unreadable_hash_is_a_wrong_password_with_the_same_work(self, argon2_calls, capsys, hasher, stored):
        hashes = Hashing(WEAK)
        assert hashes.verify(GOOD, None, decoy=DUMMY) == Verdict(ok=False, rehash=False)
        unknown_user = argon2_calls.copy()
        argon2_calls.clear()
        assert hashes.verify(GOOD, stored, decoy=DUMMY) is None
        assert argon2_calls == unknown_user == ["crypto_pwhash_alg"] * 2, "composed and taken apart"
        assert await hasher.verify(GOOD, stored) == Verdict(ok=False, rehash=False)
        logged = capsys.readouterr()
        assert "cannot be read" in logged.out + logged.err
        assert GOOD not in logged.out + logged.err
        assert len(stored) < 2 or stored not in logged.out + logged.err


async def until(condition):
    """Wait for what other processes do; the test's time limit ends it."""
    while not condition():  # noqa: ASYNC110 - nobody here is told
        await asyncio.sleep(0.001)


def told(pid, what):
    return Path(f"/proc/{pid}/{what}").read_bytes()


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


class Held:
    """A hasher's processes, stopped until they are let go."""

    def __init__(self, hasher):
        self.pids = [process._process.pid for process in hasher._resting]
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)

    @classmethod
    async def of(cls, hasher, count):
        await asyncio.gather(*(hasher.hash(GOOD) for _ in range(count)))
        held = cls(hasher)
        assert len(held.pids) == count
        return held

    def let_go(self):
        for pid in self.pids:
            os.kill(pid, signal.SIGCONT)


class TestAdmission:
    async def test_more_than_fits_is_refused_at_once(self):
        hasher = make_hasher(processes=2, queue_limit=3)
        held = await Held.of(hasher, 2)
        admitted = [asyncio.ensure_future(hasher.hash(GOOD)) for _ in range(5)]
        await until(lambda: hasher.running == 2)
        assert (hasher.running, hasher.waiting) == (2, 3)
        refused = await asyncio.gather(*(hasher.hash(GOOD) for _ in range(50)), return_exceptions=True)
        assert all(isinstance(error, ServerBusy) for error in refused)
        assert refused[0].retry_after == timedelta(seconds=1)
        for call in (hasher.verify(GOOD, None), hasher.check_and_hash(GOOD, [])):
            with pytest.raises(ServerBusy):
                await call
        held.let_go()
        assert len(set(await asyncio.gather(*admitted))) == 5
        assert (hasher.running, hasher.waiting) == (0, 0)
        assert await hasher.hash(GOOD)
        await hasher.close()

    async def test_never_more_processes_than_allowed(self):
        hasher = make_hasher(processes=2, queue_limit=30)
        most = []
        calls = [asyncio.ensure_future(hasher.hash(GOOD)) for _ in range(32)]
        for call in calls:
            call.add_done_callback(lambda _: most.append(hasher.running))
        await asyncio.gather(*calls)
        assert max(most) <= 2
        assert len(hasher._resting) == 2
        assert hasher.begun == 32
        await hasher.close()

    async def test_no_queue_at_all(self):
        hasher = make_hasher(processes=1, queue_limit=0)
        held = await Held.of(hasher, 1)
        only = asyncio.ensure_future(hasher.hash(GOOD))
        await until(lambda: hasher.running)
        with pytest.raises(ServerBusy):
            await hasher.hash(GOOD)
        held.let_go()
        assert await only
        assert await hasher.hash(GOOD)
        await hasher.close()

    async def test_abandoned_running_job_keeps_its_place_until_it_ends(self):
        """Threat: calls that give up at once and come again would pile up work without limit."""
        hasher = make_hasher(processes=1, queue_limit=0)
        held = await Held.of(hasher, 1)
        abandoned = asyncio.ensure_future(hasher.hash(GOOD))
        await until(lambda: hasher.running)
        abandoned.cancel()
        with pytest.raises(asyncio.CancelledError):
            await abandoned
        assert hasher.running == 1
        with pytest.raises(ServerBusy):
            await hasher.hash(GOOD)
        held.let_go()
        await until(lambda: not hasher.running)
        assert hasher.waiting == 0
        stored = await hasher.hash("another one")
        assert (await hasher.verify("another one", stored)).ok, "nobody gets the outcome of what was abandoned"
        await hasher.close()

    async def test_abandoned_waiting_job_never_runs_and_frees_its_place(self):
        hasher = make_hasher(processes=1, queue_limit=1)
        held = await Held.of(hasher, 1)
        running = asyncio.ensure_future(hasher.hash(GOOD))
        await until(lambda: hasher.running)
        waiting = asyncio.ensure_future(hasher.hash(GOOD))
        await until(lambda: hasher.waiting)
        begun = hasher.begun
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (hasher.running, hasher.waiting) == (1, 0)
        held.let_go()
        assert await running
        assert hasher.begun == begun
        assert await hasher.hash(GOOD)
        await hasher.close()

    async def test_refused_password_frees_its_place(self):
        hasher = make_hasher(processes=1, queue_limit=0)
        for _ in range(3):
            with pytest.raises(PasswordRefused):
                await hasher.check_and_hash("short", [])
        assert (hasher.running, hasher.waiting) == (0, 0)
        await hasher.close()

    async def test_closed(self, hasher):
        assert await hasher.hash(GOOD)
        await hasher.close()
        with pytest.raises(ShuttingDown):
            await hasher.hash(GOOD)
        assert (hasher.running, hasher.waiting) == (0, 0)

    async def test_close_waits_for_what_was_admitted(self):
        hasher = make_hasher(processes=1, queue_limit=3)
        held = await Held.of(hasher, 1)
        calls = [asyncio.ensure_future(hasher.hash(GOOD)) for _ in range(4)]
        await until(lambda: hasher.waiting == 3)
        closing = asyncio.ensure_future(hasher.close())
        held.let_go()
        await closing
        assert len(await asyncio.gather(*calls)) == 4
        assert not lives(held.pids[0])


class TestProcesses:
    async def test_one_that_dies_fails_its_job_alone(self, capsys):
        hasher = make_hasher(processes=1, queue_limit=1)
        held = await Held.of(hasher, 1)
        first, second = (asyncio.ensure_future(hasher.hash(GOOD)) for _ in range(2))
        await until(lambda: hasher.running)
        os.kill(held.pids[0], signal.SIGKILL)
        with pytest.raises(ServerBusy, match="could not be checked"):
            await first
        assert (await hasher.verify(GOOD, await second)).ok
        assert (hasher.running, hasher.waiting) == (0, 0)
        await hasher.close()
        logged = capsys.readouterr()
        assert "has died" in logged.out + logged.err
        assert GOOD not in logged.out + logged.err

    async def test_one_that_died_while_it_rested_is_replaced(self):
        hasher = make_hasher(processes=1, queue_limit=1)
        held = await Held.of(hasher, 1)
        os.kill(held.pids[0], signal.SIGKILL)
        await until(lambda: not hasher._resting[0].is_there)
        assert await hasher.hash(GOOD)
        assert [process._process.pid for process in hasher._resting] != held.pids
        await hasher.close()

    async def test_idle_ones_end(self):
        hasher = make_hasher(idle=timedelta(milliseconds=1))
        for _ in range(2):  # and begin again
            assert await hasher.hash(GOOD)
            await until(lambda: not hasher._resting and not hasher._endings)
        assert sorted(hasher._cores, key=str) == sorted(_cores_for(2), key=str)
        await hasher.close()

    async def test_one_that_is_ending_is_in_nobodys_way(self):
        hasher = make_hasher(processes=1)
        held = await Held.of(hasher, 1)
        hasher._dismiss(hasher._resting[0])
        assert await hasher.hash(GOOD), "by another one: this one is stopped, and cannot end"
        held.let_go()
        await hasher.close()
        assert not lives(held.pids[0])

    @pytest.mark.parametrize(("limit", "call"), [("_JOB_SECONDS", "hash"), ("_END_SECONDS", "close")])
    async def test_one_that_hangs_is_killed(self, monkeypatch, limit, call):
        hasher = make_hasher(processes=1)
        held = await Held.of(hasher, 1)
        monkeypatch.setattr(passwords, limit, 0.05)
        if call == "hash":
            with pytest.raises(ServerBusy, match="could not be checked"):
                await hasher.hash(GOOD)
            monkeypatch.undo()
            assert await hasher.hash(GOOD)
        await hasher.close()
        assert not lives(held.pids[0])

    async def test_a_job_that_fails_costs_no_process_and_tells_nothing(self):
        hasher = make_hasher(processes=1)
        held = await Held.of(hasher, 1)
        held.let_go()
        with pytest.raises(RuntimeError, match="could not be hashed: UnicodeEncodeError") as caught:
            await hasher.hash(GOOD + "\ud800")
        assert GOOD not in str(caught.value)
        assert await hasher.hash(GOOD)
        assert [process._process.pid for process in hasher._resting] == held.pids
        await hasher.close()

    async def test_a_signal_for_all_processes_of_the_server_is_for_the_server(self):
        """Threat: Ctrl-C, or a stop by systemd, that fails the sign-ins which the server would let end."""
        hasher = make_hasher(processes=1, queue_limit=1)
        held = await Held.of(hasher, 1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(held.pids[0], number)
        call = asyncio.ensure_future(hasher.hash(GOOD))
        held.let_go()
        assert (await hasher.verify(GOOD, await call)).ok
        assert [process._process.pid for process in hasher._resting] == held.pids
        await hasher.close()

    async def test_they_have_none_of_the_servers_secrets(self, monkeypatch):
        monkeypatch.setenv("WATCHWORD_MASTER_KEY", "k1:c2VjcmV0")
        monkeypatch.setenv("PGPASSWORD", "c2VjcmV0")
        hasher = make_hasher(processes=1)
        held = await Held.of(hasher, 1)
        assert b"c2VjcmV0" not in told(held.pids[0], "environ")
        assert GOOD.encode() not in told(held.pids[0], "cmdline")
        held.let_go()
        await hasher.close()

    @pytest.mark.parametrize("niceness", [19, 5])
    async def test_they_step_back(self, niceness):
        hasher = make_hasher(processes=1, niceness=niceness)
        held = await Held.of(hasher, 1)
        assert os.getpriority(os.PRIO_PROCESS, held.pids[0]) == niceness
        assert os.sched_getscheduler(held.pids[0]) == os.SCHED_BATCH
        held.let_go()
        await hasher.close()

    def test_each_has_its_core_if_all_cores_get_as_many(self):
        cores = sorted(os.sched_getaffinity(0))
        assert sorted(_cores_for(2 * len(cores))) == sorted(cores * 2)
        assert _cores_for(len(cores) + 1) == [None] * (len(cores) + 1) or len(cores) == 1

    def test_none_is_left_behind_by_a_server_that_is_killed(self):
        script = """
import asyncio, os
from watchword.server.config import Argon2Parameters
from watchword.server.passwords import PasswordHasher
async def main():
    cost = Argon2Parameters(memory_kib=8, time=1, allow_weak=True)
    hasher = PasswordHasher(cost, processes=1, queue_limit=1, randomness=os.urandom)
    await hasher.hash("a password")
    print(hasher._resting[0]._process.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as server:
            pid = int(server.stdout.readline())
            assert lives(pid)
            server.kill()
        asyncio.run(until(lambda: not lives(pid)))
