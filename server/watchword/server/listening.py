"""On which address a server serves."""

import contextlib
import errno
import socket

import grpc

from watchword.server.config import Config


def bind(server: grpc.aio.Server, config: Config, *, is_shared: bool) -> str:
    """Have a server listen where it was told to; give the address with the port that it has.

    Raises:
        OSError: another process has the port, and it is not to be shared with it.

    """
    host = config.listen.rpartition(":")[0]
    if not is_shared and is_taken(config.listen):
        raise refusal(config.listen)
    try:
        if config.tls is None:
            port = server.add_insecure_port(config.listen)
        else:
            client_ca = config.tls.client_ca_file.read_bytes() if config.tls.client_ca_file else None
            credentials = grpc.ssl_server_credentials(
                [(config.tls.key_file.read_bytes(), config.tls.certificate_file.read_bytes())],
                root_certificates=client_ca,
                require_client_auth=client_ca is not None,
            )
            port = server.add_secure_port(config.listen, credentials)
    except RuntimeError as error:
        raise refusal(config.listen) from error
    return f"{host}:{port}"


def refusal(listen: str) -> OSError:
    """Tell why an address cannot be served on."""
    return OSError(f"Cannot serve on {listen}: is another process using the port?")


def is_taken(listen: str) -> bool:
    """Try the port first, for grpc would write lines of its own to the console."""
    host, _, port = listen.rpartition(":")
    with contextlib.suppress(socket.gaierror):
        for family, _, _, _, where in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(where)
                except OSError as error:
                    if error.errno == errno.EADDRINUSE:
                        return True
    return False
