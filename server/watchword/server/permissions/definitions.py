"""The rules of the DSL for what stands behind the colon of a relation, and for names."""

from collections.abc import Callable
from typing import Final

from watchword.server.permissions.lexer import DOTTED, HEADINGS, LINE, NAME, SPACE, Tokens
from watchword.server.permissions.model import (
    MAX_NESTING,
    ComputedUserset,
    Difference,
    Intersection,
    Relation,
    Rewrite,
    This,
    TupleToUserset,
    TypeRestriction,
    Union,
)
from watchword.server.permissions.parser import NOTHING, GiveUp, Kinds, Misfit, Parser, one_of
from watchword.server.permissions.problems import ProblemKind

PLAIN_NAMES: Final = HEADINGS | {NAME}
NAMES: Final = PLAIN_NAMES | {DOTTED}
_OPERAND: Final = NAMES | {"("}
DEFINITION: Final = _OPERAND | {"["}
_OPERATORS: Final = one_of("or", "and", "but not")

_Group = Callable[[], Rewrite | None]


class DefinitionParser(Parser):
    """Rules that leave the place behind what they read. None is for what could not be read; a problem tells why."""

    __slots__ = ("_depth", "_restrictions")

    def __init__(self, tokens: Tokens) -> None:
        super().__init__(tokens)
        self._restrictions: tuple[TypeRestriction, ...] = ()
        self._depth = 0

    def relation(self, at: int | None) -> Relation | None:
        """What stands behind the colon, as a relation of the name at the index."""
        self._restrictions = ()
        self._depth = 0
        rewrite = self.rule(self._definition, NOTHING, ends=True)
        if at is None or rewrite is None:
            return None
        return Relation(self.tokens.texts[at], rewrite, self._restrictions, self.tokens.position(at))

    def name(self, then: Kinds, *, ends: bool = False) -> int | None:
        """The name of a type or a relation, by the index of its token."""
        if self.kind in NAMES:
            return self.take()
        return self.rule(self._any_name, then, ends=ends)

    def _any_name(self) -> int:
        self.settle(NAMES)
        if self.kind not in NAMES:
            raise Misfit(self.at, NAMES)
        return self.take()

    def condition_name(self) -> int | None:
        """The name of a condition or a parameter, by the index of its token."""
        return self.expect(NAME, NOTHING, ends=True)

    def _definition(self) -> Rewrite | None:
        """An operand, which may be direct grants, and what it is combined with."""
        self.settle(DEFINITION)
        if self.kind == "[":
            self._restrictions = self.rule(self._direct, one_of(SPACE), ends=True) or ()
            return self._combined(This())
        return self._combined(self._operand(DEFINITION, self._group_with_direct))

    def _definition_without_direct(self) -> Rewrite | None:
        self.settle(_OPERAND)
        return self._combined(self._operand(_OPERAND, self._group))

    def _combined(self, first: Rewrite | None) -> Rewrite | None:
        if self.kind != SPACE or self.next_kind not in _OPERATORS:
            return first
        operator = self.next_kind
        others = self.rule(self._others, NOTHING, ends=True)
        if first is None or others is None or None in others:
            return None
        children = (first, *(other for other in others if other is not None))
        match operator:
            case "or":
                return Union(children)
            case "and":
                return Intersection(children)
        return Difference(*children)

    def _others(self) -> list[Rewrite | None]:
        operator = self.next_kind
        found: list[Rewrite | None] = []
        while self.kind == SPACE and self.next_kind == operator:
            self.expect(SPACE, NOTHING)
            self.expect(operator, one_of(SPACE))
            self.expect(SPACE, _OPERAND)
            self.settle(_OPERAND)
            found.append(self._operand(_OPERAND, self._group))
            if operator == "but not":
                break
        return found

    def _operand(self, expected: Kinds, group: _Group) -> Rewrite | None:
        if self.kind == "(":
            return self.rule(group, one_of(SPACE), ends=True)
        if self.kind not in NAMES:
            raise Misfit(self.at, expected)
        return self._userset()

    def _userset(self) -> Rewrite | None:
        """`relation` or `relation from tupleset`."""
        at = self.take()
        relation = self.tokens.texts[at]
        if self.kind != SPACE or self.next_kind != "from":
            return ComputedUserset(relation, self.tokens.position(at))
        return self.rule(lambda: self._from(at), one_of(SPACE), ends=True)

    def _from(self, at: int) -> Rewrite | None:
        self.expect(SPACE, NOTHING)
        self.expect("from", one_of(SPACE))
        self.expect(SPACE, NAMES)
        tupleset = self.name(NOTHING, ends=True)
        if tupleset is None:
            return None
        texts = self.tokens.texts
        return TupleToUserset(texts[at], texts[tupleset], self.tokens.position(at, tupleset))

    def _group_with_direct(self) -> Rewrite | None:
        return self._in_parentheses(DEFINITION, self._definition)

    def _group(self) -> Rewrite | None:
        return self._in_parentheses(_OPERAND, self._definition_without_direct)

    def _in_parentheses(self, expected: Kinds, body: _Group) -> Rewrite | None:
        # Every level costs stack: a limit here keeps a hostile model from exhausting it.
        self._depth += 1
        if self._depth > MAX_NESTING:
            message = f"Parentheses may nest {MAX_NESTING} deep at most: make a relation of the inner part."
            self.add(ProblemKind.LIMIT, message, "(", self.tokens.position(self.at))
            raise GiveUp
        self.expect("(", expected | {SPACE})
        self._spaces(expected | {SPACE})
        self.settle(expected)
        rewrite = self.rule(body, one_of(SPACE, ")"))
        self._spaces(one_of(SPACE, ")"))
        self.expect(")", NOTHING, ends=True)
        self._depth -= 1
        return rewrite

    def _spaces(self, expected: Kinds) -> None:
        self.settle(expected)
        while self.kind == SPACE:
            self.take()
            self.settle(expected, repeated=True)

    def _direct(self) -> tuple[TypeRestriction, ...]:
        """`[restriction, …]`."""
        expected = NAMES | {LINE, SPACE}
        after = one_of(SPACE, ",", "]")
        self.expect("[", expected)
        found: list[TypeRestriction | None] = []
        while True:
            self.settle(expected)
            if self.kind == SPACE:
                self.take()
            found.append(self.rule(self._restriction, after))
            self.settle(after)
            if self.kind == SPACE:
                self.take()
            self.settle(one_of(",", "]"), repeated=len(found) > 1)
            if self.kind != ",":
                break
            self.take()
        self.expect("]", NOTHING, ends=True)
        return tuple(restriction for restriction in found if restriction)

    def _restriction(self) -> TypeRestriction | None:
        self.settle(NAMES | {LINE})
        if self.kind == LINE:
            self.take()
        self.settle(NAMES)
        self._look_over_restriction()
        start = self.at
        base = self.rule(self._restricted_type, one_of(SPACE, LINE), ends=True)
        condition = None
        if self.kind == SPACE and self.next_kind == "with":
            self.take()
            self.take()
            self.expect(SPACE, one_of(NAME))
            condition = self.rule(self.condition_name, one_of(LINE), ends=True)
            if condition is None:
                base = None
        end = self.at - 1
        if self.kind == LINE:
            self.take()
        if base is None:
            return None
        type_, relation, wildcard = base
        name = None if condition is None else self.tokens.texts[condition]
        return TypeRestriction(type_, relation, wildcard, name, self.tokens.position(start, end))

    def _look_over_restriction(self) -> None:
        """What stands right behind `type:` and `type#` decides before any of it is taken."""
        if self.kind not in NAMES:
            raise Misfit(self.at, NAMES)
        fitting = {":": one_of("*"), "#": NAMES}.get(self.next_kind)
        if fitting is not None and self.kind_at(self.at + 2) not in fitting:
            raise Misfit(self.at + 2, fitting)

    def _restricted_type(self) -> tuple[str, str | None, bool]:
        texts = self.tokens.texts
        type_ = texts[self.take()]
        if self.kind == ":":
            self.take()
            self.take()
            return type_, None, True
        if self.kind == "#":
            self.take()
            return type_, texts[self.take()], False
        return type_, None, False
