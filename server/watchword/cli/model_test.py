"""Tests of permission models: the engine is asked what files say it should answer, and what differs is told."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from watchword.cli.failures import Code, Failure
from watchword.cli.store_file import Check, ListObjects, ListUsers, Question, Store, read_store
from watchword.client.explanation import explanation_lines

if TYPE_CHECKING:
    from watchword.server.permissions.answers import Listing
    from watchword.server.permissions.engine import Engine

MAX_NAMES: Final = 20
"""How many names of a list a person is shown."""

# What OpenFGA's files call the parts of a question that the engine may find fault with.
_PARTS: Final = {"subject": "user", "subject_filters": "user_filter", "object_type": "type"}


@dataclass(frozen=True, slots=True)
class Difference:
    """An assertion that does not hold.

    place: where it stands, as `file:line`.
    got: what the engine answered; nothing if it could not, and then `error` says why.
    explanation: why it answered so, line by line. For a list, of the first name that is lacking or too much.
    """

    place: str
    question: str
    expected: bool | tuple[str, ...]
    got: bool | tuple[str, ...] | None
    error: str | None = None
    explanation: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TestReport:
    """How a test came out."""

    name: str
    assertions: int
    failures: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class FileReport:
    """How the tests of a file came out; or why there are none that could be run."""

    file: str
    name: str
    tests: tuple[TestReport, ...]
    error: str | None = None

    @property
    def passed(self) -> bool:
        """Whether all is as it should be."""
        return self.error is None and not any(test.failures for test in self.tests)


def run_files(files: Iterable[Path], *, external: bool) -> Iterator[FileReport]:
    """Run the tests of files, one file after the other.

    Raises:
        Failure: a file cannot be opened. One that is not as it should be has a report all the same.

    """
    for file in files:
        try:
            store = read_store(file, external=external)
        except Failure as failure:
            if failure.code == Code.USAGE:
                raise
            yield FileReport(str(file), "", (), failure.message)
        else:
            yield FileReport(str(file), store.name, tuple(_run(store)))


def _run(store: Store) -> Iterator[TestReport]:
    from watchword.server.permissions.engine import Engine  # noqa: PLC0415
    from watchword.server.permissions.relationships import Overlay, Relationships  # noqa: PLC0415

    stored = Relationships(store.relationships)
    for test in store.tests:
        engine = Engine(store.plan, Overlay(stored, test.relationships), now=datetime.now(UTC))
        differences = (_difference(engine, question) for question in test.questions)
        yield TestReport(test.name, len(test.questions), tuple(item for item in differences if item is not None))


# ----- asking ---------------------------------------------------------------------------------------------------------


class _Undecided(Exception):
    """An answer hangs on parameters that the context of the question lacks."""


def _difference(engine: "Engine", question: Question) -> Difference | None:
    """What is wrong with the answer to a question; nothing if it is as expected."""
    from watchword.server.permissions.answers import InvalidQuestion, Unanswerable  # noqa: PLC0415

    words, expected = _told(question)
    try:
        got = _answer(engine, question)
    except InvalidQuestion as error:
        message = f"The {_PARTS.get(error.field, error.field)} {error}."
        return Difference(question.place, words, expected, None, message)
    except Unanswerable as error:
        return Difference(question.place, words, expected, None, str(error))
    except _Undecided as error:
        return Difference(question.place, words, expected, None, str(error), _explanation(engine, question, ()))
    if got == expected:
        return None
    differing = sorted(set(got) ^ set(expected)) if isinstance(got, tuple) and isinstance(expected, tuple) else ()
    return Difference(question.place, words, expected, got, None, _explanation(engine, question, differing))


def _told(question: Question) -> tuple[str, bool | tuple[str, ...]]:
    """A question in words, and the answer expected, names sorted."""
    context = f" with {question.context_text}" if question.context_text else ""
    match question:
        case Check(expected=expected):
            return f"check {question.subject} {question.relation} {question.object}{context}", expected
        case ListObjects():
            words = f"list_objects {question.subject} {question.relation} {question.type}{context}"
        case ListUsers():
            words = f"list_users {question.object} {question.relation} {' '.join(question.filters)}{context}"
        case _:
            raise AssertionError(question)
    return words, tuple(sorted(set(question.expected)))


def _answer(engine: "Engine", question: Question) -> bool | tuple[str, ...]:
    from watchword.server.permissions.answers import Decision  # noqa: PLC0415

    context = question.context
    match question:
        case Check():
            answer = engine.check(question.subject, question.relation, question.object, context=context)
            if answer.decision == Decision.CONDITIONAL:
                raise _Undecided(f"Undecided: the context lacks {', '.join(answer.missing)}.")
            return answer.decision == Decision.ALLOWED
        case ListObjects():
            return _names(engine.list_objects(question.subject, question.relation, question.type, context=context))
        case ListUsers():
            return _names(engine.list_subjects(question.object, question.relation, question.filters, context=context))
    raise AssertionError(question)


def _names(listing: "Listing") -> tuple[str, ...]:
    if listing.conditional:
        missing = sorted({name for names in listing.conditional.values() for name in names})
        names = _few(sorted(listing.conditional))
        raise _Undecided(f"Undecided for {names}: the context lacks {', '.join(missing)}.")
    return listing.names


def _explanation(engine: "Engine", question: Question, differing: Sequence[str]) -> tuple[str, ...]:
    """Why a check is answered so; or of a list, why the first name that differs is in it or not."""
    from watchword.server.permissions.answers import Unanswerable  # noqa: PLC0415

    match question:
        case Check(subject=subject, object=object_):
            pass
        case ListObjects(subject=subject) if differing:
            object_ = differing[0]
        case ListUsers(object=object_) if differing:
            subject = differing[0]
        case _:
            return ()
    try:
        explanation = engine.explain(subject, question.relation, object_, context=question.context)
    except Unanswerable:
        # A name that a list was expected to have may be no name at all.
        return ()
    return tuple(explanation_lines(explanation.tree, subject=subject))


# ----- telling --------------------------------------------------------------------------------------------------------


def report_lines(reports: Sequence[FileReport]) -> Iterator[str]:
    """Tell a person how the tests came out.

    Threat: names in files from elsewhere hold characters that a terminal obeys. They are replaced.
    """
    for line in _lines(reports):
        yield "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)


def _lines(reports: Sequence[FileReport]) -> Iterator[str]:
    for report in reports:
        if report.error is not None:
            yield f"{report.file}: cannot be run:"
            yield from (f"  {line}" for line in report.error.splitlines())
        elif report.passed:
            yield f"{report.file}: {_count(len(report.tests), 'test')} passed, {_assertions(report.tests)}"
        for test in report.tests:
            if test.failures:
                yield f"{report.file}: FAILED: {test.name}: {len(test.failures)} of {_assertions([test])}"
            for difference in test.failures:
                yield from (f"  {line}" for line in _difference_lines(difference))
    yield _summary(reports)


def _difference_lines(difference: Difference) -> Iterator[str]:
    yield f"{difference.place}: {difference.question}"
    expected, got = difference.expected, difference.got
    if difference.error is not None:
        yield f"  expected {_value(expected)}, got no answer: {difference.error}"
    elif isinstance(expected, tuple) and isinstance(got, tuple):
        yield f"  expected  {_value(expected)}"
        yield f"  got       {_value(got)}"
        if lacking := sorted(set(expected) - set(got)):
            yield f"  lacking   {_few(lacking)}"
        if surplus := sorted(set(got) - set(expected)):
            yield f"  too much  {_few(surplus)}"
    elif got is not None:
        yield f"  expected {_value(expected)}, got {_value(got)}:"
    yield from (f"    {line}" for line in difference.explanation)


def _value(value: bool | tuple[str, ...]) -> str:  # noqa: FBT001 - an answer, not an option
    if isinstance(value, bool):
        return "true" if value else "false"
    return _few(value) if value else "nothing"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _summary(reports: Sequence[FileReport]) -> str:
    tests = [test for report in reports for test in report.tests]
    failed = [test for test in tests if test.failures]
    unread = sum(report.error is not None for report in reports)
    failures = sum(len(test.failures) for test in failed)
    parts = [f"{_count(unread, 'file')} cannot be run"] if unread else []
    if failed:
        parts.append(f"{len(failed)} of {_count(len(tests), 'test')} failed, {failures} of {_assertions(tests)}")
    else:
        parts.append(f"{_count(len(tests), 'test')} passed, {_assertions(tests)}")
    return "; ".join(parts) + "."


def _assertions(tests: Sequence[TestReport]) -> str:
    return _count(sum(test.assertions for test in tests), "assertion")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
