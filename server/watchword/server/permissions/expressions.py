"""What a condition's CEL expression asks for, read off its words.

The names alone are looked at: whether the types fit is for the evaluator, when it compiles the expression.
"""

import re
from typing import Final

_WORDS: Final = re.compile(
    r"""
      # Strings hold no names.
      [bB]?[rR](?:\"\"\"(?s:.*?)\"\"\"|'''(?s:.*?)'''|"[^"]*"|'[^']*')
    | [bB]?(?:\"\"\"(?s:.*?)\"\"\"|'''(?s:.*?)'''|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    | //[^\n]*
    | (?:0x[0-9a-fA-F]+|(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?)[uU]?
    | (?P<member>\.\s*[A-Za-z_]\w*)
    | (?P<name>[A-Za-z_]\w*)
    | (?P<sign>\S)
    """,
    re.VERBOSE | re.ASCII,
)
_LITERALS: Final = frozenset(("true", "false", "null", "in"))
_TYPES: Final = frozenset(("bool", "bytes", "double", "dyn", "google", "int", "list", "map", "null_type", "string")) | {
    *("duration", "ipaddress", "timestamp", "type", "uint")
}
_MACROS: Final = frozenset(("all", "exists", "exists_one", "filter", "map"))
_RESERVED: Final = frozenset(("as", "break", "const", "continue", "else", "for", "function", "if", "import", "let")) | {
    *("loop", "namespace", "package", "return", "var", "void", "while")
}
_name_form = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def is_name(text: str) -> bool:
    """Whether an expression can ask for a parameter of this name."""
    return _name_form.fullmatch(text) is not None and text not in _LITERALS | _RESERVED


def free_names(expression: str) -> list[str]:
    """The names that an expression takes from outside, each once, in the order of their first appearance.

    Not among them: functions, fields, types, literals, and the variables of macros such as `list.exists(x, x > 1)`.
    """
    words = [(match.lastgroup, match[0]) for match in _WORDS.finditer(expression)]
    words.append(("sign", ""))
    bound: set[str] = set()
    found: dict[str, None] = {}
    for index, (kind, word) in enumerate(words[:-1]):
        following = words[index + 1][1]
        if kind == "member" and following == "(" and word.lstrip(". \t\r\n") in _MACROS:
            bound.add(words[min(index + 2, len(words) - 1)][1])
        elif kind == "name" and following != "(" and word not in _LITERALS | _TYPES:
            found[word] = None
    return [name for name in found if name not in bound]
