"""How commands fail: an exit code that a script can tell apart, and a text that says what to do."""

from enum import IntEnum


class Code(IntEnum):
    """The exit codes, the same for every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNREACHABLE = 4
    NOT_PERMITTED = 5


EXIT_CODES = (
    "Exit codes: 0 done; 1 refused or failed; 2 wrong usage or settings; 3 not found; 4 the server or its database "
    "cannot be reached in time; 5 the API key is missing, not accepted or lacks a permission."
)


class Failure(Exception):
    """A command cannot do what it was asked. Holds no secret."""

    def __init__(self, message: str, *, code: Code = Code.FAILED, reason: str = "", request_id: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.request_id = request_id
