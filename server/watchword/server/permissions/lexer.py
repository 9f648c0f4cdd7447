"""Cuts DSL into tokens, so that whatever is wrong later has its place.

Spaces and line breaks are tokens: the language gives them meaning. The names of types of parameters are words
of their own only between `condition` and `)`, which is why the lexer has two modes. Tokens are cut as OpenFGA's
own lexer cuts them (the longest match, and among equals the more special), since the places of errors depend on it.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from watchword.server.permissions.problems import Position, Problem, ProblemKind

SPACE: Final = "SPACE"
LINE: Final = "LINE"
NAME: Final = "NAME"
DOTTED: Final = "DOTTED"
VERSION: Final = "VERSION"
PARAMETER: Final = "PARAMETER"
CONTAINER: Final = "CONTAINER"
OTHER: Final = "OTHER"
END: Final = "END"

HEADINGS: Final = frozenset(("module", "model", "schema", "extend", "type", "relation"))
"""Keywords that can also be names."""

_RESERVED: Final = ("and", "or", "from", "with", "condition", "relations", "define", "in", "true", "false", "null")
KEYWORDS: Final = HEADINGS.union(_RESERVED)
_COMMENT: Final = "COMMENT"
_BAD: Final = "BAD"
_END_TEXT: Final = "<EOF>"

_ESCAPE = r"""\\(?:[abfnrtv"'\\?`]|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2})"""
_STRING = "|".join(
    (
        r'[rR]"""(?s:.*?)"""',
        r"[rR]'''(?s:.*?)'''",
        r'[rR]"[^"\n\r]*"',
        r"[rR]'[^'\n\r]*'",
        rf'"""(?:{_ESCAPE}|[^\\])*?"""',
        rf"'''(?:{_ESCAPE}|[^\\])*?'''",
        rf'"(?:{_ESCAPE}|[^\\"\n\r])*"',
        rf"'(?:{_ESCAPE}|[^\\'\n\r])*'",
    )
)
_DOTTED = r"[A-Za-z_]\w*(?:[/.-]\w+)*"
_DASHED = r"[A-Za-z_]\w*(?:-\w+)*-(?!\w)[\w-]*"  # a name that ends with a dash or holds two in a row
_NAME = re.compile(rf"(?:{_DASHED})|(?:{_DOTTED})", re.ASCII)
_TOKEN = re.compile(
    rf"""
      (?P<SPACE>[ \t\f\r\n]+)
    | (?P<STRING>[bB]?(?:{_STRING}))
    | (?P<MARK>but\ not|==|!=|<=|>=|&&|\|\||[#:,<>\[\]{{}}()!?+*%-])
    | (?P<WORD>{_DASHED}|{_DOTTED})
    | (?P<COMMENT>//[^\n]*)
    | (?P<VERSION>\d+\.\d+(?![eE][+-]?\d))
    | (?P<OTHER>0x[0-9a-fA-F]+[uU]?|(?:\d+(?:\.\d+)?|\.\d+)[eE][+-]?\d+|\.\d+|\d+[uU]?|[./])
    | (?P<BAD>(?s:.))
    """,
    re.VERBOSE | re.ASCII,
)
_PARAMETER_TOKEN = re.compile(
    r"""
      (?P<SPACE>[ \t\f]+)
    | (?P<WORD>[A-Za-z_][\w-]*)
    | (?P<MARK>[<>():,])
    | (?P<BAD>(?s:.))
    """,
    re.VERBOSE | re.ASCII,
)
PARAMETER_TYPES: Final = frozenset(("bool", "string", "int", "uint", "double", "duration", "timestamp", "ipaddress"))
_CONTAINERS: Final = frozenset(("list", "map"))


def is_name(text: str) -> bool:
    """Whether a type or a relation can have this name in DSL."""
    return _NAME.fullmatch(text) is not None and (text not in KEYWORDS or text in HEADINGS)


def is_plain_name(text: str) -> bool:
    """Whether a condition or a parameter can have this name in DSL: no dots, no slashes, no word of the language."""
    return is_name(text) and text not in HEADINGS | PARAMETER_TYPES | _CONTAINERS and not {".", "/"} & set(text)


@dataclass(slots=True)
class Tokens:
    """Tokens as columns, which is what makes the parser fast. Two END tokens stand last."""

    kinds: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def position(self, index: int, last: int | None = None) -> Position:
        """Where a token stands, or the stretch from it through another one on the same line."""
        end = index if last is None else last
        return Position(self.lines[index], self.columns[index], self.columns[end] + len(self.texts[end]))

    def append(self, kind: str, text: str, line: int, column: int) -> None:
        """Add a token."""
        self.kinds.append(kind)
        self.texts.append(text)
        self.lines.append(line)
        self.columns.append(column)


def cut(dsl: str, *, max_problems: int) -> Tokens:
    """Cut DSL into tokens; it ends early after the given number of characters that are part of none."""
    text = _without_comments(dsl)
    tokens = Tokens()
    line = start = at = 0
    pattern = _TOKEN
    while match := pattern.match(text, at):
        at, value = match.end(), match[0]
        column = match.start() - start
        kind = _kind(match.lastgroup or "", value, in_parameters=pattern is _PARAMETER_TOKEN)
        if kind == _BAD:
            tokens.problems.append(_problem(value, Position(line, column, column + 1)))
            if len(tokens.problems) >= max_problems:
                break
        elif kind != _COMMENT:
            tokens.append(kind, value, line, column)
        if kind == "condition":
            pattern = _PARAMETER_TOKEN
        elif kind == ")":
            pattern = _TOKEN
        if "\n" in value:
            line += value.count("\n")
            start = match.start() + value.rindex("\n") + 1
    for _ in range(2):
        tokens.append(END, _END_TEXT, line, len(text) - start)
    return tokens


def _without_comments(dsl: str) -> str:
    """Blank out comments, keeping lines: a line that begins with `#`, or the rest of one from ` #` on."""
    lines = dsl.split("\n")
    return "\n".join("" if line.lstrip().startswith("#") else line.split(" #", 1)[0].rstrip() for line in lines)


def _kind(group: str, value: str, *, in_parameters: bool) -> str:
    match group:
        case "SPACE":
            return LINE if "\n" in value or "\r" in value else SPACE
        case "WORD" if in_parameters:
            return PARAMETER if value in PARAMETER_TYPES else CONTAINER if value in _CONTAINERS else NAME
        case "WORD":
            return value if value in KEYWORDS else DOTTED if "." in value or "/" in value else NAME
        case "MARK":
            return value
        case "STRING":
            return OTHER
    return group


def _problem(sign: str, position: Position) -> Problem:
    shown = "A line break" if sign in "\r\n" else f"The character {sign!r}"
    return Problem(ProblemKind.SYNTAX, f"{shown} has no place in the language here: remove it.", sign, position)
