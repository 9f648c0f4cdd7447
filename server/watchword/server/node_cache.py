"""The contents of nodes, kept exactly at the snapshot that the feed is at (DESIGN.md section 2, item 8).

Answers are computed over many nodes, and a mixture of two snapshots reopens the "new enemy" hole. So what was read on
a snapshot of its own waits here until the feed has come past that snapshot, and enters only if no change since names
it: then it is what a reading at the feed's snapshot would have given. From then on it stands until a change names it.

Memory is bounded. What was not used while half of it filled goes: two generations, of which the young one takes
what is read, cost one dictionary look-up for a hit, where an exact order of use would cost several.
"""

from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from watchword.server.feed import Recent
from watchword.server.identifiers import PERMISSION_MODEL
from watchword.server.permissions.known import Content, Contents, KnownNodes, NotKnown
from watchword.server.permissions.standing import Standing
from watchword.server.storage.events import Change
from watchword.server.storage.gathered import Gathered
from watchword.server.storage.snapshot import Visible

_MAX_WAITING: Final = 1_000
_MAX_ACCOUNTS: Final = 100_000
_MAX_PROBES: Final = 50_000
"""Subjects that were looked for at one node, one by one. More are forgotten, or a large group would fill the cache: all
who ask about a folder that is shared with everybody are looked for there."""
# What CPython takes for them, with the hash and the name of the node and its places in dictionaries.
_NODE_BYTES: Final = 1_000
_ROW_BYTES: Final = 800
_ABSENT_BYTES: Final = 100
_ANSWER_BYTES: Final = 2_000


class _Generation(Contents):
    """The young contents. What is not among them may be among the old ones, and is young then."""

    __slots__ = ("_promote",)

    def __init__(self, promote: Callable[[str], Content | None]) -> None:
        super().__init__()
        self._promote = promote

    def __missing__(self, node: str) -> Content:
        content = self._promote(node)
        if content is None:
            raise NotKnown
        return content


class NodeCache:
    """What is known of nodes: relationships, whether accounts are disabled, and the model in force."""

    def __init__(self, recent: Recent, standing: Standing, *, max_bytes: int, nudge: Callable[[], None]) -> None:
        self._recent = recent
        self._standing = standing
        self._max_bytes = max_bytes
        self._nudge = nudge
        self._visible: Visible | None = None
        self._epoch = ""
        self._young: Contents = _Generation(self._promote)
        self._old: dict[str, Content] = {}
        self._young_bytes = 0
        self._old_bytes = 0
        self._names: dict[int, str] = {}
        self._accounts: dict[str, bool] = {}
        self._waiting: list[Gathered] = []
        self.model_id: UUID | None = None
        """The model in force; None: not known."""
        self.reader: KnownNodes = KnownNodes(self._young)
        """What is known of relationships, as the engine reads it. Not to be kept."""

    @property
    def is_on(self) -> bool:
        """Whether it keeps anything."""
        return self._max_bytes > 0

    @property
    def max_answers(self) -> int:
        """How many whole answers may be kept beside it: they take a quarter of the memory that it may take."""
        return self._max_bytes // 4 // _ANSWER_BYTES

    @property
    def bytes(self) -> int:
        """About how much memory the relationships take."""
        return self._young_bytes + self._old_bytes

    def is_disabled(self, account: str) -> bool | None:
        """Whether an account is suspended or deleted; None: not known."""
        return self._accounts.get(account)

    # ----- filling ----------------------------------------------------------------------------------------------------

    def offer(self, gathered: Gathered) -> None:
        """Take what was read, as soon as the feed is past its snapshot."""
        if not self.is_on or self._visible is None or gathered.epoch != self._epoch:
            return
        if self._visible.covers(gathered.visible):
            self._fill(gathered)
        elif len(self._waiting) < _MAX_WAITING:
            self._waiting.append(gathered)
            self._nudge()

    def _fill(self, gathered: Gathered) -> None:
        horizon = gathered.visible.xmin
        permits, standing = self._recent.permits, self._standing
        if permits((standing.plain(PERMISSION_MODEL),), horizon):
            self._names[standing.plain(PERMISSION_MODEL)] = PERMISSION_MODEL
            self.model_id = gathered.model_id
        for account in gathered.accounts:
            if permits((standing.plain(account),), horizon):
                self._names[standing.plain(account)] = account
                if len(self._accounts) >= _MAX_ACCOUNTS:
                    self._accounts.clear()
                self._accounts[account] = account in gathered.disabled
        for node, content in gathered.contents.items():
            hashes = standing.node(node)
            if permits(hashes, horizon):
                self._names[hashes[0]] = node
                self._keep(node, content)

    def _keep(self, node: str, content: Content) -> None:
        known = self._take(node)
        # Not emptied where it would grow too large: whoever gathered it may still be reading it.
        if known is not None and len(known.absent) + len(known.direct) < _MAX_PROBES:
            known.merge(content)
            content = known
        self._young[node] = content
        self._young_bytes += _size(content)
        if self._young_bytes > self._max_bytes // 2:
            self._age()

    def _age(self) -> None:
        """The young become old, and what was old and not used since is forgotten."""
        for node in self._old:
            self._names.pop(self._standing.node(node)[0], None)
        self._old, self._old_bytes = dict(self._young), self._young_bytes
        self._young.clear()
        self._young_bytes = 0

    def _promote(self, node: str) -> Content | None:
        content = self._old.pop(node, None)
        if content is not None:
            size = _size(content)
            self._old_bytes -= size
            self._young[node] = content
            self._young_bytes += size
        return content

    def _take(self, node: str) -> Content | None:
        if (content := self._young.pop(node, None)) is not None:
            self._young_bytes -= _size(content)
        elif (content := self._old.pop(node, None)) is not None:
            self._old_bytes -= _size(content)
        return content

    # ----- following --------------------------------------------------------------------------------------------------

    def apply(self, changes: Sequence[Change], visible: Visible) -> None:
        """See `Follower`."""
        self._visible = visible
        for change in changes:
            for hash_ in change.nodes:
                name = self._names.pop(hash_, None)
                if name is not None:
                    self._drop(name)
        in_bulk = self._standing.bulks(node for change in changes for node in change.nodes)
        if in_bulk:
            for node in [*self._young, *self._old]:
                if f"{node.partition(':')[0]}#{node.rpartition('#')[2]}" in in_bulk:
                    self._names.pop(self._standing.node(node)[0], None)
                    self._take(node)
        waiting, self._waiting = self._waiting, []
        for gathered in waiting:
            if visible.covers(gathered.visible):
                self._fill(gathered)
            else:
                self._waiting.append(gathered)

    def _drop(self, name: str) -> None:
        if "#" in name:
            self._take(name)
        elif name == PERMISSION_MODEL:
            self.model_id = None
        else:
            self._accounts.pop(name, None)

    def forget(self, visible: Visible | None, epoch: str) -> None:
        """See `Follower`."""
        self._visible, self._epoch = visible, epoch
        for held in (self._young, self._old, self._names, self._accounts, self._waiting):
            held.clear()
        self._young_bytes = self._old_bytes = 0
        self.model_id = None


def _size(content: Content) -> int:
    rows = len(content.everything or ()) + len(content.sets or ()) + len(content.direct)
    return _NODE_BYTES + rows * _ROW_BYTES + len(content.absent) * _ABSENT_BYTES
