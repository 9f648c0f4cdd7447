"""Random requests: whatever comes, the answer keeps the contract of errors.proto and the server goes on.

Random numbers come from `random`, which pytest-randomly seeds anew for each run. A failure shows the seed; the option
`--randomly-seed=…` repeats the run.
"""

import collections
import json
import math
import random
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from wire import RPC, RPCS, Outcome, Rpc, Wire, assert_lawful, is_own, outcome_of, plain, rules_of, valid

from watchword.server.permissions.built_in import STARTER_DSL
from watchword.server.permissions.dsl import parse_dsl
from watchword.server.permissions.fga_json import to_json
from watchword.v1 import options_pb2

REFLECTIONS = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]


@pytest.fixture
def wire(channel, metadata) -> Wire:
    return Wire(channel, metadata)


@pytest.fixture(autouse=True)
def _seed(request):
    print(f"--randomly-seed={request.config.getoption('randomly_seed')}")  # noqa: T201  # shown with a failure


def mutated(data: bytes) -> bytes:
    """Damage an encoding: cut it, flip bits, insert, repeat, swap."""
    for _ in range(random.randint(1, 4)):
        at, to = sorted((random.randint(0, len(data)), random.randint(0, len(data))))
        data = random.choice(
            (
                data[:at],
                data[at:],
                data[:at] + random.randbytes(random.randint(1, 9)) + data[to:],
                data[:to] + data[at:],
                data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :] if at < len(data) else data,
                data[:at] + b"\xff\xff\xff\xff\x0f" + data[at:],
            )
        )
    return data


def hostile(encodings: Callable[[], bytes]) -> bytes:
    """Make up bytes that may or may not be a message."""
    return random.randbytes(random.randint(0, 60)) if random.random() < 0.3 else mutated(encodings())


# ----- bytes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rpc", RPCS, ids=lambda rpc: rpc.name)
def test_bytes_on_every_rpc(wire, rpc):
    reasons = collections.Counter()
    for _ in range(40):
        data = hostile(lambda: random_message(rpc.request, Pool()).SerializeToString())
        outcome = wire.call(rpc, data)
        assert_lawful(outcome, rpc)
        reasons[outcome.reason or outcome.code] += 1
    for data in (b"\xff" * 10, b"\x0a", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b" * 1000, b"\x00", b"\x0e\x0a"):
        assert wire.call(rpc, data).reason == "MALFORMED_REQUEST"
    assert_lawful(wire.call(rpc, valid(rpc).SerializeToString() + b"\xfa\x7f\x03new"), rpc)  # a field of the future


def test_bytes_on_health(channel, watchword):
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
    service = health_pb2.HealthCheckRequest(service="watchword.v1.UserService").SerializeToString()
    seen = set()
    # One of each kind first: what is left to chance may all be of one.
    for data in (b"\xff", service.replace(b"User", b"Peer"), *(hostile(lambda: service) for _ in range(100))):
        for call in (lambda data: check(data, timeout=10), lambda data: first(watch, data)):
            try:
                call(data)
            except grpc.RpcError as error:
                outcome = outcome_of(error)
                seen.add(outcome.code)
                assert outcome.code in {"INVALID_ARGUMENT", "NOT_FOUND"}, outcome.short
                assert outcome.reason == ("MALFORMED_REQUEST" if outcome.code == "INVALID_ARGUMENT" else "")
    assert seen == {"INVALID_ARGUMENT", "NOT_FOUND"}
    assert health_pb2.HealthCheckResponse.FromString(check(b"", timeout=10)).status == 1


def first(method: Any, data: bytes) -> bytes:
    """Take the first answer of a stream, which may go on for ever."""
    call = method(data, timeout=10)
    try:
        return next(call)
    finally:
        call.cancel()


@pytest.mark.parametrize("service", REFLECTIONS)
def test_bytes_on_reflection(channel, watchword, service):
    ask = channel.stream_stream(f"/{service}/ServerReflectionInfo")
    names = [
        "",
        "watchword.v1.User",
        "watchword.v1.UserService.CreateUser",
        "watchword/v1/users.proto",
        "x\0",
        "é" * 999,
    ]
    extension = reflection_pb2.ExtensionRequest

    def question() -> bytes:
        name = random.choice(names)
        kinds = ["file_by_filename", "file_containing_symbol", "all_extension_numbers_of_type", "list_services"]
        extensions = extension(containing_type=name, extension_number=random.choice([0, -1, 50001, 2**31 - 1]))
        request = reflection_pb2.ServerReflectionRequest(
            host=name, **random.choice([{random.choice(kinds): name}, {"file_containing_extension": extensions}])
        )
        return request.SerializeToString()

    questions = [question() if number % 2 else hostile(question) for number in range(300)]
    answers = [
        reflection_pb2.ServerReflectionResponse.FromString(answer) for answer in ask(iter(questions), timeout=20)
    ]
    assert len(answers) == len(questions)
    for answer in answers:
        assert answer.WhichOneof("message_response"), answer
        if answer.HasField("error_response"):
            assert answer.error_response.error_code in {3, 5}, answer  # INVALID_ARGUMENT, NOT_FOUND


def test_streams_of_messages_and_bytes(channel, metadata, watchword):
    """Each message before the first bad one is written and answered; the bad one ends the stream with its reason."""
    rpc = RPC["ImportRelationships"]
    method = channel.stream_stream(rpc.path, response_deserializer=rpc.response.FromString)
    ended = collections.Counter()
    for number in range(60):
        good = [valid(rpc) for _ in range(random.randint(0, 5))]
        for index, request in enumerate(good):
            request.relationships.add(subject="user:ana", relation="owner", object=f"organization:{number}-{index}")
        data = [request.SerializeToString() for request in good]
        data += [hostile(random_message(rpc.request, Pool()).SerializeToString) for _ in range(random.randint(0, 2))]
        data += [request.SerializeToString() for request in good[:1]]
        answers = []
        try:
            answers.extend(method(iter(data), metadata=metadata, timeout=20))
        except grpc.RpcError as error:
            outcome = outcome_of(error)
            assert_lawful(outcome, rpc)
            ended[outcome.reason] += 1
        else:
            ended["OK"] += 1
            assert len(answers) == len(data)
        assert [answer.message_count for answer in answers] == list(range(1, len(answers) + 1))
        assert len(answers) >= len(good)
    assert {"OK", "MALFORMED_REQUEST"} <= ended.keys(), ended
    written = channel.unary_stream(
        RPC["ExportRelationships"].path, response_deserializer=RPC["ExportRelationships"].response.FromString
    )
    assert list(written(b"", metadata=metadata, timeout=20))


# ----- messages -------------------------------------------------------------------------------------------------------

ODD_TEXTS = [
    "", " ", "x", "\0", "a\nb", "' or 1=1 --", "%s%(x)s{0}$1:id", "\u202e\u200b", "\ufdfa", "\U0001f600", "e\u0301",
    "I\u0307", "x" * 300, "é" * 600, "x@y", "@", "a@b.example", "\uff0e", "xn--a@xn--b.xn--c", "..", "\\", "null", "-1",
    "0", "1", "\ufffe", "NaN", "*", "wwk_", "wwr_", "wwr_AAAA", "a.b.c", "::1", "1.2.3.4.5", "fe80::1%lo",
]  # fmt: skip
ODD_NUMBERS = [0, 1, -1, 2, 50, 500, 2**31 - 1, -(2**31)]
ODD_SECONDS = [0, 1, -1, 60, 4_000_000_000, 253_402_300_799, 253_402_300_800, -62_135_596_800, 2**63 - 1, -(2**63)]
ODD_NANOS = [0, 0, 0, 1, -1, 999_999_999, 1_000_000_000]


class Pool:
    """What the server has answered so far, by the names of fields: it makes random requests meet real things."""

    ALIASES = {"next_page_token": "page_token", "access_token": "token", "api_key": "token"}  # noqa: RUF012
    USED_FOR = {  # noqa: RUF012
        "except_session_id": "session_id",
        "keep_session_id": "session_id",
        "identifier": "username",
        "owner_user_id": "user_id",
        "at_least": "revision",
    }

    def __init__(self, taboo: tuple[str, ...] = ()) -> None:
        self.careful = False
        """Whether the messages are meant to be good, so that some get behind the checks of each field."""
        self._taboo = taboo
        self._texts: dict[str, list[str]] = collections.defaultdict(list)

    def learn(self, message: Message) -> None:
        for field, value in message.ListFields():
            if field.message_type is not None and is_own(field):
                for item in value if field.is_repeated else [value]:
                    self.learn(item)
            elif field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated and value not in self._taboo:
                texts = self._texts[self.ALIASES.get(field.name, field.name)]
                texts.append(value)
                # Few enough that the same thing is often met again.
                del texts[:-6]

    def text(self, field: FieldDescriptor) -> str:
        """Give text for a field: mostly real or well formed, sometimes nearly so, sometimes odd."""
        known = self._texts[self.USED_FOR.get(field.name, field.name)]
        chance = random.random() * (0.8 if self.careful else 1)
        if known and chance < (0.3 if field.name in NAMES else 0.6):
            return random.choice(known)
        if chance < 0.8:
            return new_text(field)
        if known and chance < 0.9:
            near = list(random.choice(known))
            near[random.randrange(len(near))] = random.choice(["x", "-", "\n", "é", ""])
            return "".join(near)
        return random.choice(ODD_TEXTS)


MODELS = [
    STARTER_DSL,
    STARTER_DSL.replace("define member: [user, service, group#member] or admin", "define member: [user:*] and admin"),
    """model
  schema 1.1
type user
type group
  relations
    define member: [user, group#member]
type organization
  relations
    define owner: [user]
    define member: [user, user:*, group#member with same, user with same] but not owner
    define parent: [organization]
    define admin: admin from parent or owner
condition same(name: string, number: int) {
  name == "x" && number > 3
}
""",
]


def number() -> int:
    return random.randint(0, 4)


def model_text() -> str:
    return damaged(random.choice(MODELS))


def model_json() -> str:
    return damaged(json.dumps(to_json(parse_dsl(random.choice(MODELS)))))


def damaged(text: str) -> str:
    return text if random.random() < 0.7 else mutated(text.encode()).decode(errors="replace")


SUBJECTS = ("user:user{}", "user:user{}", "service:user{}", "service:user{}", "user:*", "group:user{}#member")
NAMES: dict[str, Callable[[], str]] = {
    "subject": lambda: random.choice(SUBJECTS).format(number()),
    "relation": lambda: random.choice(("member", "member", "owner", "admin", "can_view", "read_users")),
    "role": lambda: random.choice(("member", "member", "owner", "admin", "can_view")),
    "object": lambda: random.choice(("organization:user{}", "organization:user{}", "group:user{}")).format(number()),
    "object_type": lambda: random.choice(("organization", "group", "user", "watchword")),
    "subject_type": lambda: random.choice(("user", "service", "group")),
    "subject_filters": lambda: random.choice(("user", "service", "group#member", "organization#owner")),
    "name": lambda: "same",
    "dsl": model_text,
    "openfga_json": model_json,
}
"""What is named in permissions, by the names of fields."""


def new_text(field: FieldDescriptor) -> str:
    if field.name in NAMES:
        return NAMES[field.name]()
    number = random.randint(0, 30)
    match rules_of(field).format:
        case options_pb2.FORMAT_EMAIL:
            return f"User{number}@example.com"
        case options_pb2.FORMAT_USERNAME | options_pb2.FORMAT_SLUG | options_pb2.FORMAT_OBJECT_ID:
            return f"user{number}"
        case options_pb2.FORMAT_UUID if field.name == "request_id":
            return f"01890a5d-ac96-774b-bcce-{random.getrandbits(48):012x}"
        case options_pb2.FORMAT_UNSPECIFIED:
            return f"{random.choice(ODD_TEXTS[4:])} {number}".replace("\n", "")
    return plain(field)


GRANTS = [
    ("user:user{}", "owner", "organization:user{}"),
    ("user:user{}", "member", "organization:user{}"),
    ("service:user{}", "member", "organization:user{}"),
    ("group:user{}#member", "member", "organization:user{}"),
    ("user:user{}", "member", "group:user{}"),
]
"""What most models let be granted."""


def random_message(kind: type[Message], pool: Pool) -> Any:
    message = kind()
    chance = random.choice([0.1, 0.3] if pool.careful else [0.3, 0.6, 0.9])
    for field in message.DESCRIPTOR.fields:
        rules = rules_of(field)
        likely = 0.97 if rules.required or field.name == "user_id" else chance
        if rules.format == options_pb2.FORMAT_OPAQUE and not rules.required:
            likely /= 3
        # An id of a call that is often used twice would keep most calls from being made.
        if random.random() < (0.2 if field.name == "request_id" else likely):
            fill(message, field, pool)
    if pool.careful:
        mend(message, pool)
    return message


def mend(message: Any, pool: Pool) -> None:
    """Make good what no rule of a single field says."""
    match message.DESCRIPTOR.name:
        case "Relationship" | "RelationshipKey":
            names = [name.format(number()) for name in random.choice(GRANTS)]
            message.subject, message.relation, message.object = names
            if random.random() < 0.3 and hasattr(message, "condition"):
                message.condition.name = "same"
        case "RelationshipFilter" if not message.ListFields():
            fill(message, random.choice(message.DESCRIPTOR.fields), pool)
        case "WriteRelationshipsRequest" if not message.writes:
            fill(message, message.DESCRIPTOR.fields_by_name["writes"], pool)


def fill(message: Any, field: FieldDescriptor, pool: Pool) -> None:
    if not field.is_repeated:
        if field.message_type is not None:
            getattr(message, field.name).CopyFrom(random_value(field, pool))
        else:
            setattr(message, field.name, random_value(field, pool))
        return
    # Messages hold lists of messages: not many of many.
    most = 120 if field.message_type is None else 12
    items = [random_value(field, pool) for _ in range(random.choice([1, 1, 2, 3, most]))]
    getattr(message, field.name).extend(items)


def random_value(field: FieldDescriptor, pool: Pool) -> Any:  # one for each kind
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return pool.text(field)
        case FieldDescriptor.TYPE_BOOL:
            return random.random() < 0.5
        case FieldDescriptor.TYPE_ENUM if pool.careful:
            return random.choice(field.enum_type.values[1:]).number
        case FieldDescriptor.TYPE_ENUM:
            return random.choice([1, 1, 2, 2, 3, 0, 99, -1])
        case FieldDescriptor.TYPE_MESSAGE:
            return random_submessage(field, pool)
        case FieldDescriptor.TYPE_INT32 | FieldDescriptor.TYPE_INT64:
            return random.choice(ODD_NUMBERS[:2] if pool.careful else ODD_NUMBERS)
    raise NotImplementedError(f"{field.full_name}: teach the generator this type")


def random_submessage(field: FieldDescriptor, pool: Pool) -> Message:
    message: Any = field.message_type._concrete_class()
    match field.message_type.full_name:
        case "google.protobuf.Timestamp" | "google.protobuf.Duration":
            message.seconds = random.choice(ODD_SECONDS[3:6] if pool.careful else ODD_SECONDS)
            message.nanos = 0 if pool.careful else random.choice(ODD_NANOS)
        case "google.protobuf.FieldMask":
            paths = [
                "email",
                "display_name",
                "locale",
                "attributes",
                "etag",
                "username",
                "status",
                "nope",
                "*",
                "a.b",
                "",
            ]
            message.paths.extend(random.choice(paths[:6] if random.random() < 0.5 else paths) for _ in range(2))
        case "google.protobuf.Struct" if field.name == "context" and random.random() < 0.7:
            message.update({"name": random.choice(["x", "y", 3]), "number": random.choice([1, 7, 1.5, "7", None])})
        case "google.protobuf.Struct":
            fill_struct(message, 0)
        case _:
            message = random_message(type(message), pool)
    return message


def fill_struct(struct: Any, depth: int) -> None:
    for _ in range(random.randint(0, 3)):
        value = struct.fields[random.choice(ODD_TEXTS)]
        match random.randint(0, 6):
            case 0:
                value.number_value = random.choice([0, -0.0, 1.5, 1e308, 5e-324, 2**60, math.inf, math.nan])
            case 1:
                value.null_value = 0
            case 2:
                value.bool_value = True
            case 3 if depth < 20:
                fill_struct(value.struct_value, depth + 1)
            case 4:
                value.list_value.values.add().string_value = random.choice(ODD_TEXTS)
            case _:
                value.string_value = random.choice(ODD_TEXTS)


def fuzz(wire: Wire, pool: Pool, calls: int, rpcs: list[Rpc] = RPCS) -> collections.Counter[str]:
    seen: collections.Counter[str] = collections.Counter()
    for _ in range(calls):
        rpc = random.choice(rpcs)
        pool.careful = random.random() < 0.5
        request = random_message(rpc.request, pool)
        outcome: Outcome = wire.call(rpc, request)
        try:
            assert_lawful(outcome, rpc)
        except AssertionError:
            print(f"{rpc.name} {{ {request} }}")  # noqa: T201  # shown with the failure
            raise
        seen[outcome.reason or outcome.code] += 1
        if outcome.response is not None:
            pool.learn(request)
            pool.learn(outcome.response)
    return seen


def go_on(watchword, sql) -> None:
    """What must hold afterwards, whatever came."""
    user = watchword.users.create(username="still-here", password="correct horse battery")
    assert watchword.sign_in("still-here", password="correct horse battery").session.user_id == user.user_id
    assert sql("select 1 from sessions where end_time < create_time") == []
    assert (
        sql("select 1 from users where status = 'deleted' and coalesce(email, username, external_id) is not null") == []
    )


def taboo(sql) -> tuple[str, ...]:
    """Name the administrator, whom a random call must not suspend."""
    row = sql("select service_account_id, key_id from api_keys")[0]
    return row["service_account_id"], str(row["key_id"])


def test_random_messages(wire, watchword, sql):
    seen = fuzz(wire, Pool(taboo(sql)), 2_000)
    # Or it would be shallow, refused at the door by validation.
    assert seen["OK"] > 200, seen
    assert "API_KEY_INVALID" not in seen, "the administrator was locked out"
    deep = {"NOT_FOUND", "ALREADY_EXISTS", "ETAG_MISMATCH", "WRONG_STATUS", "SIGN_IN_REFUSED", "INVALID_PAGE_TOKEN"}
    assert deep <= seen.keys(), seen
    go_on(watchword, sql)


PERMISSIONS = [rpc for rpc in RPCS if rpc.name.startswith(("PermissionService", "RelationshipService"))]


def test_random_questions(wire, watchword, sql):
    seen = fuzz(wire, Pool(taboo(sql)), 1_500, PERMISSIONS)
    assert seen["OK"] > 300, seen
    assert {"MODEL_INVALID", "INVALID_PAGE_TOKEN", "REQUEST_ID_REUSED"} <= seen.keys(), seen
    go_on(watchword, sql)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_random_questions(wire, watchword, sql):
    seen = fuzz(wire, Pool(taboo(sql)), 10_000, PERMISSIONS)
    rare = {"MODEL_ORPHANS", "PRECONDITION_FAILED", "NOT_FOUND", "INVALID_PAGE_TOKEN"}
    assert rare <= seen.keys(), seen
    go_on(watchword, sql)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_random_messages(wire, watchword, sql):
    seen = fuzz(wire, Pool(taboo(sql)), 20_000)
    rare = {"MODEL_LACKS_RELATION", "INVITATION_INVALID"}
    rare |= {"REFRESH_TOKEN_INVALID", "REQUEST_ID_REUSED", "FIELD_OUTPUT_ONLY", "UNKNOWN_FIELD", "PASSWORD_REFUSED"}
    assert rare <= seen.keys(), seen
    assert "API_KEY_INVALID" not in seen, "the administrator was locked out"
    go_on(watchword, sql)
