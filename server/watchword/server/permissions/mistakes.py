"""The sentence that a person gets for a token that does not fit."""

from typing import Final

from watchword.server.permissions.lexer import (
    CONTAINER,
    DOTTED,
    END,
    HEADINGS,
    LINE,
    NAME,
    PARAMETER,
    PARAMETER_TYPES,
    SPACE,
    VERSION,
    Tokens,
)

_WORDS: Final = {
    SPACE: "a space",
    LINE: "a new line",
    END: "the end",
    NAME: "a name",
    DOTTED: "a name",
    VERSION: "a schema version such as 1.1",
    PARAMETER: f"a type ({', '.join(sorted(PARAMETER_TYPES))})",
    CONTAINER: "list<…> or map<…>",
}
_OPERATORS: Final = ("or", "and", "but not")
_MAX_SHOWN: Final = 60


def sentence(tokens: Tokens, index: int, expected: frozenset[str]) -> str:
    """Say what is wrong with a token and what to do, given what would have fitted."""
    kinds, texts = tokens.kinds, tokens.texts
    # A space by itself says little: what matters is the word behind it.
    at = index + 1 if kinds[index] == SPACE and kinds[index + 1] not in {LINE, END} else index
    kind = kinds[at]
    if kind in _OPERATORS and expected & {LINE, ")"}:
        return f"'{kind}' cannot follow here: put parentheses around what belongs together before it is combined."
    if kind == "[" and "(" in expected:
        return "Types in brackets stand once, at the start of a definition: move them there, or name a relation."
    if texts[at] == "as" and ":" in expected:
        return "'as' is the language of schema 1.0: write 'define name: …'."
    if kind == "define" and "define" not in expected and expected & {"type", "condition"}:
        return "'define' has its place below 'relations', in a type: add 'relations' above."
    return f"Expected {_either(expected)}, found {_shown(kind, texts[at])}."


def _either(expected: frozenset[str]) -> str:
    # Where names fit, some keywords fit as names: not worth a word.
    kinds = expected - HEADINGS if NAME in expected else expected
    words = sorted({_WORDS.get(kind, f"'{kind}'") for kind in kinds})
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _shown(kind: str, text: str) -> str:
    if kind in {SPACE, LINE, END}:
        return _WORDS[kind]
    return f"'{text}'" if len(text) <= _MAX_SHOWN else f"'{text[:_MAX_SHOWN]}…'"
