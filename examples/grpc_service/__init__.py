"""Notes that people share: two gRPC services, in threads and in asyncio, that leave all permissions to Watchword.

    python -m examples.grpc_service [notes' address] [desk's address]

WATCHWORD_ADDRESS and WATCHWORD_API_KEY say where Watchword is. Whoever calls shows an access token of Watchword:

    grpcurl -plaintext -proto examples/grpc_service/notes.proto -H "authorization: Bearer $TOKEN" \
        -d '{"text": "Milk"}' localhost:50051 examples.notes.v1.Notes/CreateNote
"""
