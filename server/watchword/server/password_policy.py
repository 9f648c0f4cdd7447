"""Which new passwords are taken: long enough, not easily guessed, not made of the user's own words.

NIST SP 800-63B-4 section 3.1.1.2: a length, a list of common passwords, and no rules about kinds of characters.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

MIN_CHARACTERS: Final = 8
MAX_CHARACTERS: Final = 256

_GUESSES: Final = 10_000
_PATTERN_CHARACTERS: Final = 40  # no word on the lists has more than 23
_OWN_WORD_CHARACTERS: Final = 3
_FREE_CHARACTERS: Final = 6

_SIGNS_FOR_LETTERS: Final = str.maketrans("4@8({[<369!0$5+7%2", "aabcccceggiossttxz")


def normalize(password: str) -> str:
    """Bring a password to NFC, as NIST SP 800-63B-4 section 3.1.1.2 has it: keyboards differ in what they compose."""
    return unicodedata.normalize("NFC", password)


def forms(password: str) -> list[bytes]:
    """Give the forms in which a password may have been hashed, this server's own first.

    Other software hashed what was typed: composed on one keyboard and taken apart on another. So a hash that does not
    fit the composed form is tried with the password as it came, and taken apart. For ASCII these are all the same.
    """
    every = (normalize(password), password, unicodedata.normalize("NFD", password))
    return [form.encode() for form in dict.fromkeys(every)]


class PasswordPolicy:
    """Which new passwords are taken: long enough, not easily guessed, not made of the user's own words."""

    __slots__ = ("_product_words",)

    def __init__(self, *, product_words: Iterable[str] = ("watchword",)) -> None:
        self._product_words = frozenset(product_words)

    def broken_rule(self, password: str, *, own_words: Iterable[str]) -> str | None:
        """Tell which rule a password breaks: too_short, too_long, common or personal. Takes up to 2 ms of a processor.

        `own_words` are the user's e-mail address, username and display name as they are; they are taken apart here.
        """
        password = normalize(password)
        if len(password) < MIN_CHARACTERS:
            return "too_short"
        if len(password) > MAX_CHARACTERS:
            return "too_long"
        if _is_common(password):
            return "common"
        words = {word for text in (*own_words, *self._product_words) for word in _words(text)}
        if _is_personal(password, words):
            return "personal"
        return None


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
    from zxcvbn import matching, scoring  # noqa: PLC0415 - lists of 12 MiB, for a process that is given new passwords

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
