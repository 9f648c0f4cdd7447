"""The means by which `dsl.py` goes through tokens and gets over mistakes.

People see every mistake of a model at once, so a parser has to go on after the first one. How it goes on decides
what it reports next. OpenFGA's tools publish positions that come from ANTLR's strategy, so this is that strategy:

- where one token is too many, it is reported and skipped;
- where one token is missing, it is reported and imagined;
- anything else ends the rule at hand: tokens are skipped up to one that can follow any of the rules in progress.

Until a token fits again nothing more is reported, so that one mistake does not make a page of complaints.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from watchword.server.permissions.lexer import END, Tokens
from watchword.server.permissions.mistakes import sentence
from watchword.server.permissions.problems import Position, Problem, ProblemKind

MAX_PROBLEMS: Final = 20

_Result = TypeVar("_Result")
Kinds = frozenset[str]


NOTHING: Final[Kinds] = frozenset()


def one_of(*kinds: str) -> Kinds:
    """The set of kinds of tokens."""
    return frozenset(kinds)


class Misfit(Exception):
    """The token at the index does not fit; the rule at hand cannot go on."""

    def __init__(self, index: int, expected: Kinds) -> None:
        self.index = index
        self.expected = expected


class GiveUp(Exception):
    """There is no point in reading on."""


class Parser:
    """A place in a sequence of tokens, the rules in progress, and what was found wrong."""

    __slots__ = ("_follows", "_kinds", "_last_failure", "_recovering", "at", "kind", "problems", "tokens")

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.problems: list[Problem] = []
        self.at = 0
        self._kinds = tokens.kinds
        self.kind = self._kinds[0]
        self._follows: list[tuple[Kinds, bool]] = []
        self._recovering = False
        self._last_failure: tuple[int, str] | None = None

    @property
    def next_kind(self) -> str:
        """The kind of the token behind the current one."""
        return self._kinds[self.at + 1] if self.kind != END else END

    def kind_at(self, index: int) -> str:
        """The kind of any token."""
        return self._kinds[index] if index < len(self._kinds) else END

    def take(self) -> int:
        """Accept the current token, whatever it is, and give its index."""
        self._recovering = False
        taken = self.at
        self._skip()
        return taken

    def expect(self, kind: str, then: Kinds, *, ends: bool = False) -> int | None:
        """Accept a token of one kind and give its index; None where it was missing.

        Args:
            kind: what must stand here.
            then: what may come after it within the rule.
            ends: whether the rule may end after it.

        Raises:
            Misfit: the rule cannot go on.

        """
        if self.kind == kind:
            return self.take()
        expected = frozenset((kind,))
        if self._skip_extra(expected):
            return self.take()
        if self.kind in then or (ends and self.kind in self._context()):
            self._report(self.at, expected)
            return None
        raise Misfit(self.at, expected)

    def settle(self, expected: Kinds, *, repeated: bool = False) -> None:
        """See that what comes is one of what is expected, skipping one token too many.

        Args:
            expected: what may come.
            repeated: whether this ends a round of a loop, where anything is skipped up to a fitting token.

        Raises:
            Misfit: the rule cannot go on.

        """
        if self.kind in expected or self._recovering:
            return
        if repeated:
            self._report(self.at, expected)
            self._skip_to(expected | self._recovery())
        elif not self._skip_extra(expected):
            raise Misfit(self.at, expected)

    def rule(self, body: Callable[[], _Result], then: Kinds, *, ends: bool = False) -> _Result | None:
        """Run a rule, inside of which a misfit ends; None if there was one.

        Args:
            body: the rule.
            then: what may come after it within the rule that asks for it.
            ends: whether that rule may end after it.

        """
        self._follows.append((then, ends))
        try:
            return body()
        except Misfit as misfit:
            self._report(misfit.index, misfit.expected)
            # A second failure of a rule at the same token: skip it, or this would go on for ever.
            failure = (self.at, body.__name__)
            if failure == self._last_failure:
                self._skip()
            self._last_failure = failure
            self._skip_to(self._recovery())
            return None
        finally:
            self._follows.pop()

    def add(self, kind: ProblemKind, message: str, symbol: str, position: Position) -> None:
        """Note a problem.

        Raises:
            GiveUp: there are too many by now.

        """
        self.problems.append(Problem(kind, message, symbol, position))
        if len(self.problems) >= MAX_PROBLEMS:
            raise GiveUp

    def _report(self, index: int, expected: Kinds) -> None:
        if self._recovering:
            return
        self._recovering = True
        symbol = self.tokens.texts[index]
        self.add(ProblemKind.SYNTAX, sentence(self.tokens, index, expected), symbol, self.tokens.position(index))

    def _skip(self) -> None:
        if self.kind != END:
            self.at += 1
            self.kind = self._kinds[self.at]

    def _skip_to(self, kinds: Kinds) -> None:
        while self.kind not in kinds and self.kind != END:
            self._skip()

    def _skip_extra(self, expected: Kinds) -> bool:
        if self.next_kind not in expected:
            return False
        self._report(self.at, expected)
        self._skip()
        self._recovering = False
        return True

    def _context(self) -> Kinds:
        """What may come after the rule at hand."""
        kinds: Kinds = frozenset()
        for then, ends in reversed(self._follows):
            kinds |= then
            if not ends:
                return kinds
        return kinds | {END}

    def _recovery(self) -> Kinds:
        return frozenset().union(*(then for then, _ in self._follows))
