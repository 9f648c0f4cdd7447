"""Holds declarations against the services' own descriptions, so that mistakes are found when the server starts.

For that the generated stubs must have been imported, as they are wherever the services are.
"""

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any, Final, cast

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, ServiceDescriptor

_PATH: Final = re.compile(r"/([\w.]+)/(\w+)")
_ID_TYPES: Final = frozenset(
    {
        FieldDescriptor.CPPTYPE_STRING,
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)


def problems_of(path: str, fields: Sequence[str]) -> Iterator[str]:
    """What is wrong with the path of a method, or with those of fields of its request that name the object."""
    match = _PATH.fullmatch(path)
    if match is None:
        yield f'{path!r} must be the path of a method: "/package.Service/Method".'
        return
    service = _service(match[1])
    if service is None:
        return  # its messages are none of protobuf's, or its stubs are not imported
    if match[2] not in service.methods_by_name:
        yield f"{path}: there is no such method."
    elif fields and not _holds_id(service.methods_by_name[match[2]].input_type, fields):
        yield f"{path}: {'.'.join(fields)} must be a field of the request, a string or an integer."


def forgotten(guarded: Iterable[str], declared: Container[str]) -> Iterator[str]:
    """The methods that are not declared, of services that are not altogether public.

    Those are infrastructure such as health checks: a library that adds a method to one must not keep the server from
    starting. It is refused when it is called.
    """
    for name in dict.fromkeys(match[1] for path in guarded if (match := _PATH.fullmatch(path))):
        service = _service(name)
        for method in service.methods_by_name if service is not None else ():
            if f"/{name}/{method}" not in declared:
                yield f"/{name}/{method} is not declared: as Requires(…), AUTHENTICATED or PUBLIC."


def _holds_id(request: Descriptor, fields: Sequence[str]) -> bool:
    message: Descriptor | None = request
    field: FieldDescriptor | None = None
    for name in fields:
        field = message.fields_by_name.get(name) if message is not None else None
        if field is None or field.is_repeated:
            return False
        message = field.message_type
    return field is not None and field.cpp_type in _ID_TYPES


def _service(name: str) -> ServiceDescriptor | None:
    pool = cast("Any", descriptor_pool).Default()
    try:
        return cast("ServiceDescriptor", pool.FindServiceByName(name))
    except KeyError:
        return None
