"""What a request may hold: the rules that options.proto puts on fields, read from the descriptors.

Hides how rules become code. A message type is compiled once to nested functions that look only at the fields that
are set, so a small request costs a few microseconds. Text that is accepted is kept byte for byte; where something
must be unique whatever the spelling, a key is made of it (`normalize_email`, `normalize_username`) and kept beside
it. So an e-mail address with a local part that is not NFC is accepted and kept as it came; its key is NFC.

Threat: descriptions of violations go into answers and logs. They state the rule and never the value.
"""

import ipaddress
import json
import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Final

from email_validator import validate_email
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from watchword.server.errors import FieldOutputOnly, InvalidField, UnknownField
from watchword.server.permissions.names import is_object_id
from watchword.v1 import options_pb2

_MAX_VIOLATIONS: Final = 20
_DEFAULT_MAX_BYTES: Final = 1024
_DEFAULT_MAX_ITEMS: Final = 100
_MAX_MASK_PATHS: Final = 100
_MAX_MASK_PATH_BYTES: Final = 256
_MAX_STRUCT_BYTES: Final = 16_384
_MAX_STRUCT_DEPTH: Final = 16
_MAX_USERNAME_CHARACTERS: Final = 64

Violations = Sequence[tuple[str, str]]
"""Pairs of a path, relative to what was checked and empty for that itself, and what is wrong there."""

_Check = Callable[[Any], Violations]
_Problem = Callable[[Any], str | None]
_NOTHING: Final[Violations] = ()


class Validators:
    """The compiled rules of the message types asked for so far."""

    def __init__(self) -> None:
        self._compiled: dict[str, Callable[[Message], None]] = {}

    def validator_for(self, descriptor: Descriptor) -> Callable[[Message], None]:
        """Give the function that raises InvalidField, with at most 20 violations, if a message breaks its rules."""
        validator = self._compiled.get(descriptor.full_name)
        if validator is None:
            check = _compile_message(descriptor)

            def validator(message: Message) -> None:
                if violations := check(message):
                    raise InvalidField(violations[:_MAX_VIOLATIONS])

            self._compiled[descriptor.full_name] = validator
        return validator


def checker(descriptor: Descriptor) -> Callable[[Message], Violations]:
    """Give the function that finds what is wrong with one item of a field whose items are answered singly."""
    return _compile_message(descriptor)


def require_uuid(path: str, text: str) -> None:
    """Raise InvalidField unless the text is a canonical UUID.

    For an id inside a resource, which is output-only there and so escapes validation, but which an update needs.
    """
    if problem := _uuid_problem(text):
        raise InvalidField([(path, problem)])


def mask_paths(mask: FieldMask, descriptor: Descriptor) -> list[str]:
    """Give the fields of a message that an update mask names, each once, in the order of the mask.

    Only whole fields of the message itself can be named: "*" and paths with dots are unknown fields.

    Raises:
        UnknownField: the message has no such field.
        FieldOutputOnly: only the server sets it.

    """
    paths = list(dict.fromkeys(mask.paths))
    for path in paths:
        field = descriptor.fields_by_name.get(path)
        if field is None:
            raise UnknownField(path)
        if _rules(field).output_only:
            raise FieldOutputOnly(path)
    return paths


def normalize_email(text: str) -> str:
    """Make the key under which an e-mail address is unique: folded case, NFC, the domain in ASCII (IDNA 2008).

    Text that is no address gets a key too, so that whatever somebody signs in with can simply be looked up.
    """
    local, at, domain = text.rpartition("@")
    plain = domain.isascii() and "xn--" not in domain.lower()
    key = None if plain else _ascii_domain(f"x@{domain}")
    return _fold(local, "NFC") + at + (key or _fold(domain, "NFC"))


def normalize_email_prefix(text: str) -> str:
    """Make what the keys of e-mail addresses begin with that begin with a text."""
    return _fold(text, "NFC")


def normalize_username(text: str) -> str:
    """Make the key under which a username is unique: NFKC, folded case."""
    return _fold(text, "NFKC")


# ----- compilation ----------------------------------------------------------------------------------------------------


def _rules(field: FieldDescriptor) -> options_pb2.FieldRules:
    rules: options_pb2.FieldRules = field.GetOptions().Extensions[options_pb2.rules]
    return rules


def _compile_message(descriptor: Descriptor) -> _Check:
    checks: dict[int, tuple[str, _Check]] = {}
    required: dict[int, str] = {}
    for field in descriptor.fields:
        rules = _rules(field)
        if rules.output_only:
            continue
        if rules.required:
            required[field.number] = field.name
        if (check := _compile_field(field, rules)) is not None:
            checks[field.number] = (field.name, check)

    def check_message(message: Message) -> Violations:
        found: list[tuple[str, str]] = []
        fields = message.ListFields()
        if required:
            # Fields without presence are listed only if not zero or empty, so absence is what "required" forbids.
            present = {field.number for field, _ in fields}
            found += [(name, "is required") for number, name in required.items() if number not in present]
        for field, value in fields:
            rule = checks.get(field.number)
            if rule is not None and (violations := rule[1](value)):
                found += [(_join(rule[0], path), text) for path, text in violations]
        return found

    return check_message


def _join(name: str, path: str) -> str:
    return f"{name}.{path}" if path and path[0] != "[" else name + path


def _compile_field(field: FieldDescriptor, rules: options_pb2.FieldRules) -> _Check | None:
    check = None if rules.answered_singly else _compile_item(field, rules)
    if field.is_repeated:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            raise TypeError(f"{field.full_name}: there are no rules for maps")
        return _repeated(check, rules.max_items or _DEFAULT_MAX_ITEMS)
    return check


def _compile_item(field: FieldDescriptor, rules: options_pb2.FieldRules) -> _Check | None:
    limit = rules.max_bytes or _DEFAULT_MAX_BYTES
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return _leaf(_text(limit, _FORMS[rules.format], empty_allowed=not field.is_repeated))
        case FieldDescriptor.TYPE_BYTES:
            return _leaf(lambda value: f"must have at most {limit} bytes" if len(value) > limit else None)
        case FieldDescriptor.TYPE_ENUM:
            return _leaf(_enum(field.enum_type))
        case FieldDescriptor.TYPE_MESSAGE:
            well_known = _WELL_KNOWN.get(field.message_type.full_name)
            return _leaf(well_known) if well_known else _compile_message(field.message_type)
    return None


def _leaf(problem_in: _Problem) -> _Check:
    def check(value: Any) -> Violations:
        problem = problem_in(value)
        return (("", problem),) if problem else _NOTHING

    return check


def _repeated(check_item: _Check | None, limit: int) -> _Check:
    def check(values: Sequence[Any]) -> Violations:
        if len(values) > limit:
            return (("", f"must have at most {limit} items"),)
        found: list[tuple[str, str]] = []
        if check_item is not None:
            for index, value in enumerate(values):
                found += [(_join(f"[{index}]", path), text) for path, text in check_item(value)]
                if len(found) >= _MAX_VIOLATIONS:
                    break
        return found

    return check


# ----- text -----------------------------------------------------------------------------------------------------------


def _text(limit: int, form: _Problem, *, empty_allowed: bool) -> _Problem:
    def problem(value: str) -> str | None:
        # First of all, since what follows may take time that grows with the length.
        if len(value) > limit or (not value.isascii() and len(value.encode()) > limit):
            return f"must have at most {limit} bytes"
        if not value and not empty_allowed:
            return "must not be empty"
        return form(value)

    return problem


def _matching(pattern: str, description: str) -> _Problem:
    match = re.compile(pattern).fullmatch
    return lambda value: None if match(value) else description


_NON_CHARACTERS = "".join(chr(plane << 16 | end) for plane in range(17) for end in (0xFFFE, 0xFFFF))
_unfit_for_line = re.compile(f"[\0-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_NON_CHARACTERS}]").search
_unfit_for_text = re.compile(f"[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_NON_CHARACTERS}]").search
_OBJECT_ID_RULE = "must have letters, digits and any of _ | * @ . + / - only, and no * at the start"
_plain_username = re.compile(r"[A-Za-z0-9._+-]{1,64}").fullmatch
_uuid_problem = _matching(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "must be a UUID: 36 characters, lower case, with hyphens"
)


def _line_problem(value: str) -> str | None:
    return "must be one line of text without control characters" if _unfit_for_line(value) else None


def _username_problem(value: str) -> str | None:
    if _plain_username(value):
        return None
    # The key too: "\ufdfa" is one letter whose NFKC form holds spaces.
    if 0 < len(value) <= _MAX_USERNAME_CHARACTERS and all(map(_fits_username, value + normalize_username(value))):
        return None
    return "must be 1 to 64 letters, digits, marks or any of . _ + -"


def _fits_username(sign: str) -> bool:
    category = unicodedata.category(sign)
    return category[0] in "LM" or category == "Nd" or sign in "._+-"


# What most addresses are like. The library takes twenty times as long to find nothing wrong with them, which is most of
# the time that an import spends on reading a user.
_plain_email = re.compile(
    r"(?=.{1,200}\Z)(?=[^@]{1,64}@)[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*"
    r"@(?:(?=[^.]{1,63}\.)[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*\.)+[A-Za-z]{2,63}"
).fullmatch


def _email_problem(value: str) -> str | None:
    return None if _plain_email(value) or _ascii_domain(value) else "must be an e-mail address such as ana@example.com"


def _ascii_domain(address: str) -> str | None:
    """Give the domain of an e-mail address in ASCII, or None if it is no address.

    The library refuses domains that are reserved for private use (.local, .test …), and its only switch for that is
    global. Addresses of an intranet are welcome here; with one more label behind them they are like any other.
    """
    for suffix in ("", ".x"):
        try:
            parsed = validate_email(
                address + suffix, strict=True, globally_deliverable=False, check_deliverability=False
            )
        except ValueError:
            continue
        return parsed.ascii_domain.removesuffix(suffix)
    return None


def _ip_address_problem(value: str) -> str | None:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return "must be an IPv4 or IPv6 address"
    zone = isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None
    return "must be an IP address without a zone" if zone else None


def _fold(text: str, form: Any) -> str:
    return unicodedata.normalize(form, unicodedata.normalize(form, text).casefold())


_FORMS: Final[dict[Any, _Problem]] = {
    options_pb2.FORMAT_UNSPECIFIED: _line_problem,
    options_pb2.FORMAT_UUID: _uuid_problem,
    options_pb2.FORMAT_EMAIL: _email_problem,
    options_pb2.FORMAT_SLUG: _matching(
        r"(?=.{1,63}\Z)[a-z][a-z0-9]*(?:-[a-z0-9]+)*",
        "must be a lower-case letter, then up to 62 lower-case letters, digits and single hyphens between them",
    ),
    options_pb2.FORMAT_USERNAME: _username_problem,
    options_pb2.FORMAT_LANGUAGE_TAG: _matching(
        r"(?=.{1,35}\Z)[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*", 'must be a BCP 47 language tag such as "pt-BR"'
    ),
    options_pb2.FORMAT_ANY: lambda _: None,
    options_pb2.FORMAT_OPAQUE: _matching(r"[!-~]*", "must be printable ASCII without spaces"),
    options_pb2.FORMAT_IP_ADDRESS: _ip_address_problem,
    options_pb2.FORMAT_OBJECT_ID: lambda value: None if is_object_id(value) else _OBJECT_ID_RULE,
    options_pb2.FORMAT_TEXT: lambda value: (
        "must be text without control characters other than line feeds, carriage returns and tabs"
        if _unfit_for_text(value)
        else None
    ),
}


# ----- enums and well-known types -------------------------------------------------------------------------------------


def _enum(descriptor: EnumDescriptor) -> _Problem:
    # Zero is UNSPECIFIED: a field without presence never shows it here, a filter must not name it.
    known = frozenset(value.number for value in descriptor.values if value.number)
    return lambda value: None if value in known else f"must be a value of {descriptor.name} other than UNSPECIFIED"


def _timestamp_problem(value: Timestamp) -> str | None:
    if -62_135_596_800 <= value.seconds <= 253_402_300_799 and 0 <= value.nanos <= 999_999_999:  # noqa: PLR2004
        return None
    return "must be a time from year 1 to 9999, with nanos from 0 to 999,999,999"


def _duration_problem(value: Duration) -> str | None:
    same_sign = value.seconds == 0 or value.nanos == 0 or (value.seconds < 0) == (value.nanos < 0)
    if abs(value.seconds) <= 315_576_000_000 and abs(value.nanos) <= 999_999_999 and same_sign:  # noqa: PLR2004
        return None
    return "must be a duration of at most 10,000 years, with seconds and nanos of one sign"


def _field_mask_problem(value: FieldMask) -> str | None:
    if len(value.paths) > _MAX_MASK_PATHS:
        return f"must have at most {_MAX_MASK_PATHS} paths"
    if any(len(path.encode()) > _MAX_MASK_PATH_BYTES or _unfit_for_line(path) for path in value.paths):
        return f"must have paths of at most {_MAX_MASK_PATH_BYTES} bytes without control characters"
    return None


def _struct_problem(value: Struct) -> str | None:
    too_large = f"must have at most {_MAX_STRUCT_BYTES:,} bytes as compact JSON"
    # The encoding of a value is never eight times as long as its JSON. What is far too large is not walked through.
    if value.ByteSize() > 8 * _MAX_STRUCT_BYTES:
        return too_large
    try:
        plain = _plain_struct(value, 1)
    except ValueError as error:
        return str(error)
    size = len(json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode())
    return too_large if size > _MAX_STRUCT_BYTES else None


def _plain_struct(value: Struct, depth: int) -> dict[str, Any]:
    return {_plain_text(key): _plain_value(item, depth) for key, item in value.fields.items()}


def _plain_value(value: Value, depth: int) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _plain_struct(value.struct_value, _deeper(depth))
        case "list_value":
            below = _deeper(depth)
            return [_plain_value(item, below) for item in value.list_value.values]
        case "string_value":
            return _plain_text(value.string_value)
        case "number_value":
            if not math.isfinite(value.number_value):
                raise ValueError("must have finite numbers only")
            # As JSON has it: 1.0 is written "1".
            whole = value.number_value.is_integer() and abs(value.number_value) < 2**53
            return int(value.number_value) if whole else value.number_value
        case "bool_value":
            return value.bool_value
        case "null_value":
            return None
    raise ValueError("must not have values without a kind")


def _deeper(depth: int) -> int:
    if depth >= _MAX_STRUCT_DEPTH:
        raise ValueError(f"must have at most {_MAX_STRUCT_DEPTH} levels")
    return depth + 1


def _plain_text(text: str) -> str:
    # PostgreSQL's jsonb holds neither.
    if "\0" in text or (not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text)):
        raise ValueError("must not have NUL characters in its strings")
    return text


_WELL_KNOWN: Final[dict[str, _Problem]] = {
    "google.protobuf.Timestamp": _timestamp_problem,
    "google.protobuf.Duration": _duration_problem,
    "google.protobuf.FieldMask": _field_mask_problem,
    "google.protobuf.Struct": _struct_problem,
}
