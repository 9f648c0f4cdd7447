"""Requests of a WSGI application in this process, as a web server hands them over, without server and network."""

import io
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.load import WrongAnswer


def get(app: Any, path: str, token: str = "", *, cookie: str = "") -> Callable[[], None]:
    """Make what sends a GET request, with a bearer token or a cookie if they are given."""
    headers = {"HTTP_AUTHORIZATION": f"Bearer {token}"} if token else {}
    headers |= {"HTTP_COOKIE": cookie} if cookie else {}

    def start_response(status: str, _headers: Any, _error: Any = None) -> None:
        if status != "200 OK":
            raise WrongAnswer(f"{path}: {status}")

    def request() -> None:
        environment = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "localhost",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            **headers,
        }
        response = app(environment, start_response)
        try:
            for _ in response:
                pass
        finally:
            if hasattr(response, "close"):
                response.close()

    return request
