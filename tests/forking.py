"""A process that follows the feed and then forks, as `gunicorn --preload` does; `test_sdk_fork.py` starts it.

Each of its three processes writes a line a step: its role, whether its feed is live, and for whom the token is.
"""

import os
import sys

from watchword.client import Client, WatchwordError


def tell(role: str, client: Client, access_token: str) -> None:
    """Write what this process answers by now."""
    client.ready()
    try:
        name = client.authenticate(access_token).user_id
    except WatchwordError as error:
        name = type(error).__name__
    os.write(1, f"{role} {client.status().fresh} {name}\n".encode())


def answer(role: str, client: Client, access_token: str, steps: int) -> None:
    """Answer whenever a byte comes."""
    tell(role, client, access_token)
    while os.read(steps, 1):
        tell(role, client, access_token)


def main(access_token: str) -> None:
    """Follow, fork twice, answer."""
    client = Client.from_environment()
    client.ready()
    children = []
    for number in range(2):
        steps, told = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(told)
            try:
                answer(f"child{number}", client, access_token, steps)
            finally:
                os._exit(0)
        os.close(steps)
        children.append((child, told))
    tell("parent", client, access_token)
    while step := sys.stdin.readline():
        for _, told in children:
            os.write(told, step[:1].encode())
        tell("parent", client, access_token)
    for _, told in children:
        os.close(told)
    for child, _ in children:
        os.waitpid(child, 0)
    client.close()


if __name__ == "__main__":
    main(os.environ["TEST_ACCESS_TOKEN"])
