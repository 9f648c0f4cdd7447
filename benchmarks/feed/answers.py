"""What an answer costs that the caller's process gives by itself, against raw cryptography and what others offer."""

import asyncio
import itertools
import time
from dataclasses import dataclass

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from benchmarks.feed.clock import add, timed, timed_async
from benchmarks.load import WrongAnswer
from benchmarks.results import CHECKS, Results
from benchmarks.world import Question, batches
from watchword.client import AsyncClient, Client, Consistency

TOGETHER = 16


@dataclass(frozen=True, slots=True)
class Clients:
    """Both clients of one server."""

    asyncio: AsyncClient
    blocking: Client


async def measure_kept(clients: Clients, token: str, question: Question, *, times: int, results: Results) -> None:
    """Measure answers that are kept, in both clients."""
    client, blocking = clients.asyncio, clients.blocking
    await client.ready()
    blocking.ready()
    asked = (question.subject, question.relation, question.object)
    if not (await client.check(*asked)).allowed or not blocking.check(*asked).allowed:
        raise WrongAnswer(str(question))
    await client.authenticate(token)
    blocking.authenticate(token)
    add(results, "feed.authenticate.seen.async", await timed_async(lambda: client.authenticate(token), times))
    add(results, "feed.authenticate.seen.sync", timed(lambda: blocking.authenticate(token), times))
    add(results, "feed.check.kept.async", await timed_async(lambda: client.check(*asked), times))
    add(results, "feed.check.kept.sync", timed(lambda: blocking.check(*asked), times))


async def measure_first_sight(clients: Clients, tokens: list[str], results: Results) -> None:
    """Measure tokens that were not seen before, each in turn with one raw verification of as much, and with PyJWT."""
    key = Ed25519PrivateKey.generate()
    taken: dict[str, list[int]] = {}
    for token in tokens:
        for name, nanoseconds in (
            ("limit.ed25519", _raw(key, token)),
            ("other.pyjwt", _pyjwt(key, token)),
            ("feed.authenticate.first.async", await timed_async(lambda: clients.asyncio.authenticate(token), 1)),  # noqa: B023
            ("feed.authenticate.first.sync", timed(lambda: clients.blocking.authenticate(token), 1)),  # noqa: B023
        ):
            taken.setdefault(name, []).extend(nanoseconds)
    for name, nanoseconds in taken.items():
        add(results, name, nanoseconds)


def _raw(key: Ed25519PrivateKey, token: str) -> list[int]:
    message = token.rpartition(".")[0].encode()
    signature, public = key.sign(message), key.public_key()
    return timed(lambda: public.verify(signature, message), 1)


def _pyjwt(key: Ed25519PrivateKey, token: str) -> list[int]:
    """The same claims under another key, for which PyJWT needs no keys of ours."""
    claims = jwt.decode(token, options={"verify_signature": False})
    other, public = jwt.encode(claims, key, algorithm="EdDSA"), key.public_key()
    return timed(lambda: _decode(other, public, claims["aud"]), 1)


def _decode(token: str, public: Ed25519PublicKey, audience: str) -> object:
    return jwt.decode(token, public, algorithms=["EdDSA"], audience=audience)


async def measure_misses(client: AsyncClient, questions: list[Question], *, name: str, results: Results) -> None:
    """Ask sixteen at once of which nothing is kept: as single Check RPCs and as the SDK does, in turn."""
    await client.ready()
    took = {"single": 0.0, "together": 0.0}
    counts = dict.fromkeys(took, 0)
    for way, batch in zip(itertools.cycle(took), batches(questions, TOGETHER), strict=False):
        began = time.perf_counter()
        answers = await asyncio.gather(*(_ask(client, question, way) for question in batch))
        took[way] += time.perf_counter() - began
        counts[way] += len(batch)
        for question, allowed in zip(batch, answers, strict=True):
            if allowed is not question.expected:
                raise WrongAnswer(str(question))
    for way, seconds in took.items():
        results.add(f"feed.misses.{name}.{way}", counts[way] / seconds, CHECKS)


async def _ask(client: AsyncClient, question: Question, way: str) -> bool:
    asked = (question.subject, question.relation, question.object)
    if way == "together":
        return (await client.check(*asked)).allowed
    return (await client.permissions.check(*asked, consistency=Consistency.minimize_latency())).allowed
