"""Conditions: OpenFGA's types and functions in CEL, and hostile expressions."""

import contextlib
import time
from typing import Any

import pytest

from watchword.server.permissions.answers import ConditionFailed
from watchword.server.permissions.conditions import MAX_EXPRESSION, CompiledCondition, InvalidCondition
from watchword.server.permissions.model import Condition, Container, Parameter, ParameterType


def compiled(expression: str, **types: str) -> CompiledCondition:
    """A condition with parameters of types as the DSL writes them."""
    parameters = {}
    for name, text in types.items():
        container, _, inner = text.rpartition("<")
        type_ = ParameterType(inner.removesuffix(">"))
        parameters[name] = Parameter(name, type_, Container(container) if container else None)
    return CompiledCondition(Condition("tested", parameters, expression))


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("expression", "type_", "value", "expected"),
    [
        ("v", "bool", True, True),
        ("v < 100", "int", 99, True),
        ("v < 100", "int", 100.0, False),
        ("v < 100", "int", "99", True),
        ("v == 1000", "int", "1e3", True),
        ("v == 9223372036854775807", "int", "9223372036854775807", True),
        ("v == 18446744073709551615u", "uint", "18446744073709551615", True),
        ("v > 0.5", "double", 1, True),
        ("v > 0.5", "double", "0.25", False),
        ('v.startsWith("a") && v.matches("^[a-c]+$")', "string", "abc", True),
        ('v != null && v > duration("1h")', "duration", "1h0m1s", True),
        ('v == duration("1.5s")', "duration", "1500ms", True),
        ('v < duration("0s")', "duration", "-1ns", False),
        ('v < duration("0s")', "duration", "-1µs", True),
        ('v < timestamp("2023-10-11T10:00:00.000Z")', "timestamp", "2023-10-11T11:59:59+02:00", True),
        ('v == timestamp("2023-10-11T10:00:00.123456Z")', "timestamp", "2023-10-11T10:00:00.123456Z", True),
        ("v.getFullYear() == 2023", "timestamp", "2023-10-11T10:00:00Z", True),
        ('v.in_cidr("192.168.0.0/16")', "ipaddress", "192.168.1.1", True),
        ('v.in_cidr("192.168.7.7/16")', "ipaddress", "192.168.1.1", True),
        ('v.in_cidr("10.0.0.0/8")', "ipaddress", "192.168.1.1", False),
        ('v.in_cidr("2001:db8::/32")', "ipaddress", "2001:db8::1", True),
        ('v.in_cidr("0.0.0.0/0")', "ipaddress", "2001:db8::1", False),
        ('v.in_cidr("::/0")', "ipaddress", "fe80::1%eth0", False),
        ('v != null && v == ipaddress("2001:DB8:0::1")', "ipaddress", "2001:db8::1", True),
        # An IPv4 address, as a listener for both kinds tells of it, and a network written so.
        ('v.in_cidr("192.168.1.0/24")', "ipaddress", "::ffff:192.168.1.7", True),
        ('v.in_cidr("::ffff:192.168.1.0/120")', "ipaddress", "192.168.1.7", True),
        ('v.in_cidr("::ffff:192.168.1.0/120")', "ipaddress", "::ffff:192.168.2.7", False),
        ('v.in_cidr("::ffff:0:0/96")', "ipaddress", "192.168.1.7", True),
        ('v.in_cidr("::/0")', "ipaddress", "::ffff:192.168.1.7", False),
        ('v != null && v == ipaddress("192.168.1.7")', "ipaddress", "::FFFF:c0a8:107", True),
        ('"a" in v && v.exists(x, x == "b") && v[1] == "b"', "list<string>", ["a", "b"], True),
        ("v.all(x, x > 1u)", "list<uint>", [2, "3"], True),
        ('v.exists(a, a.in_cidr("10.0.0.0/8"))', "list<ipaddress>", ["10.1.1.1"], True),
        ('v["a"] == 1.5 && v.a == 1.5 && "b" in v', "map<double>", {"a": 1.5, "b": 2}, True),
        ('v.startsWith("a")', "any", "abc", True),
        ("v == 2 && v < 2.5 && v / 4.0 == 0.5 && type(v) == double", "any", 2, True),
        ("v > 0", "any", 10**30, True),
        ('v.size() == 3 && "a" in v && v[1].b == null', "any", ["a", {"b": None}, 1], True),
        ("v == null", "any", None, True),
        ("v == null", "any", False, False),
        ("v && true", "any", True, True),
        ('v[0] == "a" && v[1][0] == 1', "list<any>", ["a", [1]], True),
        ('v.a == "a" && v.b.c == 1', "map<any>", {"a": "a", "b": {"c": 1}}, True),
        ('v.in_cidr("192.168.1.0/24")', "any", "::ffff:192.168.1.7", True),
    ],
)
def test_values_of_all_types(expression, type_, value, expected):
    assert compiled(expression, v=type_).evaluate({"v": value, "unknown": object()}) is expected


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        *(("bool", value) for value in (1, "true", None)),
        *(("int", value) for value in (1.5, True, "x", "", "1_000", " 1", "٣", 2**63, "1e400", "1e999999999", "inf")),
        *(("int", value) for value in (float("nan"), float("inf"), [1], None, "9" * 10_000)),
        *(("uint", value) for value in (-1, "-1", 2**64)),
        *(("double", value) for value in (float("inf"), "-inf", "nan", "1.8e308", "1e400", "1e99999999999999999999")),
        *(("string", value) for value in (1, None, ["a"])),
        *(("duration", value) for value in (5, "5", "5 s", "", "-", "1h-1m", "1d", "3000000h", "1" * 500 + "s")),
        *(("timestamp", value) for value in (0, "2023-10-11", "2023-10-11 10:00:00Z", "2023-13-11T10:00:00Z")),
        *(("timestamp", value) for value in ("2023-10-11T10:00:00", "0001-01-01T00:00:00+23:00", "x" * 10_000)),
        *(("ipaddress", value) for value in (1, "1.2.3", "1.2.3.4/8", "01.2.3.4", "", "localhost")),
        *(("list<int>", value) for value in ("ab", {"a": 1}, ["a"], 1, None)),
        *(("map<int>", value) for value in ([1], {"a": "b"}, None)),
        *(("any", value) for value in (float("nan"), [float("inf")], [10**400], nested(100), nested(100_000))),
        *(("any", value) for value in ("\ud800", {"\ud800": 1}, {1: 2}, object())),
        *(("list<any>", value) for value in ("a", None, {"a": 1}, [nested(100)], [object()])),
        *(("map<any>", value) for value in ("a", None, [1], {"a": nested(100)}, {"a": object()})),
    ],
)
def test_values_of_other_types_are_refused(type_, value):
    with pytest.raises(ConditionFailed, match=r"^The condition 'tested' takes a .* as 'v', "):
        compiled("v == v", v=type_).evaluate({"v": value})


def test_every_declared_parameter_must_be_given_as_in_openfga():
    condition = compiled("x < 100 || y < 50", x="int", y="int")
    assert condition.evaluate({}) == ("x", "y")
    assert condition.evaluate({"x": 1}) == ("y",)
    assert condition.evaluate({"x": 1, "y": 100}) is True


@pytest.mark.parametrize(
    ("expression", "value"),
    [('v["b"] == 1', {"a": 1}), ("1 / v.a == 1", {"a": 0}), ("v.a + 9223372036854775807 > 0", {"a": 1})],
)
def test_an_error_in_an_evaluation_is_an_error(expression, value):
    with pytest.raises(ConditionFailed, match="could not be evaluated"):
        compiled(expression, v="map<int>").evaluate({"v": value})


def test_a_value_that_is_neither_true_nor_false_is_not_told():
    condition = compiled('{"a": true, "b": dyn(v)}["b"]', v="string")
    with pytest.raises(ConditionFailed, match="comes to neither true nor false") as failed:
        condition.evaluate({"v": "geheim"})
    assert "geheim" not in str(failed.value)


@pytest.mark.parametrize("value", ["a", 1, [1], {"a": 1}, None, True, nested(50)])
@pytest.mark.parametrize(
    "expression",
    [
        *("v + v == 0", "-v == 0", "v < 1", "v && v", "!v", "v ? true : false", "v.size() > 7", "v.b == 1"),
        *("v[7] == 1", "1 in v", "v.exists(x, x > 1)", "int(v) > 7", "timestamp(v) > timestamp(0)"),
        *("v.matches(v)", 'v.startsWith("b")', 'v.in_cidr("10.0.0.0/8")', "has(v.a)", "{v: 1}[v] == 1"),
    ],
)
def test_whatever_is_done_with_a_value_of_any_type_decides_or_fails(expression, value):
    condition = compiled(expression, v="any")
    with contextlib.suppress(ConditionFailed):
        assert condition.evaluate({"v": value}) in {True, False}


@pytest.mark.parametrize("network", ["10.0.0.0", "10.0.0.0/255.0.0.0", "10.0.0.0/08", "10.0.0.0/33", "x/8", "::%1/8"])
def test_a_malformed_network_is_an_error(network):
    with pytest.raises(ConditionFailed):
        compiled("v.in_cidr(n)", v="ipaddress", n="string").evaluate({"v": "10.0.0.1", "n": network})


@pytest.mark.parametrize(
    ("expression", "types"),
    [
        ("v <", {"v": "int"}),
        ('v < "a"', {"v": "int"}),
        ("v + 1", {"v": "int"}),
        ("w == 1", {"v": "int"}),
        ('v == "192.0.2.1"', {"v": "ipaddress"}),
        ('v.in_cidr("10.0.0.0/8")', {"v": "string"}),
        ("v == 1", {"v": "list<int>"}),
        ("v.nothing()", {"v": "string"}),
        ("{[v]: 1}", {"v": "string"}),
        ("", {}),
    ],
)
def test_mistakes_are_found_when_a_condition_is_written(expression, types):
    with pytest.raises(InvalidCondition) as found:
        compiled(expression, **types)
    assert "\n" not in str(found.value)


HOSTILE = [
    "(" * 2000 + "true" + ")" * 2000,
    "!" * 4000 + "true",
    "[" * 1000 + "]" * 1000 + " == []",
    "s.matches('(a+)+$') || s.matches('(a?){500}a{500}')",
    "s.matches('((a{100}){100}){100}')",
    "[s]" + ".map(x, x + x + x + x + x + x + x + x)" * 12 + " == []",
    "[s].exists(a, [a+a+a+a+a+a].exists(b, [b+b+b+b+b+b].exists(c, [c+c+c+c+c+c].exists(d, d == 'x'))))",
    "[l]" + ".map(x, [x, x, x, x, x, x, x, x])" * 9 + " == [l]" + ".map(x, [x, x, x, x, x, x, x, x])" * 9,
    "l.all(a, l.all(b, l.all(c, l.all(d, a + b + c + d != 'x'))))",
    "l.map(a, l.map(b, l.map(c, a))).size() > 0",
    "'" + "a" * MAX_EXPRESSION + "' == s",
    "+".join(["s"] * 2000) + " == s",
    "/*" * 1000,
    "\x00\ud800",
]


@pytest.mark.parametrize("expression", HOSTILE)
def test_hostile_expressions_end_soon(expression):
    started = time.process_time()
    with contextlib.suppress(InvalidCondition, ConditionFailed):
        compiled(expression, s="string", l="list<string>").evaluate({"s": "a" * 10_000, "l": ["abcdefgh"] * 300})
    assert time.process_time() - started < 1


def test_ordinary_expressions_with_macros_are_no_growth():
    compiled(
        'l.exists(x, x > "") && l.exists_one(x, x > "") && l.all(x, x > "") && l.filter(x, x > "a").size() > 1',
        l="list<string>",
    )
    compiled('["a", "b"].exists(x, l.exists(y, y == x))', l="list<string>")
