# google.rpc comes without types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Reads a gRPC failure into the SDK's own errors, so that callers never meet gRPC's."""

from collections.abc import Iterable
from typing import Final, cast

import grpc
from google.rpc import error_details_pb2, status_pb2

from watchword.client.errors import ERRORS, FieldViolation, WatchwordError

_DOMAIN: Final = "watchword"
_STATUS_KEY: Final = "grpc-status-details-bin"


def to_error(error: grpc.RpcError, *, call_id: str) -> WatchwordError:
    """The error that says the same. `call_id` is the id under which the call was sent."""
    call = cast("grpc.Call", error)
    code = call.code().name
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    has_retry = False
    for detail in _status(call).details:
        detail.Unpack(info)
        detail.Unpack(bad_request)
        has_retry = detail.Unpack(retry) or has_retry
    # A proxy on the way may send details of its own, whose reasons are not ours.
    reason = info.reason if info.domain == _DOMAIN else ""
    kind = ERRORS.get(reason) or ERRORS.get(code, WatchwordError)
    return kind(
        call.details() or "The call failed without a text.",
        code=code,
        reason=reason,
        metadata=dict(info.metadata) if reason else {},
        request_id=info.metadata.get("request_id", "") or call_id,
        field_violations=tuple(
            FieldViolation(violation.field, violation.description) for violation in bad_request.field_violations
        ),
        retry_after=retry.retry_delay.ToTimedelta() if has_retry else None,
    )


def _status(call: grpc.Call) -> status_pb2.Status:
    pairs = cast("Iterable[tuple[str, str | bytes]]", call.trailing_metadata() or ())
    for key, value in pairs:
        if key == _STATUS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except ValueError:  # protobuf's DecodeError is one
                break
    return status_pb2.Status()
