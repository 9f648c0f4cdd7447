"""Take-back of a signing key that leaked: whoever has it signs tokens of any content, and all fall with the key.

Such a token may claim to be of the future, so that no revocation of its session or account reaches it.
"""

import secrets
from collections.abc import Iterator

import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from guaranteed import KINDS, Person, Sdk, Servers, person, sdk

from watchword.client import Client
from watchword.server.sealing import Keyring


@pytest.fixture
def writer(two_servers) -> Iterator[Client]:
    with Client(two_servers.one, api_key=two_servers.api_key) as client:
        yield client


@pytest.fixture(params=KINDS)
def reader(request, two_servers, writer) -> Iterator[Sdk]:
    with sdk(two_servers.other, two_servers.api_key, kind=request.param) as made:
        made.ready()
        yield made


def leaked(servers: Servers, kid: str) -> Ed25519PrivateKey:
    """What a thief has."""
    with psycopg.connect(servers.whole.database_url) as connection:
        (sealed,) = connection.execute("SELECT private_key_sealed FROM signing_keys WHERE kid = %s", [kid]).fetchone()
    keyring = Keyring.parse(servers.whole.settings["WATCHWORD_MASTER_KEY"], randomness=secrets.token_bytes)
    return Ed25519PrivateKey.from_private_bytes(
        keyring.sealer("signing_keys").open(sealed, context=f"{kid}/private_key")
    )


def forged(servers: Servers, ana: Person) -> str:
    """A token that says to be of the future."""
    kid = jwt.get_unverified_header(ana.token)["kid"]
    claims = jwt.decode(ana.token, options={"verify_signature": False})
    claims |= {"rev": f"{claims['rev'].rpartition('.')[0]}.{10**15}", "jti": secrets.token_hex(16)}
    return jwt.encode(claims, leaked(servers, kid), algorithm="EdDSA", headers={"typ": "at+jwt", "kid": kid})


def test_tokens_of_a_leaked_key_fall_with_it(two_servers, writer, reader):
    ana = person(writer, f"ana-{secrets.token_hex(4)}")
    reader.wait_until_passed(writer.revision)
    seen, unseen = forged(two_servers, ana), forged(two_servers, ana)
    # Nobody can tell them from good ones yet.
    hits = reader.status.hits
    assert reader.accepts(seen)
    assert reader.accepts(seen)
    assert reader.status.hits > hits
    writer.tokens.rotate_signing_key(revoke_current=True)
    reader.wait_until_passed(writer.revision)
    assert not reader.accepts(unseen)
    assert not reader.accepts(seen)
    assert reader.accepts(person(writer, f"ben-{secrets.token_hex(4)}").token)
