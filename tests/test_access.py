"""Who may call what: every RPC is asked without a key, with one that lacks the permission, and with a right one."""

import grpc
import pytest
from conftest import PASSWORD
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message_factory import GetMessageClass

from watchword.client import Client
from watchword.server.access import UndeclaredAccess, permission_of, permissions_of
from watchword.server.app import services
from watchword.server.pipeline import MissingHandler, Pipeline
from watchword.server.validation import Validators
from watchword.v1 import options_pb2

RPCS = [method for service in services() for method in service.methods]


def call(channel: grpc.Channel, method, metadata) -> grpc.StatusCode:
    path = f"/{method.containing_service.full_name}/{method.name}"
    rpc = channel.unary_unary(path, request_serializer=lambda message: message.SerializeToString())
    try:
        rpc(GetMessageClass(method.input_type)(), metadata=metadata)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("method", RPCS, ids=lambda method: method.name)
def test_every_rpc_needs_a_key_with_its_permission(watchword: Client, channel, method):
    permission = permission_of(method)
    assert call(channel, method, ()) is grpc.StatusCode.UNAUTHENTICATED
    watchword.service_accounts.create("probe")
    others = sorted(permissions_of(services()) - {permission, "administrator"})
    without = watchword.service_accounts.create_key("probe", permissions=others).api_key
    # Denied before anything is said of the request, which is empty and so mostly invalid (AIP-211).
    assert call(channel, method, (("authorization", f"Bearer {without}"),)) is grpc.StatusCode.PERMISSION_DENIED
    only = watchword.service_accounts.create_key("probe", permissions=[permission]).api_key
    assert call(channel, method, (("authorization", f"bearer {only}"),)) not in {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
    }


def _service(*, declared: bool):
    """A service of one RPC, with or without its access option."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"probe_{declared}.proto", package=f"probe{declared}", dependency=["watchword/v1/options.proto"]
    )
    file.message_type.add(name="Request")
    method = file.service.add(name="ProbeService").method.add(
        name="Probe", input_type=f".probe{declared}.Request", output_type=f".probe{declared}.Request"
    )
    if declared:
        method.options.Extensions[options_pb2.access].permission = "probe"
    pool = descriptor_pool.DescriptorPool()
    for known in (descriptor_pb2.DESCRIPTOR, options_pb2.DESCRIPTOR):
        pool.AddSerializedFile(known.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName(f"probe{declared}.ProbeService")


class Servicer:
    async def Probe(self, request, _call):  # noqa: N802
        return request


def test_an_rpc_without_a_permission_keeps_the_server_from_starting():
    pipeline = Pipeline(None, None, None, Validators(), randomness=bytes)
    with pytest.raises(UndeclaredAccess, match="Probe"):
        pipeline.service(_service(declared=False), Servicer())


def test_an_rpc_without_a_handler_keeps_the_server_from_starting():
    pipeline = Pipeline(None, None, None, Validators(), randomness=bytes)
    with pytest.raises(MissingHandler, match="CreateUser"):
        pipeline.service(services()[0], object())


def test_the_administrator_is_the_only_default_account(watchword: Client):
    assert [account.service_account_id for account in watchword.service_accounts.list()] == ["administrator"]
    assert list(watchword.users.list()) == []
    watchword.users.create(username="admin", password=PASSWORD)
