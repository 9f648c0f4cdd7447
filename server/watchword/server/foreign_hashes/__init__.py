"""Password hashes that other software made: recognised, bounded, and verified as they are.

Hides every format and every function behind them. A team that brings its users brings their hashes too, and nobody
needs a new password; at the first good sign-in the server stores an argon2id hash of its own instead.

    argon2 (i, d, id; versions 16 and 19)      $argon2id$v=19$m=…,t=…,p=…$…$…     argon2-cffi, pwdlib, passlib
    bcrypt (2a, 2b, 2y)                        $2b$12$…                           bcrypt, pwdlib, passlib, PHP
    Django                                     pbkdf2_sha256$… pbkdf2_sha1$… scrypt$… bcrypt$… bcrypt_sha256$… argon2$…
    Werkzeug                                   scrypt:N:r:p$… pbkdf2:sha256:…$… (also sha1, sha512)
    passlib, libpass                           $pbkdf2-sha256$… (sha1, sha512) $scrypt$ln=… $bcrypt-sha256$…
    Flask-Security's double hash               $hmac-sha512$<base64 of SECURITY_PASSWORD_SALT>$<one of the above>

Threats:
- A hash costs what its text says, at every attempt to sign in. So limits on memory and work are checked from the text,
  before anything is computed (costs.py).
- Plain bcrypt looks at 72 bytes only and takes NUL for the end: it would let in with another password. A longer one, or
  one with a NUL, never matches such a hash.
- PBKDF2 and scrypt pad a short password with NULs, so a hash of theirs cannot tell "abc" from "abc" with NULs behind
  it. That is in the hash; it ends when it is replaced.

A hash was made of the bytes that were typed. Which Unicode forms of a password are tried is told in password_policy.py.
"""

from watchword.server.foreign_hashes.formats import from_base64, recognise
from watchword.server.foreign_hashes.functions import ForeignHash, HashRefused, Refusal

__all__ = ["ForeignHash", "HashRefused", "Refusal", "from_base64", "recognise"]
