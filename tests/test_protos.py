"""The grammar of the contracts: what holds for every service, RPC, message, field and enum, present and to come."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import grpc_tools
import pytest
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodOptions,
    ServiceDescriptorProto,
)
from google.rpc import code_pb2
from grpc_tools import protoc

from watchword.v1 import errors_pb2, options_pb2
from watchword.v1.options_pb2 import FieldRules, Format

PROTOS = Path(__file__).parents[1] / "protos"
NAMES = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))


def load(name: str) -> FileDescriptor:
    module = name.removesuffix(".proto").replace("/", ".") + "_pb2"
    descriptor = importlib.import_module(module).DESCRIPTOR
    assert isinstance(descriptor, FileDescriptor)
    return descriptor


def nested(message: Descriptor) -> Iterator[Descriptor]:
    yield message
    for inner in message.nested_types:
        if not inner.GetOptions().map_entry:
            yield from nested(inner)


FILES: list[FileDescriptor] = [load(name) for name in NAMES]
SERVICES: list[ServiceDescriptor] = [service for file in FILES for service in file.services_by_name.values()]
METHODS: list[MethodDescriptor] = [method for service in SERVICES for method in service.methods]
MESSAGES: list[Descriptor] = [
    message for file in FILES for top in file.message_types_by_name.values() for message in nested(top)
]
ENUMS: list[EnumDescriptor] = [
    *(enum for file in FILES for enum in file.enum_types_by_name.values()),
    *(enum for message in MESSAGES for enum in message.enum_types),
]
REASONS: set[str] = set(errors_pb2.ErrorReason.keys())
FIELDS: list[FieldDescriptor] = [field for message in MESSAGES for field in message.fields]


def is_mutation(method: MethodDescriptor) -> bool:
    return method.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS


def rules(field: FieldDescriptor) -> FieldRules:
    return field.GetOptions().Extensions[options_pb2.rules]


def reachable(message: Descriptor, seen: set[str]) -> Iterator[FieldDescriptor]:
    """Every field of Watchword's own messages in a request, however deep."""
    if message.full_name in seen or not message.full_name.startswith("watchword."):
        return
    seen.add(message.full_name)
    for field in message.fields:
        yield field
        if field.message_type is not None:
            yield from reachable(field.message_type, seen)


REQUEST_FIELDS: dict[str, FieldDescriptor] = {
    field.full_name: field for method in METHODS for field in reachable(method.input_type, set())
}

every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
every_enum = pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.full_name)


def test_the_walk_finds_the_services() -> None:
    assert {service.name for service in SERVICES} >= {
        "UserService",
        "ServiceAccountService",
        "SignInService",
        "CredentialService",
        "SessionService",
        "TokenService",
        "OrganizationService",
        "PermissionService",
        "RelationshipService",
    }


@every_method
def test_method_names_the_permission_it_needs(method: MethodDescriptor) -> None:
    permission = method.GetOptions().Extensions[options_pb2.access].permission
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", permission)


def test_permissions_of_fields_stand_where_they_are_enforced() -> None:
    of_requests = {field.full_name for method in METHODS for field in method.input_type.fields}
    found = {field.full_name: rules(field).permission for field in FIELDS if rules(field).permission}
    assert found
    assert found.keys() <= of_requests
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", permission) for permission in found.values())


@every_method
def test_method_has_a_request_and_a_response_of_its_own(method: MethodDescriptor) -> None:
    assert method.input_type.full_name == f"watchword.v1.{method.name}Request"
    assert method.output_type.full_name == f"watchword.v1.{method.name}Response"


def test_no_request_or_response_is_left_over() -> None:
    used = {message.full_name for method in METHODS for message in (method.input_type, method.output_type)}
    named = {message.full_name for message in MESSAGES if message.name.endswith(("Request", "Response"))}
    assert named == used


@pytest.mark.parametrize("method", list(filter(is_mutation, METHODS)), ids=lambda method: method.full_name)
def test_mutation_takes_a_request_id_and_answers_with_a_revision(method: MethodDescriptor) -> None:
    request_id = method.input_type.fields_by_name["request_id"]
    assert request_id.type == FieldDescriptor.TYPE_STRING
    assert rules(request_id).format == Format.FORMAT_UUID
    assert not rules(request_id).required
    assert method.output_type.fields_by_name["revision"].type == FieldDescriptor.TYPE_STRING


READS = re.compile(r"(Get|BatchGet|List|Introspect|Check|BatchCheck|Explain|Export|Watch)(?![a-z])")


@every_method
def test_reads_are_declared_as_such(method: MethodDescriptor) -> None:
    reads = READS.match(method.name) is not None
    assert reads is not is_mutation(method)
    assert reads is ("request_id" not in method.input_type.fields_by_name)


# A user has a handful of credentials: there are no pages of them.
UNPAGED = {"watchword.v1.CredentialService.ListCredentials"}
# Beside the items proper: items of other kinds that share the pages, and what the whole list stands on.
BESIDE_ITEMS = {
    "watchword.v1.PermissionService.ListObjects": {"conditional", "nodes"},
    "watchword.v1.PermissionService.ListSubjects": {"conditional", "excluded", "nodes"},
}


@pytest.mark.parametrize(
    "method",
    [method for method in METHODS if method.name.startswith("List") and method.full_name not in UNPAGED],
    ids=lambda method: method.full_name,
)
def test_list_has_pages(method: MethodDescriptor) -> None:
    request, response = method.input_type.fields_by_name, method.output_type.fields_by_name
    assert request["page_size"].type == FieldDescriptor.TYPE_INT32
    assert request["page_token"].type == FieldDescriptor.TYPE_STRING
    assert response["next_page_token"].type == FieldDescriptor.TYPE_STRING
    items = {field.name for field in response.values() if field.is_repeated}
    assert len(items - BESIDE_ITEMS.get(method.full_name, set())) == 1
    assert BESIDE_ITEMS.get(method.full_name, set()) < items


def test_times_are_timestamps_and_named_so() -> None:
    # `create_time_from` and `create_time_until` bound a time in a filter.
    named = {field.full_name for field in FIELDS if re.search(r"_time(_from|_until)?$", field.name)}
    typed = {
        field.full_name
        for field in FIELDS
        if field.message_type is not None and field.message_type.full_name == "google.protobuf.Timestamp"
    }
    assert named == typed
    assert not [field.full_name for field in FIELDS if field.name.endswith(("_at", "_timestamp", "_seconds", "_ms"))]


@every_enum
def test_enum_starts_unspecified_and_prefixes_its_values(enum: EnumDescriptor) -> None:
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper()
    assert enum.values_by_number[0].name == f"{prefix}_UNSPECIFIED"
    assert all(value.name.startswith(f"{prefix}_") for value in enum.values)


SECRET_NAMES = re.compile(r"(^|_)(password|secret|api_key|access_token|refresh_token|token)$")
# Secret to nobody: a page token is sealed and says where a list goes on.
PUBLIC_TOKENS = {"page_token", "next_page_token"}


def test_secrets_are_marked_for_printing_and_for_logs() -> None:
    redacted = {field.full_name for field in FIELDS if field.GetOptions().debug_redact}
    secret = {field.full_name for field in FIELDS if rules(field).secret and field.containing_type.name != "FieldRules"}
    named = {
        field.full_name
        for field in FIELDS
        if SECRET_NAMES.search(field.name)
        and field.name not in PUBLIC_TOKENS
        and field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}
    }
    assert redacted == secret
    assert named <= secret


FORMATS = {
    "user_id": Format.FORMAT_UUID,
    "user_ids": Format.FORMAT_UUID,
    "session_id": Format.FORMAT_UUID,
    "keep_session_id": Format.FORMAT_UUID,
    "except_session_id": Format.FORMAT_UUID,
    "credential_id": Format.FORMAT_UUID,
    "key_id": Format.FORMAT_UUID,
    "request_id": Format.FORMAT_UUID,
    "owner_user_id": Format.FORMAT_UUID,
    "invitation_id": Format.FORMAT_UUID,
    "model_id": Format.FORMAT_UUID,
    "organization_id": Format.FORMAT_OBJECT_ID,
    "group_id": Format.FORMAT_OBJECT_ID,
    "service_account_id": Format.FORMAT_SLUG,
    "email": Format.FORMAT_EMAIL,
    "username": Format.FORMAT_USERNAME,
    "locale": Format.FORMAT_LANGUAGE_TAG,
    "ip_address": Format.FORMAT_IP_ADDRESS,
    "page_token": Format.FORMAT_OPAQUE,
    "etag": Format.FORMAT_OPAQUE,
    "refresh_token": Format.FORMAT_OPAQUE,
    "invitation_token": Format.FORMAT_OPAQUE,
    "resume_token": Format.FORMAT_OPAQUE,
}


@pytest.mark.parametrize("field", REQUEST_FIELDS.values(), ids=REQUEST_FIELDS)
def test_request_fields_of_one_name_have_one_format(field: FieldDescriptor) -> None:
    if field.name in FORMATS:
        assert Format.Name(rules(field).format) == Format.Name(FORMATS[field.name])
    else:
        # An id that is not in the table would be taken for one line of any text.
        assert not re.search(r"_ids?$", field.name) or field.name == "external_id"
    if rules(field).format == Format.FORMAT_ANY:
        assert rules(field).secret, "control characters are for passwords and tokens only"


PLACE = re.compile(r"[a-z_]+:\{([a-z_.]+)\}")


@every_method
def test_the_object_that_a_user_must_be_related_to_is_an_id_of_the_request(method: MethodDescriptor) -> None:
    access = method.GetOptions().Extensions[options_pb2.access]
    assert bool(access.relation) is bool(access.object)
    if not access.object:
        return
    place = PLACE.fullmatch(access.object)
    assert place is not None
    message: Descriptor = method.input_type
    *path, name = place[1].split(".")
    for part in path:
        message = message.fields_by_name[part].message_type
    field = message.fields_by_name[name]
    # An id without a form could hold a "#" and so name something else than it seems to.
    assert rules(field).format in {Format.FORMAT_OBJECT_ID, Format.FORMAT_UUID, Format.FORMAT_SLUG}
    assert access.object.startswith(f"{name.removesuffix('_id')}:")


@pytest.mark.parametrize("field", REQUEST_FIELDS.values(), ids=REQUEST_FIELDS)
def test_rules_fit_the_type_of_their_field(field: FieldDescriptor) -> None:
    text = field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}
    assert text or not rules(field).max_bytes
    assert field.type == FieldDescriptor.TYPE_STRING or not rules(field).format
    assert field.is_repeated or not rules(field).max_items


# Comments are the manual, so every element has one.


# The place of an element in its file, as descriptor.proto numbers the parts.
Place = tuple[int, ...]


def of_enum(place: Place, enum: EnumDescriptorProto) -> Iterator[tuple[Place, str]]:
    yield place, enum.name
    for index, value in enumerate(enum.value):
        yield (*place, 2, index), value.name


def of_message(place: Place, message: DescriptorProto) -> Iterator[tuple[Place, str]]:
    yield place, message.name
    for number, parts in ((2, message.field), (6, message.extension), (8, message.oneof_decl)):
        for index, part in enumerate(parts):
            yield (*place, number, index), f"{message.name}.{part.name}"
    for index, inner in enumerate(message.nested_type):
        if not inner.options.map_entry:
            yield from of_message((*place, 3, index), inner)
    for index, inner in enumerate(message.enum_type):
        yield from of_enum((*place, 4, index), inner)


def of_service(place: Place, service: ServiceDescriptorProto) -> Iterator[tuple[Place, str]]:
    yield place, service.name
    for index, method in enumerate(service.method):
        yield (*place, 2, index), f"{service.name}.{method.name}"


def of_file(file: FileDescriptorProto) -> Iterator[tuple[Place, str]]:
    yield (12,), file.name  # the comment of a file stands before its `syntax`
    for index, message in enumerate(file.message_type):
        yield from of_message((4, index), message)
    for index, enum in enumerate(file.enum_type):
        yield from of_enum((5, index), enum)
    for index, service in enumerate(file.service):
        yield from of_service((6, index), service)
    for index, extension in enumerate(file.extension):
        yield (7, index), extension.name


@pytest.fixture(scope="module")
def comments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The comment of each element, "" where there is none. Generated code leaves them out."""
    target = tmp_path_factory.mktemp("protos") / "described.binpb"
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    options = [f"-I{PROTOS}", f"-I{well_known}", "--include_source_info", f"--descriptor_set_out={target}"]
    assert protoc.main(["protoc", *options, *NAMES]) == 0
    found: dict[str, str] = {}
    for file in FileDescriptorSet.FromString(target.read_bytes()).file:
        texts = {tuple(part.path): part.leading_comments for part in file.source_code_info.location}
        found |= {name: " ".join(texts.get(place, "").split()) for place, name in of_file(file)}
    return found


def test_everything_has_a_comment(comments: dict[str, str]) -> None:
    assert len(comments) > len(FIELDS) + len(METHODS)
    assert not [name for name, text in comments.items() if not text.endswith(".")]


def test_every_reason_tells_its_status_code(comments: dict[str, str]) -> None:
    codes = set(code_pb2.Code.keys()) - {"OK", "UNKNOWN"}
    for reason in REASONS - {"ERROR_REASON_UNSPECIFIED"}:
        assert comments[reason].partition(".")[0] in codes, reason


def test_comments_name_reasons_that_exist(comments: dict[str, str]) -> None:
    named = {
        (name, reason) for name, text in comments.items() for reason in re.findall(r"\breason ([A-Z][A-Z_]+)", text)
    }
    assert named
    assert not [(name, reason) for name, reason in named if f"ERROR_REASON_{reason}" not in REASONS]


def test_limits_in_comments_are_those_enforced(comments: dict[str, str]) -> None:
    for field in FIELDS:
        told = re.search(r"[Aa]t most ([\d,]+) bytes", comments[f"{field.containing_type.name}.{field.name}"])
        if told and rules(field).max_bytes:
            assert int(told[1].replace(",", "")) == rules(field).max_bytes, field.full_name
