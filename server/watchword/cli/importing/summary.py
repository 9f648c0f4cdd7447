"""What became of the users of an import, or would become: counted while it runs, told in the end.

Users are named by their ids in the source, never by their names, and hashes not at all.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TextIO

from watchword.cli.importing.rows import Row

_EXAMPLES: Final = 5
_MIXED: Final = (
    "passwords taken as mixed with SECURITY_PASSWORD_SALT: if the application has another salt, none of these users "
    "can sign in"
)
_UNMIXED: Final = (
    "passwords taken as not mixed with SECURITY_PASSWORD_SALT: if the application mixes them, see its "
    "SECURITY_PASSWORD_SINGLE_HASH, none of these users can sign in"
)


@dataclass(slots=True)
class Summary:
    """Counts, and examples of who was refused."""

    dry_run: bool
    refused_to: TextIO | None
    """Where everybody who is refused is written, a line of JSON each."""
    of_flask_security: bool = False
    """Then passwords may be mixed with a salt of the application. No import can notice if that is done wrongly."""
    read: int = 0
    created: int = 0
    existing: int = 0
    refused: int = 0
    suspended: int = 0
    without_password: int = 0
    hashes_dropped: int = 0
    emails_dropped: int = 0
    mixed: int = 0
    weak: int = 0
    times_left_out: int = 0
    schemes: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    email_examples: list[str] = field(default_factory=list)

    def note(self, row: Row) -> None:
        """Count what a row says."""
        self.suspended += row.user.suspended
        self.without_password += row.user.password_hash is None
        self.hashes_dropped += row.hash_dropped
        self.emails_dropped += row.email_dropped
        if row.email_dropped:
            _add(self.email_examples, row.source_id)
        self.times_left_out += row.times_left_out
        self.flags.update(row.flags)
        if row.hash is not None:
            self.schemes[row.hash.scheme] += 1
            self.weak += row.hash.is_weak
            self.mixed += row.is_mixed

    def refuse(self, source_id: str, name: str, description: str) -> None:
        """Count a refusal."""
        self.refused += 1
        case = (name, description)
        self.refusals[case] += 1
        _add(self.examples.setdefault(case, []), source_id)
        if self.refused_to is not None:
            line = {"source_id": source_id, "field": name, "description": description}
            self.refused_to.write(json.dumps(line) + "\n")

    def members(self) -> dict[str, Any]:
        """For programs."""
        done = {"importable_count": self.created} if self.dry_run else {
            "created_count": self.created, "existing_count": self.existing
        }  # fmt: skip
        salt = {"mixed_with_salt_count": self.mixed, "not_mixed_with_salt_count": self._unmixed}
        return {
            "dry_run": self.dry_run,
            "read_count": self.read,
            **done,
            "refused_count": self.refused,
            "suspended_count": self.suspended,
            "without_password_count": self.without_password,
            "dropped_hash_count": self.hashes_dropped,
            "dropped_email_count": self.emails_dropped,
            "dropped_email_examples": self.email_examples,
            "weak_password_count": self.weak,
            "left_out_time_count": self.times_left_out,
            "password_schemes": dict(self.schemes.most_common()),
            **(salt if self.of_flask_security else {}),
            "flags": dict(self.flags.most_common()),
            "refusals": [
                {
                    "field": name,
                    "description": description,
                    "count": count,
                    "examples": self.examples[name, description],
                }
                for (name, description), count in self.refusals.most_common()
            ],
        }

    def lines(self) -> Iterator[str]:
        """For a person."""
        yield f"{self.read:>11,}  users read"
        if self.dry_run:
            yield f"{self.created:>11,}  would be imported"
        else:
            yield f"{self.created:>11,}  imported"
            yield f"{self.existing:>11,}  were there already, and left as they are"
        yield f"{self.refused:>11,}  refused"
        for (name, description), count in self.refusals.most_common():
            examples = _shown(self.examples[name, description], count)
            yield f"{count:>15,}  {name + ' ' if name else ''}{description} {examples}"
        yield from self._about_the_users()

    @property
    def _unmixed(self) -> int:
        return self.schemes.total() - self.mixed

    def _about_the_users(self) -> Iterator[str]:
        salt = [(self.mixed, _MIXED), (self._unmixed, _UNMIXED)] if self.of_flask_security else []
        counts = [
            *((count, f"password as {scheme}") for scheme, count in self.schemes.most_common()),
            *salt,
            (self.weak, "weak password hashes, which end with the next sign-in of each"),
            (self.without_password, "without a password"),
            (self.hashes_dropped, "of these with a hash that cannot be verified"),
            (
                self.emails_dropped,
                f"without the e-mail address, which is invalid {_shown(self.email_examples, self.emails_dropped)}",
            ),
            (self.suspended, "suspended, as they were not active"),
            (self.times_left_out, "times left out, unreadable or in the future (see --time-zone)"),
        ]
        yield from (f"{count:>11,}  {meaning}" for count, meaning in counts if count)
        for name, count in self.flags.most_common():
            yield f"{count:>11,}  {name}: an attribute of the user now, which gives no rights"


def _add(examples: list[str], source_id: str) -> None:
    if len(examples) < _EXAMPLES:
        examples.append(source_id)


def _shown(examples: list[str], count: int) -> str:
    more = ", …" if count > _EXAMPLES else ""
    return f"(id {', '.join(examples)}{more})"
