"""A request that breaks a rule is refused with the field that breaks it; what is taken is kept as it came."""

import math

import grpc
import pytest
from conftest import PASSWORD
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from wire import (
    NOBODY,
    RPC,
    RPCS,
    Outcome,
    Rpc,
    Wire,
    all_fields,
    assert_lawful,
    assert_refused,
    dotted,
    fields_of,
    filled,
    holds,
    inside,
    is_text,
    name_of,
    outcome_of,
    plain,
    put,
    rules_of,
    valid,
)

from watchword.v1 import options_pb2, organizations_pb2, service_accounts_pb2, users_pb2

GRPC_LIMIT = 4 * 1024 * 1024
LINES = options_pb2.FORMAT_UNSPECIFIED
ANY = options_pb2.FORMAT_ANY
LONGEST = {
    LINES: lambda limit: "x" * limit,
    ANY: lambda limit: "x" * limit,
    options_pb2.FORMAT_OPAQUE: lambda limit: "x" * limit,
    options_pb2.FORMAT_UUID: lambda _: NOBODY,
    options_pb2.FORMAT_SLUG: lambda _: "a" * 63,
    options_pb2.FORMAT_USERNAME: lambda _: "\U00020000" * 64,
    options_pb2.FORMAT_LANGUAGE_TAG: lambda _: "de-abcdefgh-abcdefgh-abcdefgh-abcde",
    options_pb2.FORMAT_EMAIL: lambda _: f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 61}",
    options_pb2.FORMAT_IP_ADDRESS: lambda _: "0000:0000:0000:0000:0000:ffff:255.255.255.255",
    options_pb2.FORMAT_OBJECT_ID: lambda limit: "a" * limit,
    options_pb2.FORMAT_TEXT: lambda limit: "x" * limit,
}
TEXTS = all_fields(is_text)
LISTS = [rpc for rpc in RPCS if "page_token" in rpc.request.DESCRIPTOR.fields_by_name]


@pytest.fixture
def wire(channel, metadata) -> Wire:
    return Wire(channel, metadata)


@pytest.fixture
def ana(watchword):
    return watchword.users.create(email="ana@example.com", username="ana", external_id="7", password=PASSWORD)


def test_the_smallest_requests_break_no_rule(wire):
    """Or the tests below would see refusals for other reasons than theirs."""
    for rpc in RPCS:
        outcome = wire.call(rpc, valid(rpc))
        assert_lawful(outcome, rpc)
        assert outcome.reason != "INVALID_FIELD", (rpc.name, outcome.short)


# ----- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rpc", "path"), TEXTS, ids=name_of)
def test_text_up_to_the_limit_and_not_a_byte_more(wire, rpc, path):
    rules = rules_of(path[-1])
    limit = rules.max_bytes or 1024
    request = valid(rpc)
    put(request, path, LONGEST[rules.format](limit))
    outcome = wire.call(rpc, request)
    assert_lawful(outcome, rpc)
    assert "bytes" not in outcome.text, outcome.short
    for too_long in ("x" * (limit + 1), "é" * (limit // 2) + "xx", "x" * max(limit + 1, 200_000)):
        put(request, path, too_long)
        assert_refused(wire.call(rpc, request), rpc, dotted(path))


@pytest.mark.parametrize(("rpc", "path"), TEXTS, ids=name_of)
def test_control_characters(wire, rpc, path):
    text = plain(path[-1])
    if rules_of(path[-1]).format == ANY:
        text = f"{text}\0\1\n\x1b[2J\x7f\x85"
        put(request := valid(rpc), path, text)
        outcome = wire.call(rpc, request)
        assert_lawful(outcome, rpc)
        assert outcome.reason != "INVALID_FIELD", outcome.short
        return
    lines = "" if rules_of(path[-1]).format == options_pb2.FORMAT_TEXT else "\t\n\r"
    for sign in lines + "\0\1\x1b\x7f\x80\x85\x9f\ufdd0\uffff\U0010ffff":
        for wrong in (text + sign, sign + text, sign):
            put(request := valid(rpc), path, wrong)
            assert_refused(wire.call(rpc, request), rpc, dotted(path))


@pytest.mark.parametrize(("rpc", "path"), TEXTS, ids=name_of)
def test_bytes_that_are_no_utf_8(wire, rpc, path):
    put(request := valid(rpc), path, "QQQQ")
    data = request.SerializeToString()
    assert data.count(b"QQQQ") == 1
    # Stray continuation, overlong slash, lone surrogate, above U+10FFFF, cut short.
    for wrong in (b"\x80\x80\x80\x80", b"\xc0\xafab", b"\xed\xa0\x80a", b"\xf4\x90\x80\x80", b"abc\xe2"):
        outcome = wire.call(rpc, data.replace(b"QQQQ", wrong))
        assert_lawful(outcome, rpc)
        assert outcome.reason == "MALFORMED_REQUEST", outcome.short


def test_a_password_may_hold_anything(watchword, ana):
    watchword.credentials.set_password(ana.user_id, new_password="correct\0horse\n\x1b battery \U0001f40e")
    assert watchword.sign_in("ana", password="correct\0horse\n\x1b battery \U0001f40e").session
    with pytest.raises(Exception, match="SIGN_IN_REFUSED"):
        watchword.sign_in("ana", password="correct")


@pytest.mark.parametrize(
    "user_id", ["x", "x" * 2000, NOBODY.upper(), "{" + NOBODY + "}", f"urn:uuid:{NOBODY}", NOBODY + "\n", "\0"]
)
def test_the_id_of_an_update(wire, user_id):
    """It is output-only in a user, so that validation passes it by."""
    request = users_pb2.UpdateUserRequest(user={"user_id": user_id, "locale": "de"})
    assert_refused(wire.call(RPC["UpdateUser"], request), RPC["UpdateUser"], "user.user_id")


@pytest.mark.parametrize("name", ["CreateUser", "CreateServiceAccount", "CreateOrganization", "CreateGroup"])
def test_what_only_the_server_sets_is_ignored_in_a_resource(wire, name):
    rpc = RPC[name]
    request = valid(rpc)
    if name == "CreateGroup":
        organization = {"organization_id": request.group.organization_id}
        wire.call(RPC["CreateOrganization"], RPC["CreateOrganization"].request(organization=organization))
    for path in fields_of(rpc.request.DESCRIPTOR, output_only=True):
        match path[-1].type:
            case FieldDescriptor.TYPE_STRING:
                put(request, path, "\0" * 2000)
            case FieldDescriptor.TYPE_ENUM:
                put(request, path, 99)
            case FieldDescriptor.TYPE_MESSAGE:
                put(request, path, Timestamp(seconds=2**62, nanos=-1))
    assert wire.call(rpc, request).code == "OK"


# ----- presence, numbers, items ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rpc", "path"), all_fields(lambda field: rules_of(field).required), ids=name_of)
def test_required_fields(wire, rpc, path):
    request = message = valid(rpc)
    for step in path[:-1]:
        message = inside(message, step)
    message.ClearField(path[-1].name)
    assert_refused(wire.call(rpc, request), rpc, dotted(path))


@pytest.mark.parametrize("rpc", [rpc for rpc in RPCS if rpc.request.DESCRIPTOR.oneofs], ids=name_of)
def test_oneofs_without_a_choice(wire, rpc):
    for oneof in rpc.request.DESCRIPTOR.oneofs:
        request = valid(rpc)
        request.ClearField(request.WhichOneof(oneof.name))
        outcome = wire.call(rpc, request)
        assert_lawful(outcome, rpc)
        assert outcome.reason == "INVALID_FIELD", outcome.short
        assert outcome.fields[0] in {oneof.name, *(field.name for field in oneof.fields)}


@pytest.mark.parametrize(("rpc", "path"), all_fields(lambda field: field.is_repeated), ids=name_of)
def test_as_many_items_as_allowed_and_not_one_more(wire, rpc, path):
    limit = rules_of(path[-1]).max_items or 100
    item = item_of(path[-1])
    put(request := valid(rpc), path, [item] * limit)
    outcome = wire.call(rpc, request)
    assert_lawful(outcome, rpc)
    assert dotted(path) not in outcome.fields, outcome.short
    for count in (limit + 1, 3 * limit):
        put(request, path, [item] * count)
        assert_refused(wire.call(rpc, request), rpc, dotted(path))


@pytest.mark.parametrize(
    ("rpc", "path"), all_fields(lambda field: field.type == FieldDescriptor.TYPE_ENUM), ids=name_of
)
@pytest.mark.parametrize("number", [0, -1, 99, 2**31 - 1, -(2**31)])
def test_enum_values_that_do_not_exist(wire, rpc, path, number):
    put(request := valid(rpc), path, number)
    assert_refused(wire.call(rpc, request), rpc, dotted(path))


@pytest.mark.parametrize("rpc", LISTS, ids=name_of)
def test_page_sizes(wire, rpc):
    for size in (-1, -(2**31)):
        request = valid(rpc)
        request.page_size = size
        assert_refused(wire.call(rpc, request), rpc, "page_size")
    request = valid(rpc)
    request.page_size = 2**31 - 1
    assert wire.call(rpc, request).code in {"OK", "NOT_FOUND"}


@pytest.mark.parametrize("rpc", LISTS, ids=name_of)
def test_page_tokens_that_are_not_of_this_list(wire, watchword, rpc):
    for number in range(2):
        watchword.users.create(username=f"user{number}")
    good = watchword.users.list_page(page_size=1).next_page_token
    others = [good] if rpc is not RPC["ListUsers"] else [good[:-1], good[1:], "B" + good[1:], good + good, good + "="]
    for token in (*others, "x", "AAAA", "A" * 2048, "!~%_-", "null", "0", "=" * 64):
        request = valid(rpc)
        request.page_token = token
        outcome = wire.call(rpc, request)
        assert_lawful(outcome, rpc)
        assert outcome.reason == "INVALID_PAGE_TOKEN", (token, outcome.short)


# ----- masks and etags ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        *((name, "FIELD_OUTPUT_ONLY") for name in ("user_id", "status", "create_time", "update_time", "delete_time")),
        *((name, "UNKNOWN_FIELD") for name in ("*", "", "nope", "user.email", "attributes.plan", "displayName")),
        *((name, "UNKNOWN_FIELD") for name in ("Email", " email", "email,locale", "email ", "user", "DESCRIPTOR")),
        *((name, "UNKNOWN_FIELD") for name in ("version", "email_key", "__class__", "ä", "x" * 256)),
        *((name, "INVALID_FIELD") for name in ("email\0", "\n", "x" * 257, "ä" * 129)),
    ],
)
def test_update_masks(wire, watchword, ana, path, reason):
    request = users_pb2.UpdateUserRequest(user={"user_id": ana.user_id, "locale": "de"})
    for paths in ([path], ["locale", path], [path, "locale"]):
        request.update_mask.CopyFrom(FieldMask(paths=paths))
        outcome = wire.call(RPC["UpdateUser"], request)
        assert_lawful(outcome, RPC["UpdateUser"])
        assert outcome.reason == reason, outcome.short
        assert outcome.metadata["field"] == ("update_mask" if reason == "INVALID_FIELD" else path)
    assert watchword.users.get(ana.user_id) == ana


def test_an_update_mask_has_a_hundred_paths_at_most(wire, ana):
    request = users_pb2.UpdateUserRequest(user={"user_id": ana.user_id, "locale": "de"})
    request.update_mask.paths.extend(["locale"] * 100)
    assert wire.call(RPC["UpdateUser"], request).response.user.locale == "de"
    request.update_mask.paths.append("locale")
    assert_refused(wire.call(RPC["UpdateUser"], request), RPC["UpdateUser"], "update_mask")


def item_of(field):
    if is_text(field):
        return plain(field)
    return filled(field.message_type) if field.message_type is not None else 1


GUARDED = [rpc for rpc, path in all_fields(lambda field: field.name == "etag") if not rpc.name.count("/Create")]


ACME = {"organization_id": "acme"}
DEVS = {"organization_id": "acme", "group_id": "devs"}


def fill_guarded(request, etag):
    """Name the organization or group that there is, with an etag."""
    target = next((getattr(request, name) for name in ("organization", "group") if hasattr(request, name)), request)
    for name in ("organization_id", "group_id"):
        if hasattr(target, name):
            setattr(target, name, DEVS[name])
    target.etag = etag


@pytest.mark.parametrize("rpc", GUARDED, ids=name_of)
def test_wrong_etags_change_nothing(wire, watchword, ana, rpc):
    account = watchword.service_accounts.create("billing")
    wire.call(RPC["CreateOrganization"], organizations_pb2.CreateOrganizationRequest(organization=ACME))
    wire.call(RPC["CreateGroup"], organizations_pb2.CreateGroupRequest(group=DEVS))
    for etag in ("0", "2", "-1", "01", "1.0", "+1", "x" * 64, ana.etag + "0", '"1"', "*", "null"):
        request = valid(rpc)
        if rpc.name.startswith("OrganizationService"):
            fill_guarded(request, etag)
        elif hasattr(request, "user"):
            request.user.CopyFrom(users_pb2.User(user_id=ana.user_id, locale="de", etag=etag))
        else:
            id_field = request.DESCRIPTOR.fields[0].name
            setattr(request, id_field, ana.user_id if id_field == "user_id" else "billing")
            request.etag = etag
        outcome = wire.call(rpc, request)
        assert_lawful(outcome, rpc)
        assert (outcome.code, outcome.reason) == ("ABORTED", "ETAG_MISMATCH"), (etag, outcome.short)
    assert watchword.users.get(ana.user_id) == ana
    assert watchword.service_accounts.get("billing") == account


# ----- times ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rpc", "path"), all_fields(holds("google.protobuf.Timestamp")), ids=name_of)
def test_times_that_are_none(wire, rpc, path):
    for seconds, nanos in (
        (-62_135_596_801, 0),
        (253_402_300_800, 0),
        (2**63 - 1, 0),
        (-(2**63), 0),
        (0, -1),
        (0, 1_000_000_000),
        (0, 2**31 - 1),
        (0, -(2**31)),
    ):
        put(request := valid(rpc), path, Timestamp(seconds=seconds, nanos=nanos))
        assert_refused(wire.call(rpc, request), rpc, dotted(path))
    for seconds, nanos in ((-62_135_596_800, 0), (-1, 999_999_999), (253_402_300_799, 999_999_999)):
        put(request := valid(rpc), path, Timestamp(seconds=seconds, nanos=nanos))
        assert_lawful(wire.call(rpc, request), rpc)


@pytest.mark.parametrize(("rpc", "path"), all_fields(holds("google.protobuf.Duration")), ids=name_of)
def test_durations_that_are_none(wire, rpc, path):
    for seconds, nanos in (
        (315_576_000_001, 0),
        (-315_576_000_001, 0),
        (2**63 - 1, 0),
        (-(2**63), 0),
        (0, 1_000_000_000),
        (1, -1),
        (-1, 1),
        (0, -(2**31)),
    ):
        put(request := valid(rpc), path, Duration(seconds=seconds, nanos=nanos))
        assert_refused(wire.call(rpc, request), rpc, dotted(path))


def test_times_at_the_end_of_the_calendar(wire, watchword):
    """They are kept and come back; what lies in the past or ends too late names its field."""
    watchword.service_accounts.create("billing")
    create, rotate = RPC["CreateKey"], RPC["RotateKey"]
    request = service_accounts_pb2.CreateKeyRequest(service_account_id="billing", permissions=["read_users"])
    request.expire_time.seconds = -62_135_596_800
    assert_refused(wire.call(create, request), create, "expire_time")
    request.expire_time.seconds = 253_402_300_799
    key = wire.call(create, request).response
    assert key.key.expire_time.seconds == 253_402_300_799
    introspected = wire.call(RPC["IntrospectToken"], RPC["IntrospectToken"].request(token=key.api_key)).response
    assert introspected.remaining_lifetime.seconds > 200_000_000_000
    for seconds in (-1, 30 * 86_400 + 1, 315_576_000_000, -315_576_000_000):
        rotation = rotate.request(key_id=key.key.key_id, overlap=Duration(seconds=seconds))
        assert_refused(wire.call(rotate, rotation), rotate, "overlap")
    assert wire.call(rotate, rotate.request(key_id=key.key.key_id, overlap=Duration(seconds=30 * 86_400))).code == "OK"


# ----- attributes -----------------------------------------------------------------------------------------------------


def nested(levels: int) -> Struct:
    """A JSON object of so many levels."""
    struct = Struct()
    inner = struct
    for _ in range(levels - 1):
        inner = inner.get_or_create_struct("a")
    return struct


def value(number: float) -> Struct:
    return Struct(fields={"a": Value(number_value=number)})


def text(**fields: str) -> Struct:
    return Struct(fields={name: Value(string_value=string) for name, string in fields.items()})


BAD_ATTRIBUTES = {
    "NaN": value(math.nan),
    "infinity": value(math.inf),
    "minus infinity": value(-math.inf),
    "NUL in a text": text(a="x\0y"),
    "NUL in a name": text(**{"x\0y": "a"}),
    "NUL deep inside": Struct(fields={"a": Value(list_value={"values": [Value(struct_value=text(b="\0"))]})}),
    "17 levels": nested(17),
    "30 levels": nested(30),
    "16 KiB and a byte": text(a="x" * (16_384 - 8 + 1)),
    "16 KiB and a byte, not ASCII": text(a="é" * ((16_384 - 8) // 2) + "x"),
    "200 kilobytes": text(a="x" * 200_000),
    "a great many members": Struct(fields={str(number): Value(null_value=0) for number in range(15_000)}),
    "a value of no kind": Struct(fields={"a": Value()}),
    "a value of no kind in a list": Struct(fields={"a": Value(list_value={"values": [Value()]})}),
}


@pytest.mark.parametrize("attributes", BAD_ATTRIBUTES.values(), ids=BAD_ATTRIBUTES)
@pytest.mark.parametrize(("rpc", "path"), all_fields(holds("google.protobuf.Struct")), ids=name_of)
def test_attributes_and_contexts_that_are_refused(wire, rpc, path, attributes):
    put(request := valid(rpc), path, attributes)
    assert_refused(wire.call(rpc, request), rpc, dotted(path))


@pytest.mark.parametrize(("rpc", "path"), all_fields(holds("google.protobuf.Struct")), ids=name_of)
def test_attributes_and_contexts_too_deep_to_decode(wire, rpc, path):
    """What protobuf itself gives up on, at a hundred levels, is still the caller's mistake."""
    for levels in (60, 1_000, 5_000):
        struct = b""
        for _ in range(levels):  # Value{struct_value: Struct{fields: {"": …}}}
            struct = field(1, field(1, b"") + field(2, field(5, struct)))
        data = struct
        for step in reversed(path):
            # Behind what is good, since of a message that comes twice the two are merged.
            data = filled(step.containing_type).SerializeToString() + field(step.number, data)
        outcome = wire.call(rpc, data)
        assert_lawful(outcome, rpc)
        assert outcome.reason in {"MALFORMED_REQUEST", "INVALID_FIELD"}, outcome.short


def field(number: int, data: bytes) -> bytes:
    """Encode a length-delimited field."""
    length, size = b"", len(data)
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


@pytest.mark.parametrize(
    "attributes",
    [
        nested(16),
        text(a="x" * (16_384 - 8)),
        text(**{"": "", " ": " ", "a.b": "$", "__proto__": "x", "\x01\x1f\x7f": "\x01\u2028\ufffd\uffff"}),
        value(-1.5e308),
        value(5e-324),
        value(2.0**53 + 2),
        value(0.1),
        Struct(fields={"a": Value(null_value=0), "b": Value(bool_value=False), "c": Value(list_value={})}),
    ],
    ids=["16 levels", "16 KiB", "odd names", "great", "tiny", "whole", "tenth", "nothings"],
)
def test_attributes_come_back_as_they_were(wire, attributes):
    request = users_pb2.CreateUserRequest(user={"external_id": "7", "attributes": attributes})
    created = wire.call(RPC["CreateUser"], request)
    assert created.code == "OK", created.short
    found = wire.call(RPC["GetUser"], users_pb2.GetUserRequest(external_id="7")).response.user
    assert found.attributes == created.response.user.attributes == attributes


# ----- size of the whole ----------------------------------------------------------------------------------------------


def most_bytes(rpc: Rpc) -> int:
    """How many bytes the proto lets a request have."""
    service, _, method = rpc.name.partition("/")
    options = rpc.request.DESCRIPTOR.file.services_by_name[service].methods_by_name[method].GetOptions()
    return options.Extensions[options_pb2.access].max_request_bytes or 256 * 1024


def padded(rpc: Rpc, size: int) -> bytes:
    """A good request of so many bytes, most of which are a field of the future."""
    data = valid(rpc).SerializeToString()
    for overhead in range(4, 8):
        whole = data + field(15, b"x" * (size - len(data) - overhead))
        if len(whole) == size:
            return whole
    raise AssertionError(size)


@pytest.mark.parametrize("rpc", RPCS, ids=name_of)
def test_requests_up_to_the_limit_and_not_a_byte_more(wire, watchword, rpc):
    limit = most_bytes(rpc)
    assert limit <= GRPC_LIMIT
    outcome = wire.call(rpc, padded(rpc, limit))
    assert_lawful(outcome, rpc)
    assert outcome.reason not in {"REQUEST_TOO_LARGE", "MALFORMED_REQUEST"}
    for size in {limit + 1, GRPC_LIMIT} - {limit, GRPC_LIMIT + 1}:
        outcome = wire.call(rpc, padded(rpc, size))
        assert_lawful(outcome, rpc)
        assert (outcome.reason, outcome.metadata["limit"]) == ("REQUEST_TOO_LARGE", str(limit))
        # Whoever may not call learns nothing, not even this.
        assert wire.call(rpc, padded(rpc, size), ()).reason == "API_KEY_INVALID"


def test_messages_that_grpc_itself_refuses(wire, watchword):
    for rpc in (RPC["IntrospectToken"], RPC["WriteModel"], RPC["ImportRelationships"], RPC["ExportRelationships"]):
        for size in (GRPC_LIMIT + 1, 40 * 1024 * 1024):
            outcome = wire.call(rpc, padded(rpc, size))
            assert outcome.code == "RESOURCE_EXHAUSTED", outcome.short
    request = RPC["IntrospectToken"].request(token="x" * (256 * 1024 - 100))
    assert_refused(wire.call(RPC["IntrospectToken"], request), RPC["IntrospectToken"], "token")
    assert watchword.users.list_page().items == ()


# ----- streams --------------------------------------------------------------------------------------------------------


IMPORT = RPC["ImportRelationships"]


def stream(channel, metadata, messages):
    """Import what comes; give the answers and how it ended."""
    method = channel.stream_stream(IMPORT.path, response_deserializer=IMPORT.response.FromString)
    answers = []
    try:
        answers.extend(method(iter(messages), metadata=metadata, timeout=20))
    except grpc.RpcError as error:
        return answers, outcome_of(error)
    return answers, Outcome("OK")


def grants(number, count=1):
    names = [{"subject": "user:ana", "relation": "owner", "object": f"organization:{number}-{n}"} for n in range(count)]
    return IMPORT.request(relationships=names).SerializeToString()


def test_a_stream_that_sends_nothing(channel, metadata):
    assert stream(channel, metadata, []) == ([], Outcome("OK"))
    answers, outcome = stream(channel, metadata, [b"", b""])
    assert [(answer.message_count, answer.relationship_count) for answer in answers] == [(1, 0), (2, 0)]
    assert outcome.code == "OK"
    for nobody in ((), (("authorization", "Bearer x"),)):
        answers, outcome = stream(channel, nobody, [])
        assert (answers, outcome.reason) == ([], "API_KEY_INVALID")


BAD_MESSAGES = {
    "no message": (b"\xff", "MALFORMED_REQUEST", ()),
    "a field that is wrong": (
        IMPORT.request(relationships=[{}]).SerializeToString(),
        "INVALID_FIELD",
        ("relationships[0].subject", "relationships[0].relation", "relationships[0].object"),
    ),
    "what the model does not allow": (
        IMPORT.request(relationships=[{"subject": "user:*", "relation": "owner", "object": "organization:x"}]),
        "INVALID_FIELD",
        ("relationships[0]",),
    ),
    "too many": (grants("many", 10_001), "INVALID_FIELD", ("relationships",)),
    "too large for grpc": (b"\x7a\x80\x80\x80\x02" + b"x" * 4 * 1024 * 1024, "", ()),
}


@pytest.mark.parametrize(("bad", "reason", "fields"), BAD_MESSAGES.values(), ids=BAD_MESSAGES)
def test_a_bad_message_ends_a_stream_and_what_came_before_stays(channel, metadata, wire, bad, reason, fields):
    bad = bad if isinstance(bad, bytes) else bad.SerializeToString()
    answers, outcome = stream(channel, metadata, [grants("first"), grants("second", 3), bad, grants("never")])
    assert [(answer.message_count, answer.relationship_count) for answer in answers] == [(1, 1), (2, 4)]
    if reason:
        assert_lawful(outcome, IMPORT)
        assert (outcome.reason, outcome.fields) == (reason, fields), outcome.short
    else:
        assert outcome.code == "RESOURCE_EXHAUSTED", outcome.short
    found = wire.call(RPC["ExportRelationships"], b"").response.relationships
    assert sorted(row.object for row in found) == [
        "organization:first-0", "organization:second-0", "organization:second-1", "organization:second-2",
    ]  # fmt: skip


@pytest.mark.parametrize("token", ["x", "AAAA", "A" * 4096, "!~%_-"])
def test_tokens_from_which_no_export_can_be_resumed(wire, token):
    rpc = RPC["ExportRelationships"]
    outcome = wire.call(rpc, rpc.request(resume_token=token))
    assert_lawful(outcome, rpc)
    assert outcome.reason == "INVALID_PAGE_TOKEN", outcome.short


def test_methods_that_do_not_exist(channel, metadata):
    for path in ("/watchword.v1.UserService/Nope", "/watchword.v1.Nope/CreateUser", "/", "/x", "/a/b/c"):
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(path)(b"", metadata=metadata, timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
