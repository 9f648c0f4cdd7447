"""Messages and stubs, made from the contract when this module is imported, so that nothing generated is kept here."""

import grpc

messages, services = grpc.protos_and_services("examples/grpc_service/notes.proto")
