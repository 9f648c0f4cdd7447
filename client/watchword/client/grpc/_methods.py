"""What each method of a gRPC service needs, and which object a message is about."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from watchword.client._http import ObjectTemplate
from watchword.client.errors import AccessDeniedError, InvalidArgumentError
from watchword.client.grpc._contract import forgotten, problems_of

_TEMPLATE: Final = re.compile(r"([^{}]*)\{(\w+(?:\.\w+)*)\}")


class ObjectUnnamedError(InvalidArgumentError):
    """A message names no object, or one that cannot be."""


class Rule:
    """What a method needs: `Requires(…)`, `AUTHENTICATED` or `PUBLIC`."""

    __slots__ = ()


class _Open(Rule):
    __slots__ = ()


AUTHENTICATED: Final[Rule] = _Open()
"""A method for whoever shows a good access token."""

PUBLIC: Final[Rule] = _Open()
"""A method for everybody. Nobody is authenticated, and the handler is called as if there were no interceptor."""


@dataclass(frozen=True, slots=True)
class Requires(Rule):
    """A method for those who have a relation to an object.

    ```python
    Requires("can_view", "note:{note_id}")
    Requires("can_edit", "note:{note.id}")
    Requires("can_audit", "organization:acme")
    ```
    """

    relation: str
    """The relation that the caller must have."""
    object: str
    """To what: the id is a field of the request message in braces, a string or an integer."""


@dataclass(frozen=True, slots=True)
class Objects:
    """Which objects the messages of a method are about."""

    template: ObjectTemplate
    path: tuple[str, ...]
    """The field that holds the id; empty if they are all about the same object."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a template.

        Raises:
            ValueError: It is none.

        """
        match = _TEMPLATE.fullmatch(text)
        path = tuple(match[2].split(".")) if match else ()
        # The rest of the spelling is judged as everywhere else, where a name in braces has no dots.
        template = ObjectTemplate.parse(f"{match[1]}{{id}}" if match else text)
        return cls(template, path)

    @property
    def constant(self) -> str:
        """The object that all messages are about; "" if that is theirs to say."""
        return "" if self.path else self.template.fill({})

    def of(self, message: Any) -> str:
        """The object that a message is about; "" if it leaves the field unset.

        Raises:
            ObjectUnnamedError: No object can have this id. Threat: "*" would name everybody, "a#owner" a set.

        """
        if not self.path:
            return self.constant
        value: Any = message
        for name in self.path:
            value = getattr(value, name)
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise TypeError(f"The field {'.'.join(self.path)} is neither a string nor an integer.")
        # An unset integer is 0, and no other can be told from it.
        if not value:
            return ""
        try:
            return self.template.fill({"id": value})
        except AccessDeniedError:
            raise ObjectUnnamedError(f"No object can have the id in {'.'.join(self.path)}.") from None


@dataclass(frozen=True, slots=True)
class Needs:
    """What a method needs besides a good access token."""

    relation: str | None
    """None: nothing."""
    objects: Objects | None

    @property
    def waits_for_message(self) -> bool:
        """Whether nothing can be decided before a message has come."""
        return self.objects is not None and bool(self.objects.path)


class Methods:
    """The declared methods of a server."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        """Read the declarations.

        Raises:
            ValueError: One of them is wrong, or one is missing.

        """
        self._needs = {path: _needs(path, rule) for path, rule in rules.items()}
        fields = {path: needs.objects.path if needs and needs.objects else () for path, needs in self._needs.items()}
        problems = [problem for path in rules for problem in problems_of(path, fields[path])]
        problems += forgotten([path for path, needs in self._needs.items() if needs is not None], rules)
        if problems:
            raise ValueError("\n".join(problems))

    def is_declared(self, path: str) -> bool:
        """Whether anybody may call a method."""
        return path in self._needs

    def needs(self, path: str) -> Needs | None:
        """What a declared method needs; None if it is public."""
        return self._needs[path]


def _needs(path: str, rule: Rule) -> Needs | None:
    if rule is PUBLIC:
        return None
    if rule is AUTHENTICATED:
        return Needs(None, None)
    if not isinstance(rule, Requires) or not rule.relation:
        raise ValueError(f"{path} must be declared as Requires(relation, object), AUTHENTICATED or PUBLIC.")
    return Needs(rule.relation, Objects.parse(rule.object))
