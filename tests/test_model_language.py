"""The language of permission models: DSL and JSON, in and out, and what a person is told about mistakes in it."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from watchword.server.permissions.checks import check_model
from watchword.server.permissions.dsl import MAX_DSL_BYTES, parse_dsl
from watchword.server.permissions.fga_json import from_json, to_json
from watchword.server.permissions.model import (
    MAX_NESTING,
    ComputedUserset,
    Condition,
    Container,
    Difference,
    Intersection,
    Model,
    Parameter,
    ParameterType,
    Relation,
    Rewrite,
    This,
    TupleToUserset,
    TypeDefinition,
    TypeRestriction,
    Union,
)
from watchword.server.permissions.parser import MAX_PROBLEMS
from watchword.server.permissions.printer import NotExpressible, to_dsl
from watchword.server.permissions.problems import InvalidModel, Position, Problem, ProblemKind

LANGUAGE = Path(__file__).parents[2] / "shared" / "corpora" / "openfga-language"
STORES = LANGUAGE.parent / "permissions.jsonl"
ABSENT = pytest.param(None, marks=pytest.mark.skip("no corpora beside the project"))
TOP = "model\n  schema 1.1\ntype user\n"


def problems_of(dsl: str) -> tuple[Problem, ...]:
    with pytest.raises(InvalidModel) as caught:
        parse_dsl(dsl)
    return caught.value.problems


# ----- what OpenFGA publishes -----------------------------------------------------------------------------------------


def syntax_cases() -> list[Any]:
    path = LANGUAGE / "dsl-syntax-validation-cases.yaml"
    if not path.is_file():
        return [ABSENT]
    cases = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert len(cases) == 81
    return [pytest.param(case, id=f"{index}-{case['name']}") for index, case in enumerate(cases)]


def expected_kind(message: str) -> ProblemKind:
    if "is already" in message:
        return ProblemKind.DUPLICATE
    return ProblemKind.MODULE if "modular" in message else ProblemKind.SYNTAX


@pytest.mark.parametrize("case", syntax_cases())
def test_syntax_cases_of_openfga(case: dict[str, Any]) -> None:
    expected = case.get("expected_errors") or []
    if not expected:
        assert not [problem for problem in check_model(parse_dsl(case["dsl"])) if not problem.kind.is_warning]
        return
    found = problems_of(case["dsl"])
    assert [problem.position for problem in found] == [
        Position(error["line"]["start"], error["column"]["start"], error["column"]["end"]) for error in expected
    ]
    for problem, error in zip(found, expected, strict=True):
        assert problem.kind is expected_kind(error["msg"])
        assert problem.symbol == error.get("metadata", {"symbol": problem.symbol})["symbol"]


def pairs() -> list[Any]:
    folders = sorted((LANGUAGE / "transformer").glob("*/"))
    assert len(folders) in {0, 29}
    return [pytest.param(folder, id=folder.name) for folder in folders] or [ABSENT]


@pytest.mark.parametrize("folder", pairs())
def test_pairs_of_dsl_and_json_of_openfga(folder: Path) -> None:
    dsl = (folder / "authorization-model.fga").read_text(encoding="utf-8")
    document = json.loads((folder / "authorization-model.json").read_text(encoding="utf-8"))
    model = parse_dsl(dsl)
    assert to_json(model) == document
    assert from_json(document) == model
    assert to_dsl(model) == dsl
    assert to_dsl(from_json(document)) == dsl


def stores() -> list[Any]:
    if not STORES.is_file():
        return [ABSENT]
    lines = STORES.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 201
    return [pytest.param(store["model"], id=f"{store['suite']}/{store['id']}") for store in map(json.loads, lines)]


@pytest.mark.parametrize("dsl", stores())
def test_models_of_openfga_are_sound_and_survive_both_round_trips(dsl: str) -> None:
    model = parse_dsl(dsl)
    assert not [problem for problem in check_model(model) if not problem.kind.is_warning]
    assert parse_dsl(to_dsl(model)) == model
    assert from_json(json.loads(json.dumps(to_json(model)))) == model


# ----- models made at random ------------------------------------------------------------------------------------------

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}(?:[-/.][A-Za-z0-9_]{1,4}){0,2}", fullmatch=True).filter(
    lambda name: name not in {"and", "or", "from", "with", "in", "true", "false", "null", "define", "condition"}
)
plain_names = st.from_regex(r"c[A-Za-z0-9_-]{0,6}", fullmatch=True).filter("condition".__ne__)
leaf = st.builds(ComputedUserset, names) | st.builds(TupleToUserset, names, names)


def combined(operand: st.SearchStrategy[Rewrite]) -> st.SearchStrategy[Rewrite]:
    several = st.lists(operand, min_size=2, max_size=4).map(tuple)
    return st.builds(Union, several) | st.builds(Intersection, several) | st.builds(Difference, operand, operand)


rewrites = st.recursive(leaf, combined, max_leaves=8)


def starting_with(first: Rewrite, rewrite: Rewrite) -> Rewrite:
    """The same, with its first leaf replaced."""
    match rewrite:
        case Union((head, *rest)):
            return Union((starting_with(first, head), *rest))
        case Intersection((head, *rest)):
            return Intersection((starting_with(first, head), *rest))
        case Difference(base, subtract):
            return Difference(starting_with(first, base), subtract)
    return first


restrictions = st.builds(TypeRestriction, names, st.none() | names, condition=st.none() | plain_names) | st.builds(
    TypeRestriction, names, wildcard=st.just(True), condition=st.none() | plain_names
)
direct = st.tuples(rewrites, st.lists(restrictions, min_size=1, max_size=3).map(tuple)).map(
    lambda both: (starting_with(This(), both[0]), both[1])
)
bodies = direct | rewrites.map(lambda rewrite: (rewrite, ()))
relations = st.dictionaries(names, bodies, max_size=4).map(
    lambda found: {name: Relation(name, *body) for name, body in found.items()}
)
types = st.dictionaries(names, relations, max_size=4).map(
    lambda found: {name: TypeDefinition(name, defined) for name, defined in found.items()}
)
parameters = st.dictionaries(
    st.from_regex(r"x[a-z0-9_]{0,5}", fullmatch=True),
    st.tuples(st.sampled_from(ParameterType), st.none() | st.sampled_from(Container)),
    min_size=1,
    max_size=3,
).map(lambda found: {name: Parameter(name, *kind) for name, kind in found.items()})
expressions = st.sampled_from(
    ["x < 100", 'x == "}{"', "a in [1, 2]\n  && !b", "x == r'\\d'", "1.5e3 > .5 || 0x1Fu != y"]
)
conditions = st.dictionaries(plain_names, st.tuples(parameters, expressions), max_size=3).map(
    lambda found: {name: Condition(name, *body) for name, body in found.items()}
)
models = st.builds(Model, types, conditions)


@given(models)
def test_any_model_survives_dsl_unless_a_parameter_is_of_any_type(model: Model) -> None:
    types = {parameter.type for condition in model.conditions.values() for parameter in condition.parameters.values()}
    if ParameterType.ANY in types:
        with pytest.raises(NotExpressible, match=r"values of any type, which the parameter 'x\w*' of the condition"):
            to_dsl(model)
    else:
        assert parse_dsl(to_dsl(model)) == model


@given(models)
def test_any_model_survives_json(model: Model) -> None:
    assert from_json(json.loads(json.dumps(to_json(model)))) == model


@given(models)
def test_any_model_can_be_checked(model: Model) -> None:
    for problem in check_model(model):
        assert problem.message.endswith((".", "'"))
        assert problem.symbol


WORDS = (
    *("model", "schema", "1.1", "type", "relations", "define", "condition", "module", "extend", "user", "a.b", "x-"),
    *(" ", "  ", "\n", "\n    ", "\r\n", "\t", ":", ",", "#", "*", "(", ")", "[", "]", "{", "}", "<", ">", '"', "'''"),
    *(" or ", " and ", " but not ", " from ", " with ", " #", "//", "string", "list<int>", "\0", "é", "\ud800", "$"),
)


@given(st.lists(st.sampled_from(WORDS), max_size=40).map("".join), st.sampled_from(["", TOP, f"{TOP}  relations\n"]))
def test_any_text_is_a_model_or_has_problems_in_their_places(text: str, top: str) -> None:
    dsl = top + text
    lines = dsl.split("\n")
    problems: tuple[Problem, ...] = ()
    try:
        parse_dsl(dsl)
    except InvalidModel as invalid:
        problems = invalid.problems
    assert len(problems) <= MAX_PROBLEMS
    for problem in problems:
        assert problem.position
        assert 0 <= problem.position.line < len(lines)
        assert 0 <= problem.position.column <= len(lines[problem.position.line])
        assert problem.message


# ----- hostile input --------------------------------------------------------------------------------------------------

RELATION = f"{TOP}  relations\n    define a: "


@pytest.mark.parametrize(
    ("dsl", "kind"),
    [
        pytest.param("x" * 1_000_000, ProblemKind.LIMIT, id="a megabyte"),
        pytest.param("é" * (MAX_DSL_BYTES // 2 + 1), ProblemKind.LIMIT, id="bytes, not characters"),
        pytest.param(RELATION + "(" * 10_000 + "b" + ")" * 10_000, ProblemKind.LIMIT, id="10,000 deep"),
        pytest.param(RELATION + "(" * 200_000, ProblemKind.LIMIT, id="never closed"),
        pytest.param(RELATION + "[" * 200_000, ProblemKind.SYNTAX, id="brackets"),
        pytest.param("(" * 260_000, ProblemKind.SYNTAX, id="only parentheses"),
        pytest.param("$" * 260_000, ProblemKind.SYNTAX, id="no tokens at all"),
        pytest.param("a." * 130_000, ProblemKind.SYNTAX, id="one long name"),
        pytest.param("a-" * 130_000, ProblemKind.SYNTAX, id="one long name of dashes"),
        pytest.param("'''" * 87_000, ProblemKind.SYNTAX, id="strings that end"),
        pytest.param("\"'" * 130_000, ProblemKind.SYNTAX, id="strings that do not end"),
        pytest.param('"""\\q' * 52_000, ProblemKind.SYNTAX, id="bad escapes"),
        pytest.param(" " * 260_000, ProblemKind.SYNTAX, id="spaces"),
        pytest.param("\n" * 260_000, ProblemKind.SYNTAX, id="lines"),
        pytest.param(TOP + "type t\n  relations\n    defin x\n" * 5_000, ProblemKind.SYNTAX, id="many mistakes"),
        pytest.param(TOP + "type user\n" * 20_000, ProblemKind.DUPLICATE, id="many duplicates"),
        pytest.param(f"{TOP}condition c(x: int) {{ " + "{" * 200_000, ProblemKind.SYNTAX, id="no end of a condition"),
    ],
)
def test_hostile_text_is_refused_within_a_second(dsl: str, kind: ProblemKind) -> None:
    started = time.monotonic()
    problems = problems_of(dsl)
    assert time.monotonic() - started < 1
    assert problems[0].kind is kind
    assert len(problems) <= MAX_PROBLEMS
    assert all(len(str(problem)) < 700 and len(problem.symbol) <= 256 for problem in problems)


def test_nesting_up_to_the_limit_needs_little_stack() -> None:
    deep = RELATION + "(" * MAX_NESTING + "b" + " or c)" * MAX_NESTING
    frames = sys.getrecursionlimit()
    here = len(list(iter_frames()))
    sys.setrecursionlimit(here + 400)
    try:
        model = parse_dsl(deep)
        assert parse_dsl(to_dsl(model)) == model
        assert from_json(to_json(model)) == model
        check_model(model)
    finally:
        sys.setrecursionlimit(frames)


def iter_frames() -> Any:
    frame = sys._getframe()
    while frame:
        yield frame
        frame = frame.f_back


# ----- what a person is told ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("definition", "place", "sentence"),
    [
        ("a or b and c", "column 21", "'and' cannot follow here: put parentheses around what belongs together"),
        ("(a or b and c)", "column 23", "'and' cannot follow here: put parentheses around what belongs together"),
        ("a or [user]", "column 20", "Types in brackets stand once, at the start of a definition"),
        ("[user", "column 20", "Expected ',', ']' or a space, found the end."),
        ("[]", "column 16", "Expected a name, a new line or a space, found ']'."),
        ("[user:]", "column 21", "Expected '*', found ']'."),
        ("a from", "column 21", "Expected a space, found the end."),
        ("$a", "column 15", "The character '$' has no place in the language here"),
        ("or", "column 15", "Expected '(', '[' or a name, found 'or'."),
    ],
)
def test_sentences_for_mistakes_in_a_definition(definition: str, place: str, sentence: str) -> None:
    first = problems_of(f"{TOP}  relations\n    define a: {definition}")[0]
    assert str(first).startswith(f"line 5, {place}: {sentence}")


@pytest.mark.parametrize(
    ("dsl", "sentence"),
    [
        ("", "line 1, column 1: Expected 'model', 'module', a new line or a space, found the end."),
        ("model\n  schema 2", "line 2, column 10: Expected a schema version such as 1.1, found '2'."),
        (f"{TOP}  define a: b", "line 4, column 3: 'define' has its place below 'relations', in a type"),
        (f"{TOP}  relations\n    define a as b", "line 5, column 14: 'as' is the language of schema 1.0"),
        (f"{TOP}type user", "line 4, column 6: The type 'user' is already defined at line 3, column 6: join the two."),
        ("module a\ntype user", "line 1, column 1: A module is only a part of a model"),
        (f"{TOP}condition c(x: set) {{}}", "line 4, column 16: Expected a type (bool, double,"),
        (f"{TOP}condition c(x: int) {{ x", "line 4, column 24: Expected '}', found the end."),
    ],
)
def test_sentences_for_mistakes_elsewhere(dsl: str, sentence: str) -> None:
    assert str(problems_of(dsl)[0]).startswith(sentence)


def test_all_mistakes_are_told_in_order() -> None:
    dsl = f"{TOP}  relations\n    define a: [$user]\n    define b: [user]\n    define b: [user\n"
    places = [str(problem.position) for problem in problems_of(dsl)]
    assert places == ["line 5, column 16", "line 7, column 12", "line 8, column 1"]


# ----- layout ---------------------------------------------------------------------------------------------------------


def test_comments_spaces_and_line_ends_do_not_matter() -> None:
    dsl = (
        "# a\r\n\r\nmodel # b\r\n  schema 1.1\r\n\r\ntype  user\r\n  # c\r\ntype doc # d\r\n"
        "  relations\r\n    define  viewer :  [ user , user:* , doc#viewer ]  or  ( a  but not  b )  # e\r\n"
        "    define a:[user]\r\n    define b:[user\r\n]\r\n"
    )
    assert parse_dsl(dsl) == parse_dsl(
        "model\n  schema 1.1\ntype user\ntype doc\n  relations\n"
        "    define viewer: [user, user:*, doc#viewer] or (a but not b)\n    define a: [user]\n    define b: [user]\n"
    )


def test_comments_of_expressions_are_left_out() -> None:
    model = parse_dsl(f"{TOP}condition c(x: map<int>) {{\n  x.a > 1 // why\n  && x.b == 2\n}}\n")
    assert model.conditions["c"].expression == "x.a > 1 \n  && x.b == 2"
    assert model.conditions["c"].parameters == {"x": Parameter("x", ParameterType.INT, Container.MAP)}


def with_relation(rewrite: Rewrite) -> Model:
    restricted = (TypeRestriction("user"),)
    return Model({"user": TypeDefinition("user", {"a": Relation("a", rewrite, restricted)})})


B, C = ComputedUserset("b"), ComputedUserset("c")


def test_direct_grants_are_written_first() -> None:
    rewrite = Difference(Union((B, Intersection((C, This())))), C)
    assert "define a: (([user] and c) or b) but not c\n" in to_dsl(with_relation(rewrite))


@pytest.mark.parametrize("rewrite", [Difference(B, This()), Union((This(), This())), Union((B, Difference(C, This())))])
def test_what_dsl_cannot_say_is_refused(rewrite: Rewrite) -> None:
    with pytest.raises(NotExpressible, match="the relation 'a' of 'user'"):
        to_dsl(with_relation(rewrite))
