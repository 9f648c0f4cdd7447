"""Python constants for a permission model, so that a type checker finds a misspelled relation.

The module that is written needs nothing but Python 3.11. What it holds are plain texts, as all of Watchword takes
and gives; each type is a class, so that `Document.CAN_EDIT` is checked by its name, and has a `Literal` of its
relations, so that texts are too.
"""

import keyword
import re
from collections.abc import Callable, Container, Iterable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from watchword.server.permissions.model import Model, TypeDefinition

_HEADER: Final = '''\
"""The types, relations and conditions of a permission model.

Written by `watchword model constants`. Do not edit: change the model and write this file again.
"""
'''
_WIDTH: Final = 120
_INDENT: Final = "    "
_TYPING: Final = ("Final", "Literal", "TypeAlias")


def constants_module(model: "Model") -> str:
    """Write the module for a sound model: always the same text for the same model."""
    if not model.types:
        return _HEADER
    wildcards = {item.type for _, relation in model.relations() for item in relation.restrictions if item.wildcard}
    taken = {*_TYPING, "Type"}
    if model.conditions:
        taken.add("Condition")
    classes = _names(model.types, _class_name, taken)
    parts = ["\n".join(_alias("Type", model.types, ""))]
    if model.conditions:
        parts.append("\n".join(_condition_class(model.conditions)))
    parts += [
        "\n".join(_type_class(classes[name], definition, everybody=name in wildcards))
        for name, definition in model.types.items()
    ]
    return f"{_HEADER}\nfrom typing import {', '.join(_TYPING)}\n\n" + "\n\n\n".join(parts) + "\n"


def _condition_class(conditions: Iterable[str]) -> Iterator[str]:
    yield "class Condition:"
    yield f'{_INDENT}"""The names of conditions."""'
    yield ""
    for condition, name in _names(conditions, _constant_name, ()).items():
        yield from _constant(name, condition)


def _type_class(name: str, definition: "TypeDefinition", *, everybody: bool) -> Iterator[str]:
    # Every name of the class that is no relation's, whether this class has it or not: what a relation is called here
    # must not change because another relation comes or goes.
    relations = _names(definition.relations, _constant_name, {"TYPE", "EVERYBODY"})
    yield f"class {name}:"
    yield f'{_INDENT}"""Objects of the type `{definition.name}`, and the relations to them."""'
    yield ""
    if relations:
        yield from _alias("Relation", relations, _INDENT)
        yield ""
    yield from _constant("TYPE", definition.name)
    if everybody:
        yield from _constant("EVERYBODY", f"{definition.name}:*")
    for relation, constant in relations.items():
        yield from _constant(constant, relation)
    yield ""
    yield f"{_INDENT}@classmethod"
    yield f"{_INDENT}def object(cls, object_id: str) -> str:"
    yield f'{_INDENT * 2}"""Name an object by its id."""'
    yield f'{_INDENT * 2}return f"{{cls.TYPE}}:{{object_id}}"'
    if relations:
        yield ""
        yield f"{_INDENT}@classmethod"
        yield f"{_INDENT}def set(cls, object_id: str, relation: Relation) -> str:"
        yield f'{_INDENT * 2}"""Name all who have a relation to an object."""'
        yield f'{_INDENT * 2}return f"{{cls.TYPE}}:{{object_id}}#{{relation}}"'


# ----- statements, laid out as `ruff format` does ---------------------------------------------------------------------


def _alias(name: str, values: Iterable[str], indent: str) -> Iterator[str]:
    """A `Literal` of some texts; several are put one a line, so that changes are easy to see."""
    texts = [f'"{value}"' for value in values]
    line = f"{indent}{name}: TypeAlias = Literal[{', '.join(texts)}]"
    if len(texts) == 1 and len(line) <= _WIDTH:
        yield line
        return
    yield f"{indent}{name}: TypeAlias = Literal["
    comma = "," if len(texts) > 1 else ""
    yield from (f"{indent}{_INDENT}{text}{comma}" for text in texts)
    yield f"{indent}]"


def _constant(name: str, value: str) -> Iterator[str]:
    line = f'{_INDENT}{name}: Final = "{value}"'
    bare = f'{_INDENT * 2}"{value}"'
    if len(line) > _WIDTH >= len(bare):
        yield from (f"{_INDENT}{name}: Final = (", bare, f"{_INDENT})")
    else:
        yield line


# ----- names ----------------------------------------------------------------------------------------------------------


def _names(texts: Iterable[str], form: Callable[[str], str], reserved: Container[str]) -> dict[str, str]:
    """A Python name for each text, all different. Of texts that would get the same name, the first has it."""
    names: dict[str, str] = {}
    given: set[str] = set()
    for text in texts:
        plain = form(text)
        if plain in reserved or keyword.iskeyword(plain):
            plain += "_"
        name = next(name for name in _numbered(plain) if name not in given)
        names[text] = name
        given.add(name)
    return names


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}_{number}" for number in count(2))


def _constant_name(text: str) -> str:
    """`can-edit` and `canEdit` as `CAN_EDIT`. Never with an underscore first, which would make it private."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", text).strip("_").upper() or "NAME"
    return f"NAME_{name}" if name[0].isdigit() else name


def _class_name(text: str) -> str:
    """`user_group` and `user-group` as `UserGroup`."""
    name = "".join(part[0].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", text) if part) or "Name"
    return f"Name{name}" if name[0].isdigit() else name
