"""Tokens, and the keys that sign them."""

import base64
import json
import sys
from typing import Annotated, Any

import typer

from watchword.cli.command import YES, Call, confirm, group, remote
from watchword.cli.failures import Code, Failure

tokens = group("token", "Access tokens and API keys.")
signing_keys = group("signing-keys", "The keys that sign access tokens.")

_PARTS = 3  # header, payload and signature of a JWT (RFC 7519)


@remote(tokens)
def inspect(
    call: Call,
    *,
    audience: Annotated[str | None, typer.Option(help="The service that the token must be for.")] = None,
) -> None:
    """Show what a token says, whether its signature is good, and whether the server still accepts it.

    The token comes from standard input, since everybody on this machine can list arguments. Exit code 1 if it is not
    accepted.
    """
    from watchword.client import TokenError  # noqa: PLC0415

    asked = sys.stdin.isatty()
    token = str(typer.prompt("Token", hide_input=True, err=True)) if asked else sys.stdin.read().strip()
    if not token:
        raise Failure("There is no token on standard input.", code=Code.USAGE)
    found: dict[str, Any] = {}
    parts = token.split(".")
    if len(parts) == _PARTS:
        found["unverified"] = {"header": _decode(parts[0]), "claims": _decode(parts[1])}
        try:
            found["verified_here"] = {"valid": True, "principal": call.client.verify(token, audience=audience)}
        except TokenError as error:
            found["verified_here"] = {"valid": False, "error": error.message}
    introspection = call.client.tokens.introspect(token, audience=audience)
    found["server"] = introspection
    call.output.one(found)
    if not introspection.active:
        raise typer.Exit(Code.FAILED)


@remote(signing_keys)
def show(call: Call) -> None:
    """Show the public keys, as a JSON Web Key Set, and what else a verifier must know."""
    keys = call.client.tokens.get_signing_keys()
    if call.output.as_json:
        call.output.one(
            {
                "jwks": json.loads(keys.jwks),
                "issuer": keys.issuer,
                "default_audience": keys.default_audience,
                "access_token_lifetime": keys.access_token_lifetime,
                "max_age": keys.max_age,
            }
        )
        return
    call.output.one(keys)


@remote(signing_keys)
def rotate(
    call: Call,
    *,
    revoke_current: Annotated[
        bool, typer.Option("--revoke-current", help="The current key has leaked: refuse its tokens at once.")
    ] = False,
    yes: YES = False,
) -> None:
    """Make a new signing key. It begins to sign when all verifiers know it; tokens of the old one stay good."""
    if revoke_current:
        confirm("Refuse every access token issued so far?", yes=yes)
    call.output.one(call.client.tokens.rotate_signing_key(revoke_current=revoke_current))


def _decode(part: str) -> Any:
    try:
        return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        return None
