"""Measures whether the time of a refused sign-in tells who exists: `python tests/sign_in_timing.py`.

No test, since other work on the machine disturbs it. Attempts of all kinds take turns, in an order thrown anew each
time, on a server process with the real cost of a hash; their medians should differ by less than 5 % (FEATURES.md,
requirement 9).
"""

import random
import statistics
import sys
import time
from collections import defaultdict

import psycopg
from conftest import PASSWORD
from deployment import Deployment, deployment

from watchword.client import Client, SignInRefusedError, SignInThrottledError

ROUNDS = 400
THROTTLED_ROUNDS = 2_000
USERS = ROUNDS // 4  # each name fails four times, once less than would be followed by a delay
WRONG = "wrong horse battery"


def main() -> None:
    """Measure and print."""
    with deployment() as made:
        made.kill_server()
        # Or all that is measured would fill the limit for all together.
        made.settings["WATCHWORD_SIGN_IN_FAILURES_IN_ALL"] = "1000000"
        made.start_server()
        _measure(made)


def _measure(made: Deployment) -> None:
    with made.client() as client:
        for number in range(USERS):
            client.users.create(username=f"user{number}", password=PASSWORD)
        _report(
            "a hash is computed", _turns(client, {"known": "user{}", "unknown": "nobody{}"}, SignInRefusedError, ROUNDS)
        )
        for name in ("user{}", "nobody{}"):
            for number in range(USERS):
                _seconds(client, name.format(number), WRONG)
        with psycopg.connect(made.database_url) as connection:
            # So that the delays outlast what is measured.
            longer = "update sign_in_counters set free_time = now() + interval '1 hour' where get_byte(key, 0) = 1"
            connection.execute(longer.encode())
        throttled = {"known": "user{}", "unknown": "nobody{}", "known, right password": "user{}"}
        _report("throttled", _turns(client, throttled, SignInThrottledError, THROTTLED_ROUNDS))


def _turns(client: Client, kinds: dict[str, str], expected: type[Exception], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = defaultdict(list)
    for turn in range(rounds):
        for kind in random.sample(list(kinds), len(kinds)):
            password = PASSWORD if "right" in kind else WRONG
            outcome, taken = _seconds(client, kinds[kind].format(turn % USERS), password)
            assert outcome is expected, outcome
            seconds[kind].append(taken)
    return seconds


def _seconds(client: Client, name: str, password: str) -> tuple[type[Exception] | None, float]:
    start = time.perf_counter()
    try:
        client.sign_in(name, password=password)
    except (SignInRefusedError, SignInThrottledError) as error:
        return type(error), time.perf_counter() - start
    return None, time.perf_counter() - start


def _report(what: str, seconds: dict[str, list[float]]) -> None:
    medians = {kind: statistics.median(each) * 1000 for kind, each in seconds.items()}
    difference = max(medians.values()) / min(medians.values()) - 1
    texts = ", ".join(f"{kind} {median:.3f} ms" for kind, median in medians.items())
    sys.stdout.write(f"{what}: {texts}; medians differ by {difference:.2%} ({len(seconds['known'])} of each)\n")


if __name__ == "__main__":
    main()
