"""Which models are sound: every kind of problem in its place, and the questions about circles against brute force."""

import time
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword.server.permissions import expressions
from watchword.server.permissions.checks import MAX_RESTRICTIONS, check_model, require_sound
from watchword.server.permissions.dsl import parse_dsl
from watchword.server.permissions.fga_json import from_json
from watchword.server.permissions.model import (
    ComputedUserset,
    Difference,
    Intersection,
    Model,
    Relation,
    Rewrite,
    This,
    TupleToUserset,
    TypeDefinition,
    TypeRestriction,
    Union,
    leaves,
)
from watchword.server.permissions.parser import MAX_PROBLEMS
from watchword.server.permissions.problems import InvalidModel, ProblemKind

TOP = "model\n  schema 1.1\ntype user\ntype doc\n  relations\n"
"""The lines 0 to 4."""


def found(dsl: str) -> list[tuple[ProblemKind, str, int, int]]:
    problems = check_model(parse_dsl(dsl))
    return [
        (problem.kind, problem.symbol, problem.position.line, problem.position.column)
        for problem in problems
        if problem.position
    ]


CASES = [
    ("    define a: b\n", ProblemKind.RELATION_UNDEFINED, "b", 5, 14),
    ("    define a: [user] or (b but not a)\n", ProblemKind.RELATION_UNDEFINED, "b", 5, 25),
    ("    define a: [usr]\n", ProblemKind.TYPE_UNDEFINED, "usr", 5, 15),
    ("    define a: [user, usr:*]\n", ProblemKind.TYPE_UNDEFINED, "usr", 5, 21),
    ("    define a: [user, usr#b]\n", ProblemKind.TYPE_UNDEFINED, "usr", 5, 21),
    ("    define a: [user, doc#b]\n", ProblemKind.TYPE_RELATION_UNDEFINED, "doc#b", 5, 21),
    ("    define a: [user]\n    define b: a from c\n", ProblemKind.TYPE_RELATION_UNDEFINED, "a from c", 6, 14),
    ("    define a: [user]\n    define b: c from a\n", ProblemKind.TUPLESET_RELATION_UNDEFINED, "c from a", 6, 14),
    ("    define a: [doc:*]\n    define b: a from a\n", ProblemKind.TUPLESET_NOT_DIRECT, "a", 6, 21),
    ("    define a: [user, doc#b]\n    define b: [user] or b from a\n", ProblemKind.TUPLESET_NOT_DIRECT, "a", 6, 31),
    (
        "    define a: [doc] or c\n    define b: c from a\n    define c: [user]\n",
        ProblemKind.TUPLESET_NOT_DIRECT,
        "a",
        6,
        21,
    ),
    ("    define self: [user]\n", ProblemKind.RESERVED_RELATION, "self", 5, 11),
    ("    define a: [user]\ntype this\n", ProblemKind.RESERVED_TYPE, "this", 6, 5),
    (f"    define {'a' * 51}: [user]\n", ProblemKind.NAME, "a" * 51, 5, 11),
    ("    define a: [user with c]\n", ProblemKind.CONDITION_UNDEFINED, "c", 5, 25),
    ("    define a: [doc:* with c]\n", ProblemKind.CONDITION_UNDEFINED, "c", 5, 26),
    ("    define a: [user with c]\ncondition c(x: int) { y > 1 }\n", ProblemKind.PARAMETER_UNDEFINED, "y", 6, 10),
    ("    define a: [user with c]\ncondition c(x-y: int) { x > 1 }\n", ProblemKind.NAME, "x-y", 6, 12),
    ("    define a: [user]\n    define b: a and b\n", ProblemKind.CYCLE, "b", 6, 20),
    ("    define a: [user] but not b\n    define b: [user] or a\n", ProblemKind.CYCLE, "a", 5, 11),
    ("    define a: [doc#a]\n", ProblemKind.NO_ENTRY_POINT, "a", 5, 11),
    ("    define p: [doc]\n    define a: a from p\n", ProblemKind.NO_ENTRY_POINT, "a", 6, 11),
    ("    define a: b\n    define b: a\n", ProblemKind.NO_ENTRY_POINT, "a", 5, 11),
    ("    define a: [user] and b\n    define b: [doc#b]\n", ProblemKind.NO_ENTRY_POINT, "a", 5, 11),
    ("    define a: [user] but not b\n    define b: [doc#b]\n", ProblemKind.NO_ENTRY_POINT, "a", 5, 11),
    ("    define a: [user, doc, user]\n", ProblemKind.REDUNDANT, "user", 5, 26),
    ("    define a: [user]\n    define b: a or (a and a)\n", ProblemKind.REDUNDANT, "a", 6, 26),
    ("    define a: [user]\ncondition c(x: int) { x > 1 }\n", ProblemKind.CONDITION_UNUSED, "c", 6, 10),
    ("    define a: [user with c]\ncondition c(x: int) { true }\n", ProblemKind.PARAMETER_UNUSED, "x", 6, 12),
    (f"    define a: [{'user, ' * MAX_RESTRICTIONS}user]\n", ProblemKind.LIMIT, "a", 5, 11),
]


@pytest.mark.parametrize(("relations", "kind", "symbol", "line", "column"), CASES)
def test_problems_and_their_places(relations: str, kind: ProblemKind, symbol: str, line: int, column: int) -> None:
    assert (kind, symbol, line, column) in found(TOP + relations)


def test_schema_of_another_version() -> None:
    assert found("model\n  schema 1.0\ntype user\n") == [(ProblemKind.SCHEMA, "1.0", 1, 9)]


@pytest.mark.parametrize(
    ("relation", "restricted", "kind"),
    [
        ({"this": {}}, [], ProblemKind.RESTRICTIONS_MISSING),
        ({"computedUserset": {"relation": "b"}}, [{"type": "t"}], ProblemKind.RESTRICTIONS_IDLE),
        ({"this": {}}, [{"type": "t", "relation": "b", "wildcard": {}}], ProblemKind.WILDCARD_AND_RELATION),
    ],
)
def test_what_only_json_can_get_wrong(relation: object, restricted: object, kind: ProblemKind) -> None:
    metadata = {"relations": {"a": {"directly_related_user_types": restricted}, "b": {}}}
    metadata["relations"]["b"] = {"directly_related_user_types": [{"type": "t"}]}
    definition = {"type": "t", "relations": {"a": relation, "b": {"this": {}}}, "metadata": metadata}
    assert [problem.kind for problem in check_model(from_json({"type_definitions": [definition]}))] == [kind]


@pytest.mark.parametrize("name", ["", "a b", "or", "define", "a:b", "é", "1a", "a..b", "-a"])
def test_names_that_dsl_cannot_say_are_refused_in_json(name: str) -> None:
    problems = check_model(from_json({"type_definitions": [{"type": name}]}))
    assert [problem.kind for problem in problems] == [ProblemKind.NAME]


def test_kinds_are_all_tried() -> None:
    elsewhere = {ProblemKind.SYNTAX, ProblemKind.MODULE, ProblemKind.FORM, ProblemKind.DUPLICATE}
    in_json = {ProblemKind.RESTRICTIONS_MISSING, ProblemKind.RESTRICTIONS_IDLE, ProblemKind.WILDCARD_AND_RELATION}
    tried = {case[1] for case in CASES} | elsewhere | in_json | {ProblemKind.SCHEMA, ProblemKind.CONDITION_NAME}
    assert tried == set(ProblemKind)


@pytest.mark.parametrize(
    "relations",
    [
        "    define a: [user] or b\n    define b: a\n",
        "    define a: [user, doc#a]\n",
        "    define p: [doc, user]\n    define a: [user] or a from p\n",
        "    define a: [user:*] and b\n    define b: [doc#a, user]\n",
    ],
)
def test_circles_that_can_be_entered_are_sound(relations: str) -> None:
    assert not check_model(parse_dsl(TOP + relations))


def test_warnings_are_no_errors() -> None:
    model = parse_dsl(f"{TOP}    define a: [user, user]\ncondition c(x: int) {{ true }}\n")
    kinds = [ProblemKind.REDUNDANT, ProblemKind.CONDITION_UNUSED, ProblemKind.PARAMETER_UNUSED]
    assert [problem.kind for problem in require_sound(model)] == kinds
    assert all(kind.is_warning for kind in kinds)


def test_errors_are_raised_without_the_warnings_and_not_too_many() -> None:
    many = "".join(f"    define a{index}: [usr, usr]\n" for index in range(2 * MAX_PROBLEMS))
    with pytest.raises(InvalidModel) as caught:
        require_sound(parse_dsl(TOP + many))
    assert [problem.kind for problem in caught.value.problems] == [ProblemKind.TYPE_UNDEFINED] * MAX_PROBLEMS


# ----- against brute force --------------------------------------------------------------------------------------------

NAMES = ("a", "b", "c", "d")
leaf = st.just(This()) | st.sampled_from([ComputedUserset(name) for name in NAMES])
leaf |= st.sampled_from([TupleToUserset(name, "p") for name in NAMES])
rewrites = st.recursive(
    leaf,
    lambda operand: (
        st.builds(lambda x, y: Union((x, y)), operand, operand)
        | st.builds(lambda x, y: Intersection((x, y)), operand, operand)
        | st.builds(Difference, operand, operand)
    ),
    max_leaves=4,
)
restricted = st.sets(st.sampled_from(["user", *NAMES]), min_size=1, max_size=2).map(
    lambda names: tuple(
        TypeRestriction("user") if name == "user" else TypeRestriction("doc", name) for name in sorted(names)
    )
)


@st.composite
def models(draw: st.DrawFn) -> Model:
    relations = {"p": Relation("p", This(), (TypeRestriction("doc"),))}
    for name in NAMES:
        rewrite = draw(rewrites)
        direct = This() in leaves(rewrite)
        relations[name] = Relation(name, rewrite, draw(restricted) if direct else ())
    return Model({"user": TypeDefinition("user"), "doc": TypeDefinition("doc", relations)})


def can_enter(relation: Relation, rewrite: Rewrite, entered: set[str]) -> bool:
    match rewrite:
        case This():
            return any(item.relation is None or item.relation in entered for item in relation.restrictions)
        case ComputedUserset(name) | TupleToUserset(name, _):
            return name in entered
        case Union((x, y)):
            return can_enter(relation, x, entered) or can_enter(relation, y, entered)
        case Intersection((x, y)) | Difference(x, y):
            return can_enter(relation, x, entered) and can_enter(relation, y, entered)
    raise AssertionError


@given(models())
def test_nobody_can_have_what_no_number_of_rounds_reaches(model: Model) -> None:
    relations = model.types["doc"].relations
    entered: set[str] = set()
    for _ in relations:
        entered |= {name for name, relation in relations.items() if can_enter(relation, relation.rewrite, entered)}
    problems = check_model(model)
    impossible = {problem.symbol for problem in problems if problem.kind is ProblemKind.NO_ENTRY_POINT}
    if not any(problem.kind is ProblemKind.CYCLE and "defined by itself" in problem.message for problem in problems):
        assert impossible == relations.keys() - entered


def edges(rewrite: Rewrite, *, taken: bool = False) -> set[tuple[str, bool]]:
    match rewrite:
        case ComputedUserset(name):
            return {(name, taken)}
        case Union((x, y)) | Intersection((x, y)):
            return edges(x, taken=taken) | edges(y, taken=taken)
        case Difference(x, y):
            return edges(x, taken=taken) | edges(y, taken=True)
    return set()


@given(models())
def test_a_circle_through_what_is_taken_away_is_found_by_walking_all_ways(model: Model) -> None:
    relations = model.types["doc"].relations
    ways = {(name, other) for name in relations for other, _ in edges(relations[name].rewrite)} | {
        (name, name) for name in relations
    }
    for middle, start, end in product(relations, repeat=3):
        if {(start, middle), (middle, end)} <= ways:
            ways.add((start, end))
    expected = {
        name for name in relations for other, taken in edges(relations[name].rewrite) if taken and (other, name) in ways
    }
    problems = check_model(model)
    if not any("defined by itself" in problem.message for problem in problems):
        assert {problem.symbol for problem in problems if problem.kind is ProblemKind.CYCLE} == expected


WIDE = "".join(f"    define a{index}: [user]\n" for index in range(5_000))


@pytest.mark.parametrize(
    "relations",
    [
        pytest.param(
            "".join(f"    define a{i}: a{i + 1}\n" for i in range(9_000)) + "    define a9000: [user]\n", id="chain"
        ),
        pytest.param(
            "".join(f"    define a{i}: u but not a{(i + 1) % 7_000}\n" for i in range(7_000))
            + "    define u: [user]\n",
            id="ring",
        ),
        pytest.param(WIDE + "    define b: " + " and ".join(f"a{i}" for i in range(5_000)) + "\n", id="wide"),
        pytest.param(
            "    define a: [user]\n    define b: " + " or ".join("a" for _ in range(40_000)) + "\n", id="the same"
        ),
        pytest.param(
            "    define a: [user with c]\ncondition c(x: int) { "
            + " || ".join(f"y{i} > 1" for i in range(15_000))
            + " }\n",
            id="condition",
        ),
    ],
)
def test_large_models_are_checked_within_a_second(relations: str) -> None:
    model = parse_dsl(TOP + relations)
    started = time.monotonic()
    check_model(model)
    assert time.monotonic() - started < 1


# ----- what expressions ask for ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("x < 100", ["x"]),
        ("x < y && y < z", ["x", "y", "z"]),
        ('x == "y" || x == \'z\' || b"q" == r"\\"', ["x"]),
        ("user_ip.in_cidr(cidr)", ["user_ip", "cidr"]),
        ("now < start + duration('1h') && type(now) == timestamp", ["now", "start"]),
        ("l.exists(i, i > x) && m . all( k, k in l )", ["l", "x", "m"]),
        ("m.field.other[index] in [true, false, null]", ["m", "index"]),
        ("x > 1u && x < 0x1F && x != 1e3 // y", ["x"]),
        ("has(m.a) ? m.a : {'k': v}", ["m", "v"]),
        ('"""a\nb""" == x', ["x"]),
        ("", []),
        ("x.exists(", ["x"]),
    ],
)
def test_free_names_of_expressions(expression: str, names: list[str]) -> None:
    assert expressions.free_names(expression) == names
