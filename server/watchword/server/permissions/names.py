"""How things are named: `type:id` is an object, `type:id#relation` a set, `type:*` everybody of a type.

Ids have letters, digits and any of `_ | * @ . + / -`, the first no `*`, which alone is everybody. That is the rule of
OpenFGA's language tools; its server takes more characters.
"""

import re
from dataclasses import dataclass
from typing import Final

from watchword.server.permissions import lexer

MAX_TYPE_NAME: Final = 254
MAX_RELATION_NAME: Final = 50
MAX_CONDITION_NAME: Final = 50
MAX_OBJECT: Final = 256
"""Characters of `type:id`."""

WILDCARD: Final = "*"
_object_id = re.compile(r"[A-Za-z0-9_|@.+/-][A-Za-z0-9_|*@.+/-]*")

_ID_RULE: Final = "letters, digits and any of _ | * @ . + / - but no * at the start"


class InvalidName(ValueError):
    """A text does not name what it should. The message says how such a name looks, and does not repeat the text."""


@dataclass(frozen=True, slots=True)
class ObjectName:
    """An object: `type:id`."""

    type: str
    id: str

    def __str__(self) -> str:
        """The name as it is written."""
        return f"{self.type}:{self.id}"


@dataclass(frozen=True, slots=True)
class SubjectName:
    """Who may have a relation: an object, the set of all who have a relation to it, or everybody of its type."""

    type: str
    id: str
    relation: str | None = None

    @property
    def is_wildcard(self) -> bool:
        """Whether it is everybody of the type."""
        return self.id == WILDCARD

    def __str__(self) -> str:
        """The name as it is written."""
        return f"{self.type}:{self.id}" if self.relation is None else f"{self.type}:{self.id}#{self.relation}"


def is_type_name(text: str) -> bool:
    """Whether a type can have this name."""
    return len(text) <= MAX_TYPE_NAME and lexer.is_name(text)


def is_relation_name(text: str) -> bool:
    """Whether a relation can have this name."""
    return len(text) <= MAX_RELATION_NAME and lexer.is_name(text)


def is_object_id(text: str) -> bool:
    """Whether an object can have this id within its type."""
    return len(text) < MAX_OBJECT and _object_id.fullmatch(text) is not None


def parse_object(text: str) -> ObjectName:
    """Read `type:id`.

    Raises:
        InvalidName: it is something else, or longer than 256 characters.

    """
    type_, _, id_ = text.partition(":")
    if len(text) > MAX_OBJECT or not is_type_name(type_) or not is_object_id(id_):
        message = f'must be type:id, such as "document:42", with at most {MAX_OBJECT} characters; an id has {_ID_RULE}'
        raise InvalidName(message)
    return ObjectName(type_, id_)


def parse_subject(text: str) -> SubjectName:
    """Read `type:id`, `type:id#relation` or `type:*`.

    Raises:
        InvalidName: it is something else, or longer than 256 characters without the relation.

    """
    name, hash_, relation = text.partition("#")
    type_, _, id_ = name.partition(":")
    everybody = id_ == WILDCARD and not hash_
    fits = len(name) <= MAX_OBJECT and is_type_name(type_) and (everybody or is_object_id(id_))
    if not fits or (hash_ and not is_relation_name(relation)):
        message = (
            'must be type:id, type:id#relation or type:*, such as "user:ana", "group:eng#member" or "user:*", '
            f"with at most {MAX_OBJECT} characters before the #; an id has {_ID_RULE}"
        )
        raise InvalidName(message)
    return SubjectName(type_, id_, relation if hash_ else None)
