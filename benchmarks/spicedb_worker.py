"""SpiceDB, embedded in this process, asked by threads: `python -m benchmarks.spicedb_worker JOB`, by peers.py.

It runs in a virtual environment of its own, so it imports nothing of Watchword's and of the other parts only what
needs the standard library alone. The calls are made in the process, without a network: in SpiceDB's favour.

It prints one JSON line for each figure. After the load it says so and waits for a line, while the database is settled.
"""

import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

from authzed.api import v1
from authzed.api.v1.permission_service_pb2_grpc import PermissionsServiceStub
from spicedb_embedded import EmbeddedSpiceDB, StartOptions

from benchmarks.load import Timing, WrongAnswer, median, timing
from benchmarks.processes import Meter
from benchmarks.specials import Specials, reader, seen_by_reader
from benchmarks.world import KINDS, Question, Relationship, World, batches

SCHEMA = """
definition user {}

definition group {
    relation member: user | group#member
}

definition folder {
    relation parent: folder
    relation owner: user
    relation editor: user | group#member
    relation viewer: user | group#member
    permission edit = editor + owner + parent->edit
    permission view = viewer + edit + parent->view
}

definition document {
    relation parent: folder
    relation owner: user
    relation editor: user | group#member
    relation viewer: user | group#member
    permission edit = editor + owner + parent->edit
    permission view = viewer + edit + parent->view
}
"""
_BATCH = 1000
_BULK = 100
_STALENESS_SECONDS = 6
_LATEST_ENOUGH = v1.Consistency(minimize_latency=True)


class Worker:
    """One SpiceDB and the job it does."""

    def __init__(self, job: dict[str, Any]) -> None:
        options = StartOptions(datastore="postgres", datastore_uri=job["url"])
        self._spicedb = EmbeddedSpiceDB.start(SCHEMA, options=options)
        self._calls = self._spicedb.permissions()
        self._streams = PermissionsServiceStub(self._spicedb.channel())
        self._job = job
        self._world = World(job["size"])
        self._specials = Specials(visible=tuple(job["visible"]))
        self._meter = Meter(servers={"server": os.getpid()}, postgres=job["postgres"])

    def run(self) -> None:
        """Do it all."""
        self._load()
        number = self._job["questions"]
        kinds = {kind: self._world.questions(kind, number) for kind in KINDS}
        self._verify(kinds)
        for kind, questions in {**kinds, "mixed": self._world.mixed(number)}.items():
            for in_flight in (1, 16):
                self._loop(f"check.{kind}", self._check, itertools.cycle(questions), in_flight)
        for in_flight in (1, 4):
            bulks = batches(itertools.cycle(self._world.mixed(number)), _BULK)
            self._loop("batch", self._bulk, bulks, in_flight, each=_BULK)
        self._lists()
        for in_flight in (1, 16):
            self._loop("write", self._write, self._new_relationships(in_flight), in_flight)
        self._spicedb.close()

    def _load(self) -> None:
        self._write_all(self._specials.shelves())
        relationships = list(self._world.relationships())
        began = time.perf_counter()
        self._write_all(relationships)
        took = time.perf_counter() - began
        _say(name="load", value=len(relationships) / took, unit="rows/s")
        _say(loaded=True)
        sys.stdin.readline()

    def _write_all(self, relationships: Iterable[Relationship]) -> None:
        for batch in batches(relationships, _BATCH):
            self._calls.WriteRelationships(v1.WriteRelationshipsRequest(updates=[_touch(r) for r in batch]))

    def _verify(self, kinds: dict[str, list[Question]]) -> None:
        """Check answers before anything is timed."""
        # It answers from a revision of up to 5 seconds ago, and of a tenth more.
        time.sleep(_STALENESS_SECONDS)
        for questions in kinds.values():
            for question in questions[: self._job["verified"]]:
                self._check(question)

    def _check(self, question: Question) -> None:
        answer = self._calls.CheckPermission(
            v1.CheckPermissionRequest(
                consistency=_LATEST_ENOUGH,
                resource=_object(question.object),
                permission="view",
                subject=_subject(question.subject),
            )
        )
        if _allowed(answer.permissionship) != question.expected:
            raise WrongAnswer(question)

    def _bulk(self, questions: list[Question]) -> None:
        items = [
            v1.CheckBulkPermissionsRequestItem(
                resource=_object(q.object), permission="view", subject=_subject(q.subject)
            )
            for q in questions
        ]
        answer = self._calls.CheckBulkPermissions(
            v1.CheckBulkPermissionsRequest(consistency=_LATEST_ENOUGH, items=items)
        )
        for question, pair in zip(questions, answer.pairs, strict=True):
            if _allowed(pair.item.permissionship) != question.expected:
                raise WrongAnswer(question)

    def _lists(self) -> None:
        for count in self._specials.visible:
            shelf = [(reader(count), seen_by_reader(count))]
            self._loop(f"list.{count}", self._list, itertools.cycle(shelf), 1)
        people = [(f"user:u{user}", self._world.visible(user)) for user in range(self._job["people"])]
        self._loop("list.ordinary", self._list, itertools.cycle(people), 1)

    def _list(self, listing: tuple[str, set[str]]) -> None:
        subject, expected = listing
        answers = self._streams.LookupResources(
            v1.LookupResourcesRequest(
                consistency=_LATEST_ENOUGH,
                resource_object_type="document",
                permission="view",
                subject=_subject(subject),
            )
        )
        found = {f"document:{answer.resource_object_id}" for answer in answers}
        if found != expected:
            raise WrongAnswer(f"{subject} sees {len(expected)} documents, the list has {len(found)}")

    def _write(self, relationship: Relationship) -> None:
        self._calls.WriteRelationships(v1.WriteRelationshipsRequest(updates=[_touch(relationship)]))

    def _new_relationships(self, series: int) -> Iterator[Relationship]:
        users = self._world.counts.users
        for number in itertools.count():
            yield Relationship(f"document:w{series}_{number}", "viewer", f"user:u{number % users}")

    def _loop(
        self, name: str, ask: Callable[[Any], None], questions: Iterator[Any], in_flight: int, *, each: int = 1
    ) -> None:
        seconds, repeats, warm_up = self._job["seconds"], self._job["repeats"], self._job["warm_up"]
        timings = []
        for _ in range(repeats):
            self._once(ask, questions, in_flight, seconds * warm_up)
            timings.append(self._once(ask, questions, in_flight, seconds))
        _say(name=f"{name}.c{in_flight}", in_flight=in_flight, each=each, timing=asdict(median(timings)))

    def _once(self, ask: Callable[[Any], None], questions: Iterator[Any], in_flight: int, seconds: float) -> Timing:
        latencies: list[float] = []
        mistakes: list[BaseException] = []
        lock = threading.Lock()
        end = time.perf_counter() + seconds

        def fly() -> None:
            start = time.perf_counter()
            try:
                while start < end:
                    with lock:
                        question = next(questions)
                    ask(question)
                    now = time.perf_counter()
                    latencies.append(now - start)
                    start = now
            except BaseException as mistake:  # noqa: BLE001  # told by the thread that waits
                mistakes.append(mistake)

        threads = [threading.Thread(target=fly) for _ in range(in_flight)]
        before, began = self._meter.look(), time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took, after = time.perf_counter() - began, self._meter.look()
        if mistakes:
            raise mistakes[0]
        spent = {name: after[name] - before[name] for name in ("server", "postgres")}
        return timing(latencies, took, spent)


def _object(name: str) -> v1.ObjectReference:
    kind, _, identity = name.partition(":")
    return v1.ObjectReference(object_type=kind, object_id=identity)


def _subject(name: str) -> v1.SubjectReference:
    subject, _, relation = name.partition("#")
    return v1.SubjectReference(object=_object(subject), optional_relation=relation)


def _touch(relationship: Relationship) -> v1.RelationshipUpdate:
    return v1.RelationshipUpdate(
        operation=v1.RelationshipUpdate.OPERATION_TOUCH,
        relationship=v1.Relationship(
            resource=_object(relationship.object),
            relation=relationship.relation,
            subject=_subject(relationship.subject),
        ),
    )


def _allowed(permissionship: int) -> bool:
    return bool(permissionship == v1.CheckPermissionResponse.PERMISSIONSHIP_HAS_PERMISSION)


def _say(**values: Any) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    Worker(json.loads(sys.argv[1])).run()
