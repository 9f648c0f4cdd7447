"""Names for password hashes that cannot be verified, so that whoever imports them knows what is there.

Threat: what stands where a hash should be may be a password. So a kind is told by a closed list of names, and nothing
of the text itself is ever shown.
"""

import re
from typing import Final

_KINDS: Final = (
    (r"md5\$.*", "MD5, as Django or Werkzeug wrote it"),
    (r"(unsalted_)?md5\$\$[0-9a-f]{32}", "unsalted MD5, as Django wrote it"),
    (r"sha1\$.*", "SHA-1, as Django or Werkzeug wrote it"),
    (r"sha(224|256|384|512)\$.*", "plain SHA-2, as Werkzeug wrote it"),
    (r"(crypt\$.*|[./0-9A-Za-z]{13})", "DES crypt"),
    (r"\$(1|apr1|md5)\$.*", "MD5 crypt"),
    (r"\$5\$.*", "SHA-256 crypt"),
    (r"\$6\$.*", "SHA-512 crypt"),
    (r"\$(y|gy|7)\$.*", "yescrypt"),
    (r"\$[PH]\$.*", "phpass, as WordPress and phpBB write it"),
    (r"\$S\$.*", "Drupal 7's SHA-512"),
    (r"\{[A-Za-z0-9-]+\}.*", "a kind of LDAP"),
    (r"\*[0-9A-Fa-f]{40}", "MySQL's own"),
    (r"[0-9A-Fa-f]{32}", "MD5 or another of 128 bits, bare"),
    (r"[0-9A-Fa-f]{40}", "SHA-1 or another of 160 bits, bare"),
    (r"[0-9A-Fa-f]{64}", "SHA-256 or another of 256 bits, bare"),
    (r"[0-9A-Fa-f]{128}", "SHA-512 or another of 512 bits, bare"),
)
_UNNAMED: Final = "an unknown kind, if it is a hash at all"
_LOOKED_AT: Final = 1024


def kind_of(text: str) -> str:
    """Name the kind of a hash that is not recognised."""
    return next((name for pattern, name in _KINDS if re.fullmatch(pattern, text[:_LOOKED_AT], re.DOTALL)), _UNNAMED)
