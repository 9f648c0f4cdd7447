"""TLS and mTLS, with certificates made here, and the real client and server."""

import asyncio
import datetime as dt
import ipaddress
import secrets
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from watchword.client import TLS, AsyncClient, Client, UnavailableError
from watchword.server.app import running
from watchword.server.config import Config, Tls
from watchword.server.sealing import Keyring


class Authority:
    """A certificate authority."""

    def __init__(self, name: str):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._build(self.name, self.key, ca=True)

    def _build(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def issue(self, name: str) -> tuple[bytes, bytes]:
        """Give a certificate and its key, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._build(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, ca=False)
        return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def authority() -> Authority:
    return Authority("Watchword test")


@pytest.fixture(autouse=True)
def no_signing_key(sql):
    """The servers here have a master key of their own, so they also make a signing key of their own."""
    sql("delete from signing_keys")


def serving(server, folder: Path, authority: Authority, *, client_ca: bytes | None = None):
    certificate, key = authority.issue("localhost")
    (folder / "c.pem").write_bytes(certificate)
    (folder / "k.pem").write_bytes(key)
    if client_ca:
        (folder / "ca.pem").write_bytes(client_ca)
    tls = Tls(folder / "c.pem", folder / "k.pem", folder / "ca.pem" if client_ca else None)
    return running(
        Config(listen="127.0.0.1:0", tls=tls),
        database_url=server.database_url,
        keyring=Keyring.parse(Keyring.generate(secrets.token_bytes), randomness=secrets.token_bytes),
    )


async def answers(address: str, api_key: str, tls: TLS) -> bool:
    async with AsyncClient(address, api_key=api_key, tls=tls, timeout=3) as client:
        try:
            await client.tokens.get_signing_keys()
        except UnavailableError:
            return False
        return True


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
async def test_tls(watchword: Client, watchword_server, tmp_path, authority):
    async with serving(watchword_server, tmp_path, authority) as app:
        key = watchword_server.api_key
        assert await answers(app.address, key, TLS(root_certificates=authority.pem))
        # A certificate that some other authority signed proves nothing.
        assert not await answers(app.address, key, TLS(root_certificates=Authority("Other").pem))
        port = int(app.address.rpartition(":")[2])
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=old)


async def test_mtls(watchword: Client, watchword_server, tmp_path, authority):
    async with serving(watchword_server, tmp_path, authority, client_ca=authority.pem) as app:
        key = watchword_server.api_key
        certificate, private_key = authority.issue("billing")
        shown = TLS(root_certificates=authority.pem, certificate_chain=certificate, private_key=private_key)
        assert await answers(app.address, key, shown)
        assert not await answers(app.address, key, TLS(root_certificates=authority.pem))
        other, other_key = Authority("Other").issue("billing")
        forged = TLS(root_certificates=authority.pem, certificate_chain=other, private_key=other_key)
        assert not await answers(app.address, key, forged)
