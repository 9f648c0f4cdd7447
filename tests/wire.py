"""Calls as bytes, below the SDK, and the contract that every answer to a bad one keeps.

What can be asked is read from the descriptors, so an RPC or a field that comes later is tried like the others.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from watchword.server.app import services
from watchword.v1 import errors_pb2, options_pb2

NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"
TIMEOUT = 20
Path_ = tuple[FieldDescriptor, ...]


@dataclass(frozen=True, slots=True)
class Rpc:
    """An RPC of Watchword's own. A stream of requests is tried with one message."""

    name: str
    request: type[Message]
    response: type[Message]
    sends_stream: bool = False
    gets_stream: bool = False

    @property
    def path(self) -> str:
        return f"/{self.request.DESCRIPTOR.file.package}.{self.name}"


RPCS = [
    Rpc(
        f"{service.name}/{method.name}",
        GetMessageClass(method.input_type),
        GetMessageClass(method.output_type),
        method.client_streaming,
        method.server_streaming,
    )
    for service in services()
    for method in service.methods
]
RPC = {rpc.name.partition("/")[2]: rpc for rpc in RPCS}


def _stated() -> dict[str, tuple[str, frozenset[str]]]:
    text = (Path(__file__).parents[1] / "protos/watchword/v1/errors.proto").read_text()
    stated = {}
    for comment, name in re.findall(r"((?:  //.*\n)+)  ERROR_REASON_(\w+) = ", text):
        words = " ".join(line.strip().removeprefix("//").strip() for line in comment.splitlines())
        metadata = re.search(r"Metadata (.*?)(?:\.|:|$)", words)
        names = frozenset(re.findall(r"`(\w+)`", metadata[1])) if metadata else frozenset()
        stated[name] = (words.partition(".")[0], names)
    return stated


STATED = {reason: facts for reason, facts in _stated().items() if reason != "UNSPECIFIED"}
"""What errors.proto says of each reason: its status code, and the names of its metadata."""


# ----- calling --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended."""

    code: str
    response: Any = None
    text: str = ""
    reason: str = ""
    metadata: dict[str, str] | None = None
    fields: tuple[str, ...] = ()
    has_info: bool = False
    domain: str = ""
    retry_after: float | None = None

    @property
    def short(self) -> str:
        return f"{self.code} {self.reason} {self.fields} {self.text}"


class Wire:
    """A connection that says anything."""

    def __init__(self, channel: grpc.Channel, metadata: Any) -> None:
        self._channel = channel
        self.metadata = metadata

    def call(self, rpc: Rpc, request: Message | bytes, metadata: Any = None) -> Outcome:
        return self.start(rpc, request, metadata)()

    def start(self, rpc: Rpc, request: Message | bytes, metadata: Any = None) -> Any:
        """Begin a call; what is returned waits for its outcome."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        if rpc.gets_stream:
            return lambda: self._stream(rpc, data, metadata)
        method = self._channel.unary_unary(rpc.path, response_deserializer=rpc.response.FromString)
        future = method.future(data, timeout=TIMEOUT, metadata=self.metadata if metadata is None else metadata)

        def wait() -> Outcome:
            try:
                return Outcome("OK", future.result())
            except grpc.RpcError as error:
                return outcome_of(error)

        return wait

    def _stream(self, rpc: Rpc, data: bytes, metadata: Any) -> Outcome:
        kind = self._channel.stream_stream if rpc.sends_stream else self._channel.unary_stream
        method = kind(rpc.path, response_deserializer=rpc.response.FromString)
        sent = iter([data]) if rpc.sends_stream else data
        try:
            responses = list(method(sent, timeout=TIMEOUT, metadata=self.metadata if metadata is None else metadata))
        except grpc.RpcError as error:
            return outcome_of(error)
        return Outcome("OK", responses[-1] if responses else rpc.response())


def outcome_of(error: grpc.RpcError) -> Outcome:
    info, bad, status = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status.ParseFromString(value)
    retry = error_details_pb2.RetryInfo()
    has_info = has_retry = False
    for detail in status.details:
        has_info = detail.Unpack(info) or has_info
        has_retry = detail.Unpack(retry) or has_retry
        detail.Unpack(bad)
    return Outcome(
        error.code().name,
        text=error.details(),
        reason=info.reason,
        metadata=dict(info.metadata),
        fields=tuple(violation.field for violation in bad.field_violations),
        has_info=has_info,
        domain=info.domain,
        retry_after=retry.retry_delay.ToTimedelta().total_seconds() if has_retry else None,
    )


def assert_lawful(outcome: Outcome, rpc: Rpc) -> None:
    """Hold an outcome against errors.proto: a canonical code, a reason that has it, and fields that there are."""
    if outcome.code == "OK":
        return
    assert outcome.code not in {"UNKNOWN", "INTERNAL"}, outcome.short
    assert outcome.has_info, outcome.short
    assert outcome.domain == "watchword"
    assert "ERROR_REASON_" + outcome.reason in errors_pb2.ErrorReason.keys(), outcome.short  # noqa: SIM118  # no mapping
    code, names = STATED[outcome.reason]
    assert outcome.code == code, outcome.short
    assert outcome.metadata["request_id"]
    assert names - {"id"} <= outcome.metadata.keys(), outcome.short
    for field in outcome.fields:
        assert _exists(rpc.request.DESCRIPTOR, field), f"{rpc.name} has no {field}"
    if outcome.reason == "INVALID_FIELD":
        assert outcome.fields[0] == outcome.metadata["field"]


def assert_refused(outcome: Outcome, rpc: Rpc, field: str) -> None:
    """The request is refused for one field, or an item of it, and for no other."""
    assert_lawful(outcome, rpc)
    assert outcome.reason == "INVALID_FIELD", outcome.short
    assert {bare(path) for path in outcome.fields} == {field}, outcome.short


def bare(field: str) -> str:
    """Name a field without the numbers of items."""
    return re.sub(r"\[\d+\]", "", field)


def _exists(descriptor: Descriptor, path: str) -> bool:
    # A mistake in a model has a line and a column there.
    path = re.sub(r"^dsl:\d+:\d+$", "dsl", path)
    name, _, rest = path.partition(".")
    name = re.sub(r"\[\d+\]$", "", name)
    field = descriptor.fields_by_name.get(name)
    if field is None:
        return not rest and name in descriptor.oneofs_by_name
    return not rest or (field.message_type is not None and _exists(field.message_type, rest))


# ----- fields ---------------------------------------------------------------------------------------------------------


def rules_of(field: FieldDescriptor) -> Any:
    return field.GetOptions().Extensions[options_pb2.rules]


def is_own(field: FieldDescriptor) -> bool:
    """Whether the field holds a message of Watchword's own."""
    return field.message_type is not None and field.message_type.file.package == "watchword.v1"


def fields_of(descriptor: Descriptor, *, output_only: bool = False) -> Iterator[Path_]:
    """Every field of a request and of the messages in it, as the way to it; those of the server's own apart.

    Not those within items that are answered singly: what is wrong there refuses no call (test_users_import.py).
    """
    for field in descriptor.fields:
        own = rules_of(field).output_only
        if own is output_only:
            yield (field,)
        if is_own(field) and not own and not rules_of(field).answered_singly:
            for below in fields_of(field.message_type, output_only=output_only):
                yield (field, *below)


def all_fields(kind: Any) -> list[tuple[Rpc, Path_]]:
    """Every field of every request of which `kind(field)` holds."""
    return [(rpc, path) for rpc in RPCS for path in fields_of(rpc.request.DESCRIPTOR) if kind(path[-1])]


def is_text(field: FieldDescriptor) -> bool:
    return field.type == FieldDescriptor.TYPE_STRING


def holds(full_name: str) -> Any:
    """Make the predicate of fields with messages of a type."""
    return lambda field: field.message_type is not None and field.message_type.full_name == full_name


def dotted(path: Path_) -> str:
    return ".".join(field.name for field in path)


def name_of(value: Any) -> str:
    """Name a parameter in the report."""
    if isinstance(value, Rpc):
        return value.name.partition("/")[2]
    return dotted(value) if isinstance(value, tuple) and isinstance(value[0], FieldDescriptor) else ascii(value)[:40]


def inside(message: Message, step: FieldDescriptor) -> Any:
    """The message in a field; in a repeated one the first item, which is made and filled if there is none."""
    below = getattr(message, step.name)
    if step.is_repeated:
        return below[0] if below else _fill(below.add())
    if not message.HasField(step.name):
        below.SetInParent()
        _fill(below)
    return below


def put(message: Message, path: Path_, value: Any) -> Message:
    """Set a field; text in a repeated one becomes its only item."""
    *above, field = path
    for step in above:
        message = inside(message, step)
    if field.is_repeated:
        del getattr(message, field.name)[:]
        getattr(message, field.name).extend(value if isinstance(value, list) else [value])
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)
    return message


_PLAIN = {
    options_pb2.FORMAT_UUID: NOBODY,
    options_pb2.FORMAT_EMAIL: "ana@example.com",
    options_pb2.FORMAT_SLUG: "nobody",
    options_pb2.FORMAT_LANGUAGE_TAG: "pt-BR",
    options_pb2.FORMAT_ANY: "correct horse battery",
    options_pb2.FORMAT_IP_ADDRESS: "192.0.2.1",
    options_pb2.FORMAT_TEXT: "model\n  schema 1.1\ntype user",
}
# Names that the starter model has.
_NAMES = {
    "permissions": "read_users",
    "subject": f"user:{NOBODY}",
    "relation": "member",
    "role": "member",
    "object": "organization:acme",
    "object_type": "organization",
    "subject_type": "user",
    "subject_filters": "user",
    "openfga_json": '{"schema_version": "1.1", "type_definitions": [{"type": "user"}]}',
}


def plain(field: FieldDescriptor) -> str:
    """Text that a field takes."""
    return _NAMES.get(field.name) or _PLAIN.get(rules_of(field).format, "ana")


def valid(rpc: Rpc) -> Any:
    """The smallest request that breaks no rule: what it names does not exist."""
    return _fill(rpc.request())


def filled(descriptor: Descriptor) -> Any:
    """The smallest message of a type that breaks no rule."""
    return _fill(GetMessageClass(descriptor)())


def _fill(message: Any) -> Any:
    first_of_oneofs = {oneof.fields[0].name for oneof in message.DESCRIPTOR.oneofs}
    for field in message.DESCRIPTOR.fields:
        if not rules_of(field).required and field.name not in first_of_oneofs:
            continue
        if is_own(field) and field.is_repeated:
            _fill(getattr(message, field.name).add())
        elif field.enum_type is not None or field.type == FieldDescriptor.TYPE_BOOL:
            setattr(message, field.name, 1)
        elif is_own(field):
            getattr(message, field.name).SetInParent()
            _fill(getattr(message, field.name))
        else:
            put(message, (field,), plain(field))
    _fill_by_name(message)
    return message


def _fill_by_name(message: Any) -> None:
    """Fill what no rule of a field requires, and yet the request would be refused for the lack of."""
    match message.DESCRIPTOR.name:
        case "User":
            message.user_id, message.external_id = NOBODY, "ana"  # one for an update, one for a creation
        case "Organization" | "Group":
            setattr(message, message.DESCRIPTOR.fields[0].name, "nothing")  # the id, which an update needs
        case "RelationshipFilter":
            message.object_type = "organization"  # an empty one selects everything, which some RPCs refuse
        case "WatchStart":
            message.include_details = True  # without it no types may be chosen
        case "AcceptInvitationRequest":
            message.user_id = NOBODY
        case "WriteModelRequest":
            message.validate_only = True  # what comes after it is asked of the starter model
        case "WriteRelationshipsRequest":
            _fill(message.writes.add())
