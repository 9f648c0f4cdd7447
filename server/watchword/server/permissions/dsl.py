"""Reads OpenFGA's DSL, schema 1.1, with conditions and comments.

Written by hand, one method for each rule of the language, after trying lark. Its LALR parser cannot take line breaks
as tokens here (whether one begins the next relation or the next type shows only behind it), and with the line breaks
inside the keywords it took 0.26 s for 210 kB, where this takes 0.15 s with the model built; its Earley parser took
0.3 s for 9 kB. And the places of errors that OpenFGA publishes come from a way of recovering that lark has not: see
`parser.py`. The rules for what stands behind a relation's colon are in `definitions.py`.

Places follow OpenFGA's tools: lines and columns count from 0, the end is exclusive.
"""

import contextlib
from typing import Final

from watchword.server.permissions import lexer
from watchword.server.permissions.definitions import DEFINITION, NAMES, PLAIN_NAMES, DefinitionParser
from watchword.server.permissions.lexer import CONTAINER, DOTTED, END, LINE, NAME, OTHER, PARAMETER, SPACE, VERSION
from watchword.server.permissions.model import (
    SCHEMA_VERSION,
    Condition,
    Container,
    Model,
    Parameter,
    ParameterType,
    Relation,
    TypeDefinition,
)
from watchword.server.permissions.parser import MAX_PROBLEMS, NOTHING, GiveUp, Misfit, one_of
from watchword.server.permissions.problems import InvalidModel, Problem, ProblemKind

MAX_DSL_BYTES: Final = 262_144


def parse_dsl(dsl: str) -> Model:
    """Read a model. It is well formed, which does not make it sound: see `checks.check_model`.

    Raises:
        InvalidModel: it is not DSL, with all mistakes up to 20; or longer than 256 KiB; or nested too deep.

    """
    if len(dsl) > MAX_DSL_BYTES or len(dsl.encode(errors="surrogatepass")) > MAX_DSL_BYTES:
        # Before all else: everything below takes time that grows with the length.
        message = f"The model is too long: {MAX_DSL_BYTES:,} bytes are the most."
        raise InvalidModel([Problem(ProblemKind.LIMIT, message)])
    return _Reader(lexer.cut(dsl, max_problems=MAX_PROBLEMS)).read()


def _place(problem: Problem) -> tuple[int, int]:
    return (problem.position.line, problem.position.column) if problem.position else (0, 0)


_LINE_OR_END: Final = one_of(LINE, END)
_IN_EXPRESSION: Final = frozenset(lexer.KEYWORDS) | {SPACE, LINE, NAME, DOTTED, OTHER, VERSION, "}"}


class _Reader(DefinitionParser):
    """The rules of the language, each leaving the place behind what it read."""

    __slots__ = ("_conditions", "_extended", "_is_module", "_schema", "_types")

    def __init__(self, tokens: lexer.Tokens) -> None:
        super().__init__(tokens)
        self._types: dict[str, TypeDefinition] = {}
        self._conditions: dict[str, Condition] = {}
        self._extended: set[str] = set()
        self._is_module = False
        self._schema: int | None = None

    def read(self) -> Model:
        with contextlib.suppress(GiveUp):
            self.rule(self._main, NOTHING)
        problems = sorted(self.problems + self.tokens.problems, key=_place)
        if self._is_module and not problems:
            message = "A module is only a part of a model: write the whole model, with 'model' and 'schema 1.1' on top."
            problems = [Problem(ProblemKind.MODULE, message, "module", self.tokens.position(0))]
        if problems:
            raise InvalidModel(problems[:MAX_PROBLEMS])
        version, position = SCHEMA_VERSION, None
        if self._schema is not None:
            version, position = self.tokens.texts[self._schema], self.tokens.position(self._schema)
        return Model(self._types, self._conditions, version, position)

    # ----- the whole --------------------------------------------------------------------------------------------------

    def _main(self) -> None:
        self.settle(one_of(SPACE, LINE, "model", "module"))
        if self.kind == SPACE:
            self.take()
        self.settle(one_of(LINE, "model", "module"))
        if self.kind == LINE:
            self.take()
        self.settle(one_of("model", "module"))
        self._is_module = self.kind == "module"
        self.rule(self._module_header if self._is_module else self._model_header, _LINE_OR_END)
        self._line_before("extend", "type", "condition")
        self.rule(self._type_definitions, _LINE_OR_END)
        self._line_before("condition")
        self.rule(self._all_conditions, _LINE_OR_END)
        self.settle(_LINE_OR_END)
        if self.kind == LINE:
            self.take()
        self.expect(END, NOTHING)

    def _line_before(self, *starts: str) -> None:
        """Leave a line break to the definition that it begins, but take the last one."""
        self.settle(_LINE_OR_END)
        if self.kind == LINE and self.next_kind in _LINE_OR_END:
            self.take()
        elif self.kind == LINE and self.next_kind not in starts:
            raise Misfit(self.at + 1, frozenset(starts))

    def _model_header(self) -> None:
        self.expect("model", one_of(LINE))
        self.expect(LINE, one_of("schema"))
        self.expect("schema", one_of(SPACE))
        self.expect(SPACE, one_of(VERSION))
        self._schema = self.expect(VERSION, one_of(SPACE), ends=True)
        if self.kind == SPACE:
            self.take()

    def _module_header(self) -> None:
        self.expect("module", one_of(SPACE))
        self.expect(SPACE, PLAIN_NAMES)
        self.rule(self._plain_name, one_of(SPACE), ends=True)
        if self.kind == SPACE:
            self.take()

    def _plain_name(self) -> int:
        if self.kind not in PLAIN_NAMES:
            raise Misfit(self.at, PLAIN_NAMES)
        return self.take()

    # ----- types ------------------------------------------------------------------------------------------------------

    def _type_definitions(self) -> None:
        while self.kind == LINE and self.next_kind in {"type", "extend"}:
            self.rule(self._type_definition, one_of(LINE), ends=True)

    def _type_definition(self) -> None:
        self.expect(LINE, one_of("extend", "type"))
        extends = self.kind == "extend"
        if extends:
            self.take()
            self.expect(SPACE, one_of("type"))
        self.expect("type", one_of(SPACE))
        self.expect(SPACE, NAMES)
        at = self.name(one_of(LINE), ends=True)
        relations: dict[str, Relation] = {}
        type_name = "" if at is None else self.tokens.texts[at]
        if self.kind == LINE and self.next_kind == "relations":
            self.take()
            self.take()
            self.settle(one_of(LINE))
            while True:
                if relation := self.rule(self._relation, one_of(LINE), ends=True):
                    self._add_relation(relations, relation, type_name)
                if self.kind != LINE or self.next_kind != "define":
                    break
        if at is not None:
            self._add_type(at, TypeDefinition(type_name, relations, self.tokens.position(at)), extends=extends)

    def _add_relation(self, relations: dict[str, Relation], relation: Relation, type_name: str) -> None:
        if relation.name in relations and relation.position:
            message = (
                f"The relation '{relation.name}' is already defined in the type '{type_name}': keep one definition."
            )
            self.add(ProblemKind.DUPLICATE, message, relation.name, relation.position)
        relations[relation.name] = relation

    def _add_type(self, at: int, definition: TypeDefinition, *, extends: bool) -> None:
        name, position = definition.name, self.tokens.position(at)
        if extends and not self._is_module:
            message = "'extend' has its place in modules only: add the relations where the type is defined."
            self.add(ProblemKind.MODULE, message, name, position)
        elif extends and name in self._extended:
            message = f"The type '{name}' is already extended in this module: join the two."
            self.add(ProblemKind.DUPLICATE, message, name, position)
        elif extends:
            self._extended.add(name)
        elif name in self._types:
            first = self._types[name].position
            message = f"The type '{name}' is already defined{f' at {first}' if first else ''}: join the two."
            self.add(ProblemKind.DUPLICATE, message, name, position)
        else:
            self._types[name] = definition

    # ----- relations --------------------------------------------------------------------------------------------------

    def _relation(self) -> Relation | None:
        if self.kind == LINE and self.next_kind != "define":
            raise Misfit(self.at + 1, one_of("define"))
        self.expect(LINE, one_of("define"))
        self.expect("define", one_of(SPACE))
        self.expect(SPACE, NAMES)
        at = self.name(one_of(SPACE, ":"))
        self.settle(one_of(SPACE, ":"))
        if self.kind == SPACE:
            self.take()
        self.expect(":", DEFINITION | {SPACE})
        self.settle(DEFINITION | {SPACE})
        if self.kind == SPACE:
            self.take()
        return self.relation(at)

    # ----- conditions -------------------------------------------------------------------------------------------------

    def _all_conditions(self) -> None:
        while self.kind == LINE and self.next_kind == "condition":
            self.rule(self._condition, one_of(LINE), ends=True)

    def _condition(self) -> None:
        self.expect(LINE, one_of("condition"))
        self.expect("condition", one_of(SPACE))
        self.expect(SPACE, one_of(NAME))
        at = self.rule(self.condition_name, one_of(SPACE, "("))
        name = "" if at is None else self.tokens.texts[at]
        self._space_then("(")
        self.expect("(", one_of(SPACE, LINE, NAME))
        parameters: dict[str, Parameter] = {}
        while True:
            self._space_then(LINE, NAME)
            if parameter := self.rule(self._parameter, one_of(SPACE, ",", LINE, ")")):
                self._add_parameter(parameters, parameter, name)
            self._space_then(",", LINE, ")")
            if self.kind != ",":
                break
            self.take()
        self.settle(one_of(LINE, ")"))
        if self.kind == LINE:
            self.take()
        self.expect(")", one_of(SPACE, "{"))
        self._space_then("{")
        self.expect("{", _IN_EXPRESSION)
        expression = self._expression()
        self.expect("}", NOTHING, ends=True)
        if at is not None:
            self._add_condition(at, Condition(name, parameters, expression, self.tokens.position(at)))

    def _space_then(self, *kinds: str) -> None:
        expected = frozenset(kinds)
        self.settle(expected | {SPACE})
        if self.kind == SPACE:
            self.take()

    def _expression(self) -> str:
        start = self.at
        while self.kind not in {"}", END}:
            self.take()
        return "".join(self.tokens.texts[start : self.at]).strip()

    def _parameter(self) -> Parameter | None:
        self.settle(one_of(LINE, NAME))
        if self.kind == LINE:
            self.take()
        at = self.rule(self.condition_name, one_of(SPACE, ":"))
        self._space_then(":")
        types = one_of(PARAMETER, CONTAINER)
        self.expect(":", types | {SPACE})
        self._space_then(PARAMETER, CONTAINER)
        type_ = self.rule(self._parameter_type, NOTHING, ends=True)
        if at is None or type_ is None:
            return None
        return Parameter(self.tokens.texts[at], *type_, self.tokens.position(at))

    def _parameter_type(self) -> tuple[ParameterType, Container | None] | None:
        self.settle(one_of(PARAMETER, CONTAINER))
        if self.kind == PARAMETER:
            return ParameterType(self.tokens.texts[self.take()]), None
        container = self.expect(CONTAINER, one_of("<"))
        self.expect("<", one_of(PARAMETER))
        type_ = self.expect(PARAMETER, one_of(">"))
        self.expect(">", NOTHING, ends=True)
        if container is None or type_ is None:
            return None
        return ParameterType(self.tokens.texts[type_]), Container(self.tokens.texts[container])

    def _add_parameter(self, parameters: dict[str, Parameter], parameter: Parameter, condition: str) -> None:
        if parameter.name in parameters and parameter.position:
            message = f"The parameter '{parameter.name}' is already defined in the condition '{condition}': keep one."
            self.add(ProblemKind.DUPLICATE, message, parameter.name, parameter.position)
        parameters[parameter.name] = parameter

    def _add_condition(self, at: int, condition: Condition) -> None:
        if condition.name in self._conditions:
            message = f"The condition '{condition.name}' is already defined: keep one definition."
            self.add(ProblemKind.DUPLICATE, message, condition.name, self.tokens.position(at))
        self._conditions[condition.name] = condition
