"""Passwords: which are taken, how they are hashed, and how hashing is kept from stopping everything else.

Hides argon2, the lists of common passwords and the threads. One hash costs about 20 ms and 19 MiB by design, so
whoever can try to sign in can make the server work: a bounded number of hashes runs at a time, off the event loop,
a bounded number waits, and more are refused at once.
"""

import asyncio
import contextlib
import os
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypeVar

import argon2
import structlog
from argon2.exceptions import VerificationError, VerifyMismatchError

from watchword.server.config import Argon2Parameters
from watchword.server.errors import PasswordRefused, ServerBusy, ShuttingDown
from watchword.server.foreign_hashes import HashRefused, recognise
from watchword.server.identifiers import Randomness

MIN_CHARACTERS: Final = 8
MAX_CHARACTERS: Final = 256

_NICENESS: Final = 10
_GUESSES: Final = 10_000
_PATTERN_CHARACTERS: Final = 40  # no word on the lists has more than 23
_OWN_WORD_CHARACTERS: Final = 3
_FREE_CHARACTERS: Final = 6

_SIGNS_FOR_LETTERS: Final = str.maketrans("4@8({[<369!0$5+7%2", "aabcccceggiossttxz")

T = TypeVar("T")

log = structlog.get_logger()


def normalize(password: str) -> str:
    """Bring a password to NFC, as NIST SP 800-63B-4 section 3.1.1.2 has it: keyboards differ in what they compose."""
    return unicodedata.normalize("NFC", password)


def _forms(password: str) -> list[bytes]:
    """Give the forms in which a password may have been hashed, this server's own first.

    Other software hashed what was typed: composed on one keyboard and taken apart on another. So a hash that does not
    fit the composed form is tried with the password as it came, and taken apart. For ASCII these are all the same.
    """
    forms = (normalize(password), password, unicodedata.normalize("NFD", password))
    return [form.encode() for form in dict.fromkeys(forms)]


class PasswordPolicy:
    """Which new passwords are taken: long enough, not easily guessed, not made of the user's own words."""

    __slots__ = ("_product_words",)

    def __init__(self, *, product_words: Iterable[str] = ("watchword",)) -> None:
        self._product_words = frozenset(product_words)

    def check(self, password: str, *, own_words: Iterable[str]) -> None:
        """Refuse a bad password. Takes up to 2 ms of processor time.

        `own_words` are the user's e-mail address, username and display name as they are; they are taken apart here.

        Raises:
            PasswordRefused: with rule too_short, too_long, common or personal.

        """
        password = normalize(password)
        if len(password) < MIN_CHARACTERS:
            raise PasswordRefused("too_short")
        if len(password) > MAX_CHARACTERS:
            raise PasswordRefused("too_long")
        if _is_common(password):
            raise PasswordRefused("common")
        words = {word for text in (*own_words, *self._product_words) for word in _words(text)}
        if _is_personal(password, words):
            raise PasswordRefused("personal")


def _spellings(text: str) -> Iterator[str]:
    """Give the text, and what it reads as when signs stand for letters ("p4ssw0rd")."""
    yield text
    plain = text.translate(_SIGNS_FOR_LETTERS)
    if plain != text or "1" in text or "|" in text:
        yield plain.replace("1", "i").replace("|", "i")
        yield plain.replace("1", "l").replace("|", "l")


def _is_common(password: str) -> bool:
    """Tell whether a list of common passwords has it, or zxcvbn thinks that 10,000 guesses find it.

    zxcvbn adds 10,000 guesses for every further pattern, so only a text that is one pattern as a whole, or repeats
    one, can be below: only that is asked for. Threat: all of zxcvbn takes more than a second for 60 well-chosen signs
    (it tries every combination of letters they may stand for) and keeps its state in a global that threads share.
    """
    period = (password + password).find(password, 1)
    repeats = len(password) // period
    if period > _PATTERN_CHARACTERS:
        return False
    return any(_is_guessable(spelling, repeats) for spelling in _spellings(password[:period]))


def _is_guessable(text: str, repeats: int) -> bool:
    from zxcvbn import matching, scoring  # noqa: PLC0415 - lists of 12 MiB, for a worker that is given new passwords

    if scoring.BRUTEFORCE_CARDINALITY ** len(text) * repeats < _GUESSES:
        return True
    return any(
        match.get("dictionary_name") == "passwords" or scoring.estimate_guesses(match, text) * repeats < _GUESSES
        for find in (
            matching.dictionary_match,
            matching.reverse_dictionary_match,
            matching.spatial_match,
            matching.sequence_match,
            matching.date_match,
        )
        for match in find(text)
        if match["i"] == 0 and match["j"] == len(text) - 1
    )


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _words(text: str) -> list[str]:
    """Take a name or address apart: what is no letter, mark or digit separates; short words are left out."""
    letters = (sign if unicodedata.category(sign)[0] in "LMN" else " " for sign in _fold(text))
    return [word for word in "".join(letters).split() if len(word) >= _OWN_WORD_CHARACTERS]


def _is_personal(password: str, words: Iterable[str]) -> bool:
    """Tell whether too little of the password remains without the user's words."""
    longest_first = sorted(words, key=lambda word: (-len(word), word))
    for spelling in _spellings(_fold(password)):
        rest = spelling
        for word in longest_first:
            rest = rest.replace(word, " ")
        free = sum(unicodedata.category(sign)[0] in "LN" for sign in rest)
        if rest != spelling and free < _FREE_CHARACTERS:
            return True
    return False


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a password is right and, if so, whether its hash should be made anew with today's parameters."""

    ok: bool
    rehash: bool


class PasswordHasher:
    """Hashes and verifies passwords with argon2id in its own threads.

    At most `threads` hashes run and `queue_limit` wait. Every method raises ServerBusy at once beyond that, and
    ShuttingDown after `close()`.
    """

    def __init__(
        self,
        parameters: Argon2Parameters,
        *,
        policy: PasswordPolicy,
        threads: int,
        queue_limit: int,
        randomness: Randomness,
        retry_after: timedelta = timedelta(seconds=1),
    ) -> None:
        self._argon2 = argon2.PasswordHasher(
            time_cost=parameters.time, memory_cost=parameters.memory_kib, parallelism=parameters.parallelism
        )
        self._policy = policy
        self._randomness = randomness
        self._retry_after = retry_after
        self._dummy = self._hash(randomness(32).hex())
        self._capacity = threads + queue_limit
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="passwords", initializer=_step_back)
        self._lock = threading.Lock()
        self._admitted = 0
        self._running = 0
        self.begun = 0
        """Jobs that a thread has begun, in all."""
        self.waited_seconds = 0.0
        """For how long these had waited, together."""

    @property
    def running(self) -> int:
        """Jobs that a thread works on."""
        return self._running

    @property
    def waiting(self) -> int:
        """Jobs that wait for a thread."""
        with self._lock:
            return self._admitted - self._running

    async def hash(self, password: str) -> str:
        """Hash a password; the answer is a PHC string with its own salt and parameters."""
        return await self._run(lambda: self._hash(password))

    async def check_and_hash(self, password: str, own_words: Iterable[str]) -> str:
        """Check a new password against the policy and hash it.

        Raises:
            PasswordRefused: see `PasswordPolicy.check`.

        """

        def job() -> str:
            self._policy.check(password, own_words=own_words)
            return self._hash(password)

        return await self._run(job)

    async def verify(self, password: str, stored: str | None, *, decoy: str | None = None) -> Verdict:
        """Verify a password against a stored hash, or against none if there is no such user or password.

        The hash is this server's own or one that was brought along (foreign_hashes).

        Threat: telling accounts apart by the time that an answer takes. Without a hash, or with one that cannot be
        read, the same work is done on a decoy (decoys.py), or on a hash that nobody knows a password of.
        """
        verdict = await self._run(lambda: self._verify(password, stored, decoy))
        if verdict is None:
            log.error("A stored password hash cannot be read; its user cannot sign in with a password.")
        return verdict or Verdict(ok=False, rehash=False)

    def close(self) -> None:
        """Take no more jobs and wait for those admitted."""
        self._pool.shutdown()

    def _hash(self, password: str) -> str:
        salt = self._randomness(self._argon2.salt_len)
        return self._argon2.hash(normalize(password).encode(), salt=salt)

    def _verify(self, password: str, stored: str | None, decoy: str | None) -> Verdict | None:
        """Verify; None if the stored hash cannot be read."""
        forms = _forms(password)
        if stored is not None:
            with contextlib.suppress(HashRefused, ValueError, VerificationError):  # raised before any work is done
                return self._compare(forms, stored)
        self._compare(forms, decoy or self._dummy)
        return Verdict(ok=False, rehash=False) if stored is None else None

    def _compare(self, forms: Sequence[bytes], stored: str) -> Verdict:
        """Compare all forms of a password with a hash: this server's own, or one that was brought along."""
        # Of argon2 are its own, under whatever parameters it had. No limit of today may lock their users out.
        is_argon2 = stored.startswith("$argon2")
        matches = partial(self._is_made_of, stored) if is_argon2 else recognise(stored).matches
        for form in forms:
            if matches(form):
                is_todays = is_argon2 and form == forms[0] and not self._argon2.check_needs_rehash(stored)
                return Verdict(ok=True, rehash=not is_todays)
        return Verdict(ok=False, rehash=False)

    def _is_made_of(self, stored: str, form: bytes) -> bool:
        try:
            return self._argon2.verify(stored, form)
        except VerifyMismatchError:
            return False

    async def _run(self, job: Callable[[], T]) -> T:
        with self._lock:
            if self._admitted >= self._capacity:
                raise ServerBusy(
                    "Too many passwords wait to be checked: try again later.", retry_after=self._retry_after
                )
            self._admitted += 1
        try:
            future = self._pool.submit(self._counted, job, time.perf_counter())
        except RuntimeError:
            self._leave(started=False)
            raise ShuttingDown from None
        # A caller that goes away takes a waiting job along; a running one keeps its place until it really ends,
        # or callers that give up quickly would pile up work without limit.
        future.add_done_callback(self._ended)
        return await asyncio.wrap_future(future)

    def _counted(self, job: Callable[[], T], submitted: float) -> T:
        with self._lock:
            self._running += 1
            self.begun += 1
            self.waited_seconds += time.perf_counter() - submitted
        return job()

    def _ended(self, future: Future[Any]) -> None:
        self._leave(started=not future.cancelled())

    def _leave(self, *, started: bool) -> None:
        with self._lock:
            self._admitted -= 1
            self._running -= started


def _step_back() -> None:
    """Let this thread wait for those that answer other calls: for them a hash takes long.

    Threat: a storm of sign-ins that makes every other answer late.
    """
    if sys.platform == "linux":  # only there has a thread a priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
