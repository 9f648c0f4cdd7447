"""Every reason of errors.proto is one class of the server and one of the client, and arrives as it was sent."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from wire import STATED

from watchword.client._status import to_error
from watchword.client.errors import ERRORS, WatchwordError
from watchword.server import errors
from watchword.server.errors import DomainError
from watchword.v1 import errors_pb2

EXAMPLES = [
    errors.InvalidField([("user.email", "must be an address"), ("user.locale", "must be a tag")]),
    errors.MalformedRequest(),
    errors.RequestTooLarge(262_144),
    errors.ModelInvalid([("dsl:3:5", "There is no type 'usr'."), ("dsl:4:1", "A relation has no name.")]),
    errors.ConditionUnresolved("The condition 'weekday' needs a number."),
    errors.InvalidPageToken(),
    errors.UnknownField("naïve"),
    errors.FieldOutputOnly("status"),
    errors.PasswordRefused("common"),
    errors.RequestIdReused(),
    errors.ApiKeyInvalid(),
    errors.OnBehalfOfInvalid(),
    errors.SignInRefused(),
    errors.RefreshTokenInvalid(),
    errors.RefreshTokenReused(),
    errors.CurrentPasswordWrong(),
    errors.PermissionMissing("read_users"),
    errors.AccessDenied("can_manage", "organization:acme"),
    errors.NotFound("user", "01890a5d-ac96-774b-bcce-b302099a8057"),
    errors.AlreadyExists("user.email"),
    errors.EtagMismatch(),
    errors.Conflict(),
    errors.WrongStatus("user", "01890a5d-ac96-774b-bcce-b302099a8057", "deleted"),
    errors.KeyEnded("01890a5d-ac96-774b-bcce-b302099a8057"),
    errors.InvitationInvalid(),
    errors.PreconditionFailed(1, must_exist=True),
    errors.ModelOrphans(12, [f"document:{number}#viewer@user:ana" for number in range(10)]),
    errors.ModelLacksRelation("organization", "can_manage"),
    errors.RevisionUnknown(),
    errors.LastOwner(),
    errors.ResolutionLimit("depth", "The answer lies more than 25 steps away."),
    errors.ServerBusy("Too many calls.", retry_after=timedelta(seconds=1.5)),
    errors.SignInThrottled(retry_after=timedelta(seconds=4)),
    errors.DatabaseUnavailable(),
    errors.ShuttingDown(),
    errors.TimedOut(),
    errors.InternalError("incident-0123456789abcdef"),
]
RETRIED = {
    "SERVER_BUSY": timedelta(seconds=1.5),
    "SIGN_IN_THROTTLED": timedelta(seconds=4),
    "DATABASE_UNAVAILABLE": timedelta(seconds=1),
}


def test_every_reason_has_one_server_class_and_one_example():
    classes = [cls.reason_name() for cls in DomainError.__subclasses__()]
    assert sorted(classes) == sorted(STATED)
    assert sorted(example.reason_name() for example in EXAMPLES) == sorted(STATED)
    assert all(not cls.__subclasses__() for cls in DomainError.__subclasses__())
    assert {f"ERROR_REASON_{reason}" for reason in STATED} == set(errors_pb2.ErrorReason.keys()[1:])


def test_no_number_of_a_reason_is_used_twice():
    assert len({*errors_pb2.ErrorReason.values()}) == len(errors_pb2.ErrorReason.keys())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.reason_name())
def test_the_server_class_has_the_code_and_metadata_that_the_proto_states(example):
    code, metadata = STATED[example.reason_name()]
    assert code_pb2.Code.Name(example.code) == code
    assert metadata <= example.metadata.keys()


@pytest.mark.parametrize("reason", STATED)
def test_every_reason_has_a_client_class_with_its_code(reason):
    assert issubclass(ERRORS[reason], WatchwordError)
    assert ERRORS[reason].default_code == STATED[reason][0]


@pytest.fixture(scope="module")
def failing():
    """A real server that fails with the example its method's name asks for."""
    by_reason = {example.reason_name(): example for example in EXAMPLES}

    class Failing(grpc.GenericRpcHandler):
        def service(self, handler_call_details):
            example = by_reason[handler_call_details.method.rpartition("/")[2]]

            def fail(_request, context):
                context.abort_with_status(rpc_status.to_status(example.to_status("call-1")))

            return grpc.unary_unary_rpc_method_handler(fail)

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Failing()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(None).wait()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.reason_name())
def test_what_the_server_raises_the_client_gets(failing, example):
    with pytest.raises(grpc.RpcError) as caught:
        failing.unary_unary(f"/test/{example.reason_name()}")(b"", timeout=10)
    error = to_error(caught.value, call_id="another")
    assert type(error) is ERRORS[example.reason_name()]
    assert error.code == STATED[example.reason_name()][0]
    assert error.reason == example.reason_name()
    assert error.message == example.message
    assert error.metadata == {**example.metadata, "request_id": "call-1"}
    assert error.request_id == "call-1"
    violations = tuple((violation.field, violation.description) for violation in error.field_violations)
    assert violations == getattr(example, "violations", ())
    assert error.retry_after == RETRIED.get(example.reason_name())


NAMES = "/" * 250
LONG = [
    errors.InvalidField([(f"writes[{number}].object", NAMES * 100) for number in range(20)]),
    errors.ModelInvalid([(f"dsl:{number}:5", f"é {NAMES}" * 4) for number in range(1000)]),
    errors.ModelOrphans(10, [f"document:{NAMES}#{'r' * 50}@document:{NAMES}#{'r' * 50}"] * 10),
    errors.ModelLacksRelation("t" * 254, "r" * 50),
    errors.AccessDenied("r" * 50, f"organization:{NAMES}"),
    errors.ConditionUnresolved("%\n\U0001f40e" * 1_000),
    errors.UnknownField("é" * 128),
]


@pytest.mark.parametrize("example", LONG, ids=lambda example: example.reason_name())
def test_no_error_is_too_long_to_be_received(example):
    """gRPC's clients take 8 KiB of metadata for certain, and replace the call's status if there is more."""
    status = rpc_status.to_status(example.to_status("x" * 128))
    (details,) = [value for key, value in status.trailing_metadata if key == "grpc-status-details-bin"]
    message = sum(1 if " " <= sign <= "~" and sign != "%" else 3 * len(sign.encode()) for sign in status.details)
    assert message + len(details) * 4 / 3 < 8_192 - 500
    violations = getattr(example, "violations", ())
    found = status_pb2.Status.FromString(details)
    bad = error_details_pb2.BadRequest()
    assert [detail.Unpack(bad) for detail in found.details].count(True) == bool(violations)
    assert [violation.field for violation in bad.field_violations] == [
        field for field, _ in violations[: len(bad.field_violations)]
    ]
    assert bad.field_violations or not violations
