"""Conditions: CEL expressions with typed parameters, evaluated as OpenFGA does.

The library is `cel-expr-python`, the Python binding of Google's C++ implementation, chosen by trying three:
it checks types when a condition is written, as OpenFGA does (the Rust one, `common-expression-language`, cannot); it
takes 4 µs for an evaluation (`cel-python`, in pure Python, 140 µs, and it brings eight more packages); it needs no
other package. It is bounded: 10,000 rounds of macros in all, 32 levels of nesting, RE2 for `matches` (the Rust one ran
six seconds on seven nested lists of ten). What it does not bound is how values grow (`[s].map(x, x + x).map(…)` filled
2 GB from 300 characters), so `_growth` refuses such expressions.

It knows no abstract types at run time: IP addresses are a type of their own when types are checked, and canonical
strings when evaluated.

Every declared parameter must be given, also where the others would decide, as OpenFGA has it: what a condition needs
does not hang on the values of the day.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from cel_expr_python import cel

from watchword.server.permissions.answers import ConditionFailed
from watchword.server.permissions.model import Condition, Container, Parameter, ParameterType

MAX_EXPRESSION: Final = 4_096
"""Characters. Guards the parser, and with `_growth` the memory, against hostile expressions."""
MAX_GROWTH: Final = 1_000
"""By how much an expression may multiply the values that it is given."""
_MAX_NUMBER: Final = 400
"""Characters of a number written as a string: parsing takes time that grows with the length."""
_MAX_LEVELS: Final = 64
"""Of values of any type. More than a request or a file can bring; guards the stack."""


class InvalidCondition(ValueError):
    """A condition's expression is not CEL, or its types do not fit. The message is for who wrote it."""


class CompiledCondition:
    """A condition, ready to be evaluated."""

    __slots__ = ("_program", "name", "parameters")

    def __init__(self, condition: Condition) -> None:
        """Compile.

        Raises:
            InvalidCondition: the expression is not CEL, its types do not fit, it is no yes or no, or it is too large.

        """
        self.name = condition.name
        self.parameters = condition.parameters
        expression = condition.expression
        if len(expression) > MAX_EXPRESSION:
            raise InvalidCondition(f"The expression is too long: {MAX_EXPRESSION:,} characters are the most.")
        if _growth(expression) > MAX_GROWTH:
            raise InvalidCondition("The expression could multiply its values without bound: use fewer macros or '+'.")
        if not expression.isprintable() and _UNPRINTABLE.search(expression):
            raise InvalidCondition("The expression has characters that no text should have.")
        parameters = condition.parameters.values()
        try:
            result = _environment(parameters, _ADDRESS).compile(expression).return_type()
            self._program = _environment(parameters, cel.Type.STRING).compile(expression, disable_check=True)
        except RuntimeError as error:
            raise InvalidCondition(_first_line(str(error))) from None
        if result != cel.Type.BOOL:
            raise InvalidCondition("The expression must come to true or false.")

    def evaluate(self, context: Mapping[str, Any]) -> bool | tuple[str, ...]:
        """Decide by the values of a context; names other than the parameters' are ignored.

        Returns: whether the condition holds, or the names of the parameters that are missing, sorted.

        Raises:
            ConditionFailed: a value is not of its parameter's type, or the evaluation fails, as for a missing key.

        """
        values = self.typed(context)
        if missing := tuple(sorted(name for name in self.parameters if name not in values)):
            return missing
        try:
            result = self._program.eval(data=values)
            if result.type() == cel.Type.BOOL:
                return bool(result.plain_value())
            # Any other value is not told: it may come from a relationship, whose context is not for whoever asks.
            failed = result.type() == cel.Type.ERROR
            message = _first_line(str(result.value())) if failed else "it comes to neither true nor false"
        except RuntimeError as error:
            message = _first_line(str(error))
        raise ConditionFailed(f"The condition '{self.name}' could not be evaluated: {message}.")

    def typed(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters' values from a context, as CEL takes them.

        Raises:
            ConditionFailed: a value is not of its parameter's type.

        """
        values = {}
        for name, parameter in self.parameters.items():
            if name in context:
                try:
                    values[name] = _typed(parameter, context[name])
                except (TypeError, ValueError, OverflowError, InvalidOperation):
                    kind = f"{parameter.container}<{parameter.type}>" if parameter.container else parameter.type
                    message = f"The condition '{self.name}' takes a {kind} as '{name}', {_FORMS[parameter.type]}."
                    raise ConditionFailed(message) from None
        return values


def _first_line(message: str) -> str:
    """What the library says, without the drawing of the expression below."""
    return message.partition("\n")[0].removesuffix(".")[:300]


# ----- bounds ---------------------------------------------------------------------------------------------------------

_UNPRINTABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")
_MACRO: Final = re.compile(r"\.\s*(?:all|exists|exists_one|filter|map)\s*\(")
_BUILDS: Final = re.compile(r"\+|(?:^|[^\w\s\])}])\s*\[|\{")
_WORD: Final = re.compile(r"[A-Za-z_]\w*")


def _growth(expression: str) -> int:
    """An upper bound on how much the values of an expression can grow.

    Each macro binds a variable to a value that the next may have in it several times: with m macros and w words no
    more than (w / m) ** m copies. Without `+` or a literal list or map there is nothing to put copies into.
    """
    macros = len(_MACRO.findall(expression))
    if macros < 2 or not _BUILDS.search(expression):  # noqa: PLR2004 - one macro cannot build upon another
        return 1
    return int((len(_WORD.findall(expression)) / macros) ** macros)


# ----- types ----------------------------------------------------------------------------------------------------------

_ADDRESS: Final = cel.Type.AbstractType("IPAddress", [])
_TYPES: Final = {
    ParameterType.BOOL: cel.Type.BOOL,
    ParameterType.STRING: cel.Type.STRING,
    ParameterType.INT: cel.Type.INT,
    ParameterType.UINT: cel.Type.UINT,
    ParameterType.DOUBLE: cel.Type.DOUBLE,
    ParameterType.DURATION: cel.Type.DURATION,
    ParameterType.TIMESTAMP: cel.Type.TIMESTAMP,
    ParameterType.ANY: cel.Type.DYN,
}
_FORMS: Final = {
    ParameterType.BOOL: "true or false",
    ParameterType.STRING: "a text",
    ParameterType.INT: "a whole number",
    ParameterType.UINT: "a whole number of at least 0",
    ParameterType.DOUBLE: "a finite number",
    ParameterType.DURATION: 'a text such as "1h30m"',
    ParameterType.TIMESTAMP: 'a text such as "2030-01-31T12:00:00Z"',
    ParameterType.IPADDRESS: 'a text such as "192.0.2.1"',
    ParameterType.ANY: f"a value of JSON, of at most {_MAX_LEVELS} levels",
}


def _environment(parameters: Any, address: cel.Type) -> cel.Env:
    variables = {}
    for parameter in parameters:
        type_ = _TYPES.get(parameter.type, address)
        match parameter.container:
            case Container.LIST:
                type_ = cel.Type.List(type_)
            case Container.MAP:
                type_ = cel.Type.Map(cel.Type.STRING, type_)
        variables[parameter.name] = type_
    # For checking types only, there are no implementations: the library cannot carry values of abstract types.
    runs = address == cel.Type.STRING
    in_cidr = {"impl": _in_cidr} if runs else {}
    from_text = {"impl": _address} if runs else {}
    functions = [
        cel.FunctionDecl(
            "in_cidr",
            [cel.Overload("ipaddress_in_cidr", cel.Type.BOOL, [address, cel.Type.STRING], is_member=True, **in_cidr)],
        ),
        cel.FunctionDecl(
            "ipaddress", [cel.Overload("string_to_ipaddress", address, [cel.Type.STRING], is_member=False, **from_text)]
        ),
    ]
    return cel.NewEnv(variables=variables, functions=functions)


def _typed(parameter: Parameter, value: Any) -> Any:
    convert = _CONVERT[parameter.type]
    match parameter.container, value:
        case None, _:
            return convert(value)
        case Container.LIST, list() | tuple():
            return [convert(item) for item in value]
        case Container.MAP, Mapping():
            return {_string(key): convert(item) for key, item in value.items()}
    raise ValueError


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError


_SURROGATE: Final = re.compile("[\ud800-\udfff]")
"""Half characters, which JSON can spell. The library takes none."""


def _string(value: Any) -> str:
    if isinstance(value, str) and not _SURROGATE.search(value):
        return value
    raise ValueError


_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,9})?", re.ASCII)


def _number(value: Any) -> Decimal:
    """A number as JSON has it, or written as a string, as large ones must be."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    if isinstance(value, str) and (len(value) > _MAX_NUMBER or not _NUMBER.fullmatch(value)):
        raise ValueError
    number = Decimal(value)
    # The exponent is bounded before anything is computed: "1e999999999" as an int would fill the memory.
    if not number.is_finite() or number.adjusted() > _MAX_NUMBER:
        raise ValueError
    return number


def _whole(value: Any, low: int, high: int) -> int:
    number = _number(value)
    if number != number.to_integral_value() or not low <= number <= high:
        raise ValueError
    return int(number)


def _int(value: Any) -> int:
    return _whole(value, -(2**63), 2**63 - 1)


def _uint(value: Any) -> int:
    return _whole(value, 0, 2**64 - 1)


def _double(value: Any) -> float:
    number = float(_number(value))
    if number in {float("inf"), float("-inf")}:
        raise ValueError
    return number


_DURATION: Final = re.compile(r"([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+|0)", re.ASCII)
_DURATION_PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_MICROSECOND: Final = 1_000
_SECOND: Final = 1_000_000_000
_NANOSECONDS: Final = {
    "ns": 1,
    "us": _MICROSECOND,
    "µs": _MICROSECOND,
    "μs": _MICROSECOND,
    "ms": 1_000 * _MICROSECOND,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3_600 * _SECOND,
}
_MAX_DURATION: Final = 2**63 - 1


def _duration(value: Any) -> timedelta:
    """Go's form, as `1h30m` or `-1.5s`. Kept in microseconds."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) and len(value) <= _MAX_NUMBER else None
    if match is None:
        raise ValueError
    parts = _DURATION_PART.findall(match[2])
    nanoseconds = sum((Decimal(number) * _NANOSECONDS[unit] for number, unit in parts), Decimal(0))
    if nanoseconds > _MAX_DURATION:
        raise ValueError
    length = timedelta(microseconds=int(nanoseconds) // 1_000)
    return -length if match[1] == "-" else length


_TIMESTAMP: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,](\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)", re.ASCII)


def _timestamp(value: Any) -> datetime:
    """RFC 3339. Kept in microseconds."""
    match = _TIMESTAMP.fullmatch(value) if isinstance(value, str) and len(value) <= _MAX_NUMBER else None
    if match is None:
        raise ValueError
    moment = datetime.fromisoformat(f"{match[1]}.{(match[2] or '').ljust(6, '0')[:6]}{match[3]}")
    return moment.astimezone(UTC)


def _address(value: Any) -> str:
    """The canonical form of an IP address, so that equal addresses are equal strings."""
    if not isinstance(value, str):
        raise TypeError
    return str(_parsed(value))


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Read an IP address.

    Threat: a dual-stack listener tells of an IPv4 caller as ::ffff:192.0.2.1, which is in no network of IPv4 that
    somebody is kept out of, or let in from. As in OpenFGA, that is the IPv4 address.
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped and "%" not in text:
        return address.ipv4_mapped
    return address


_PREFIX: Final = re.compile(r"[^/%]+/(?:0|[1-9]\d{0,2})", re.ASCII)


def _in_cidr(address: str, cidr: str) -> bool:
    # Only the plain form: Python's module would also take a network without a length, or with a mask.
    if not _PREFIX.fullmatch(cidr):
        raise ValueError("a network is written as in 192.0.2.0/24")
    # Not canonical where types are not checked: what is of any type can be a text that was never an address.
    own, network = _parsed(address), _network(cidr)
    return "%" not in address and own.version == network.version and own in network


_MAPPED_BITS: Final = 96


def _network(cidr: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    network = ipaddress.ip_network(cidr, strict=False)
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped is None or network.prefixlen < _MAPPED_BITS:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))


def _any(value: Any, levels: int = _MAX_LEVELS) -> Any:
    """What JSON gives. Numbers are doubles, as in OpenFGA: what one can be used for must not hang on it being whole."""
    if not levels:
        raise ValueError
    match value:
        case None | bool():
            return value
        case str():
            return _string(value)
        case int() | float():
            return _double(value)
        case list() | tuple():
            return [_any(item, levels - 1) for item in value]
        case Mapping():
            return {_string(key): _any(item, levels - 1) for key, item in value.items()}
    raise ValueError


_CONVERT: Final[Mapping[ParameterType, Callable[[Any], Any]]] = {
    ParameterType.BOOL: _bool,
    ParameterType.STRING: _string,
    ParameterType.INT: _int,
    ParameterType.UINT: _uint,
    ParameterType.DOUBLE: _double,
    ParameterType.DURATION: _duration,
    ParameterType.TIMESTAMP: _timestamp,
    ParameterType.IPADDRESS: _address,
    ParameterType.ANY: _any,
}
