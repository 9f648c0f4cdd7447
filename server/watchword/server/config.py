"""The server's settings: read once, from the environment and a TOML file, and frozen.

Nothing else reads the environment. Every variable starts with WATCHWORD_; in the file the same names stand in lower
case without that prefix, and the environment wins. An unknown name is an error, so that a typing mistake cannot
silently leave a default in force. `SETTINGS` is the manual: the CLI prints it and a test holds README, Dockerfile and
compose.yaml against it.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

PREFIX = "WATCHWORD_"
CONFIG_FILE = "WATCHWORD_CONFIG_FILE"

# Read by the SDK, the CLI and the pytest plugin in the same environment, so not unknown to the server.
CLIENT_VARIABLES = frozenset(
    {"WATCHWORD_API_KEY", "WATCHWORD_ADDRESS", "WATCHWORD_CA_FILE", "WATCHWORD_TEST_DATABASE_URL"}
)


class ConfigError(Exception):
    """A setting is wrong; the text names it and says what is expected. Never holds a secret's value."""


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """Text that no repr, log or traceback shows. `reveal()` is the one way out."""

    _text: str

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret([redacted])"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Tls:
    """The server's certificate, and the authority of callers' certificates if they must show one."""

    certificate_file: Path
    key_file: Path
    client_ca_file: Path | None


# Memory in KiB and passes that are equally strong: OWASP Password Storage Cheat Sheet, which ASVS 5.0 follows.
_ARGON2_FLOOR = ((47104, 1), (19456, 2), (12288, 3), (9216, 4), (7168, 5))


def is_strong_argon2(memory_kib: int, time: int) -> bool:
    """Whether argon2 with this much memory and so many passes reaches OWASP's floor."""
    return any(memory_kib >= memory and time >= passes for memory, passes in _ARGON2_FLOOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Argon2Parameters:
    """What one hash costs (RFC 9106): memory in KiB, passes over it, lanes.

    Raises ValueError if weaker than OWASP's floor. `allow_weak` is for tests, which hash a lot.
    """

    memory_kib: int = 19456
    time: int = 2
    parallelism: int = 1
    allow_weak: bool = False

    def __post_init__(self) -> None:
        if self.time < 1 or self.parallelism < 1 or self.memory_kib < 8 * self.parallelism:
            raise ValueError("argon2 needs at least 1 pass, 1 lane and 8 KiB of memory for each lane")
        if not is_strong_argon2(self.memory_kib, self.time) and not self.allow_weak:
            equals = ", ".join(f"{memory} KiB with {time}" for memory, time in _ARGON2_FLOOR)
            raise ValueError(f"argon2 with {self.memory_kib} KiB and {self.time} passes is too weak: use {equals}")


@dataclass(frozen=True, slots=True)
class Config:
    """All settings; `SETTINGS` documents each."""

    listen: str = "127.0.0.1:7420"
    database_url: Secret | None = None
    data_dir: Path = Path(".watchword")
    master_key: Secret | None = None
    master_key_file: Path | None = None
    tls: Tls | None = None
    insecure: bool = False
    reflection: bool = True
    issuer: str = "https://watchword.internal"
    default_audience: str = "internal"
    access_token_lifetime: timedelta = timedelta(minutes=5)
    session_idle_lifetime: timedelta = timedelta(days=7)
    session_lifetime: timedelta = timedelta(days=30)
    signing_key_lifetime: timedelta = timedelta(days=30)
    argon2: Argon2Parameters = Argon2Parameters()  # frozen
    sign_in_failures_per_account: int = 5
    sign_in_failures_per_address: int = 50
    sign_in_failures_in_all: int = 300
    known_device_lifetime: timedelta = timedelta(days=180)
    hash_threads: int = 2
    hash_queue: int = 32
    hash_niceness: int = 19
    workers: int = 1
    pool_size: int = 16
    cache_mib: int = 256
    metrics_listen: str | None = None
    traces: bool = False
    log_format: str = "auto"
    shutdown_grace: timedelta = timedelta(seconds=10)


def _flag(text: str) -> bool:
    if text.lower() in {"true", "1", "yes"}:
        return True
    if text.lower() in {"false", "0", "no"}:
        return False
    raise ValueError('"true" or "false"')


def _number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return parse


def _seconds(low: int, high: int) -> Callable[[str], timedelta]:
    number = _number(low, high)
    return lambda text: timedelta(seconds=number(text))


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError("one of " + ", ".join(choices))
        return text

    return parse


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004
        raise ValueError('"host:port", such as "127.0.0.1:7420" or "[::]:7420"')
    return text


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable: the field it fills, how it is read, what it means."""

    field: str
    parse: Callable[[str], Any]
    meaning: str


SETTINGS: Mapping[str, Setting] = {
    "WATCHWORD_LISTEN": Setting(
        "listen", _address, "Address to serve on. Default 127.0.0.1:7420; port 0 takes a free one."
    ),
    "WATCHWORD_DATABASE_URL": Setting(
        "database_url",
        Secret,
        "PostgreSQL 14 to 18 (postgresql://…; use sslmode=verify-full outside this machine). Default: an "
        "embedded PostgreSQL 18 in the data folder.",
    ),
    "WATCHWORD_DATA_DIR": Setting(
        "data_dir", Path, "Folder of the embedded database and of keys made at the first start. Default .watchword"
    ),
    "WATCHWORD_MASTER_KEY": Setting(
        "master_key", Secret, "The keys that seal secrets at rest: <id>:<base64 of 32 bytes>, newest first."
    ),
    "WATCHWORD_MASTER_KEY_FILE": Setting(
        "master_key_file",
        Path,
        "A file that holds them, one a line. Default with the embedded database: master.key in the data folder, "
        "made at the first start. With another database one of the two is required.",
    ),
    "WATCHWORD_TLS_CERT_FILE": Setting("tls", Path, "PEM certificate chain to serve with."),
    "WATCHWORD_TLS_KEY_FILE": Setting("tls", Path, "PEM private key of that certificate."),
    "WATCHWORD_TLS_CLIENT_CA_FILE": Setting(
        "tls", Path, "If set, callers must show a certificate that this PEM authority signed (mTLS)."
    ),
    "WATCHWORD_INSECURE": Setting(
        "insecure",
        _flag,
        "Serve without TLS on an address that other machines reach: API keys and tokens then cross the network in "
        "clear. Only where the network itself encrypts. Default false.",
    ),
    "WATCHWORD_REFLECTION": Setting(
        "reflection", _flag, "Offer gRPC server reflection, for grpcurl. Default true; set false in production."
    ),
    "WATCHWORD_ISSUER": Setting("issuer", str, "The iss of access tokens. Default https://watchword.internal"),
    "WATCHWORD_DEFAULT_AUDIENCE": Setting(
        "default_audience", str, "The aud of access tokens if a sign-in names none. Default internal"
    ),
    "WATCHWORD_ACCESS_TOKEN_SECONDS": Setting(
        "access_token_lifetime", _seconds(10, 3600), "Lifetime of access tokens. Default 300."
    ),
    "WATCHWORD_SESSION_IDLE_SECONDS": Setting(
        "session_idle_lifetime",
        _seconds(60, 366 * 86400),
        "A session ends if not refreshed for so long. Default 7 days.",
    ),
    "WATCHWORD_SESSION_SECONDS": Setting(
        "session_lifetime", _seconds(60, 366 * 86400), "A session ends after so long in any case. Default 30 days."
    ),
    "WATCHWORD_SIGNING_KEY_SECONDS": Setting(
        "signing_key_lifetime", _seconds(3600, 366 * 86400), "Signing keys are rotated after so long. Default 30 days."
    ),
    "WATCHWORD_ARGON2_MEMORY_KIB": Setting(
        "argon2", _number(8, 4 * 1024 * 1024), "Memory of one password hash. Default 19456 (19 MiB)."
    ),
    "WATCHWORD_ARGON2_TIME": Setting("argon2", _number(1, 64), "Passes of one password hash. Default 2."),
    "WATCHWORD_ARGON2_PARALLELISM": Setting("argon2", _number(1, 16), "Lanes of one password hash. Default 1."),
    "WATCHWORD_SIGN_IN_FAILURES_PER_ACCOUNT": Setting(
        "sign_in_failures_per_account",
        _number(0, 1000),
        "Failed sign-ins by one name until each further one is followed by a delay: 1 s, doubled each time, up to 12 "
        "hours. One is forgotten every 12 hours, all by a success. Unknown names are treated alike; a known device "
        "has a count of its own. 0 turns it off. Default 5.",
    ),
    "WATCHWORD_SIGN_IN_FAILURES_PER_ADDRESS": Setting(
        "sign_in_failures_per_address",
        _number(0, 1_000_000),
        "Failed sign-ins an hour from one address (IPv6: one /64), as `device.ip_address` has it, until delays of 1 s "
        "to 15 minutes follow. Known devices are exempt. 0 turns it off. Default 50.",
    ),
    "WATCHWORD_SIGN_IN_FAILURES_IN_ALL": Setting(
        "sign_in_failures_in_all",
        _number(0, 1_000_000),
        "Failed sign-ins a minute in all until a delay of 1 s follows each. Known devices are exempt. 0 turns it off. "
        "Default 300.",
    ),
    "WATCHWORD_KNOWN_DEVICE_SECONDS": Setting(
        "known_device_lifetime",
        _seconds(0, 10 * 366 * 86400),
        "For how long a device is known after a sign-in, by the `device_token` that it got. 0 turns it off. Default "
        "180 days.",
    ),
    "WATCHWORD_HASH_THREADS": Setting(
        "hash_threads", _number(1, 256), "Password hashes computed at a time, by processes of their own. Default 2."
    ),
    "WATCHWORD_HASH_QUEUE": Setting(
        "hash_queue", _number(0, 100_000), "Password hashes that may wait; more are refused at once. Default 32."
    ),
    "WATCHWORD_HASH_NICENESS": Setting(
        "hash_niceness",
        _number(0, 19),
        "How far password hashes step back behind all else that computes. Lower it where others keep all cores busy: "
        "sign-ins get quicker, and in a storm of them everything else slower. Default 19.",
    ),
    "WATCHWORD_WORKERS": Setting(
        "workers",
        _number(1, 256),
        "Processes that share the port, each with connections and a cache of its own. SIGHUP replaces them one after "
        "the other. Default 1.",
    ),
    "WATCHWORD_POOL_SIZE": Setting(
        "pool_size",
        _number(4, 1000),
        "Connections to PostgreSQL at most, besides one that listens; half of them are for questions about "
        "permissions. Default 16.",
    ),
    "WATCHWORD_CACHE_MIB": Setting(
        "cache_mib",
        _number(0, 1_000_000),
        "Memory for relationships in the cache that answers questions without asking the database. 0 turns it off. "
        "Default 256.",
    ),
    "WATCHWORD_METRICS_LISTEN": Setting(
        "metrics_listen",
        _address,
        "Address that serves metrics for Prometheus, in clear and to anybody who reaches it: of RPCs, pools, caches "
        "and the feed, nothing personal. Default: none.",
    ),
    "WATCHWORD_TRACES": Setting(
        "traces",
        _flag,
        "Send traces of calls by OTLP (gRPC), as OpenTelemetry's own OTEL_… variables say; needs `watchword[otel]`. "
        "Default false.",
    ),
    "WATCHWORD_LOG_FORMAT": Setting(
        "log_format", _choice("auto", "json", "console"), "auto: console on a terminal, else JSON lines. Default auto."
    ),
    "WATCHWORD_SHUTDOWN_GRACE_SECONDS": Setting(
        "shutdown_grace", _seconds(0, 3600), "Time that running calls get when the server stops. Default 10."
    ),
}

_TLS_FIELDS = {
    "WATCHWORD_TLS_CERT_FILE": "certificate_file",
    "WATCHWORD_TLS_KEY_FILE": "key_file",
    "WATCHWORD_TLS_CLIENT_CA_FILE": "client_ca_file",
}

_ARGON2_FIELDS = {
    "WATCHWORD_ARGON2_MEMORY_KIB": "memory_kib",
    "WATCHWORD_ARGON2_TIME": "time",
    "WATCHWORD_ARGON2_PARALLELISM": "parallelism",
}


def load(environment: Mapping[str, str]) -> Config:
    """Read the settings from an environment, and from the file that it may name.

    Raises:
        ConfigError: a name is unknown or its value is not what it should be, two contradict each other, or the file
            cannot be read.

    """
    file = environment.get(CONFIG_FILE)
    return _parse({**(_read(Path(file)) if file else {}), **environment})


def _read(file: Path) -> dict[str, str]:
    """Read a TOML file as an environment."""
    try:
        table = tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError(f"{CONFIG_FILE}: {file} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        # A syntax error's text names line and column and quotes nothing longer than a character.
        raise ConfigError(f"{file} is not TOML: {error}.") from None
    texts: dict[str, str] = {}
    for key, value in table.items():
        if not isinstance(value, str | int):
            raise ConfigError(f"{file}: {key} must be a string, a whole number, true or false.")
        texts[PREFIX + key.upper()] = str(value)
        if key != key.lower() or PREFIX + key.upper() not in SETTINGS:
            raise ConfigError(f"{file}: {key} is no setting of Watchword. `watchword settings` lists them.")
    return texts


def _parse(environment: Mapping[str, str]) -> Config:
    values: dict[str, Any] = {}
    tls: dict[str, Path] = {}
    argon2: dict[str, Any] = {}
    for name, text in environment.items():
        if not name.startswith(PREFIX) or name in CLIENT_VARIABLES or name == CONFIG_FILE:
            continue
        setting = SETTINGS.get(name)
        if setting is None:
            raise ConfigError(f"{name} is no setting of Watchword. `watchword settings` lists them.")
        if not text:
            continue
        try:
            value = setting.parse(text)
        except ValueError as error:
            raise ConfigError(f"{name} must be {error}.") from None
        if name in _TLS_FIELDS:
            tls[_TLS_FIELDS[name]] = value
        elif name in _ARGON2_FIELDS:
            argon2[_ARGON2_FIELDS[name]] = value
        else:
            values[setting.field] = value
    if tls:
        values["tls"] = _tls(tls)
    if argon2:
        values["argon2"] = _argon2(argon2)
    config = Config(**values)
    _refuse_contradictions(config)
    return config


def _tls(files: dict[str, Path]) -> Tls:
    if "certificate_file" not in files or "key_file" not in files:
        raise ConfigError("WATCHWORD_TLS_CERT_FILE and WATCHWORD_TLS_KEY_FILE belong together: set both.")
    return Tls(files["certificate_file"], files["key_file"], files.get("client_ca_file"))


def _argon2(costs: dict[str, Any]) -> Argon2Parameters:
    try:
        return Argon2Parameters(**costs)
    except ValueError as error:
        raise ConfigError(f"WATCHWORD_ARGON2_MEMORY_KIB, _TIME and _PARALLELISM: {error}.") from None


def _refuse_contradictions(config: Config) -> None:
    if config.master_key is not None and config.master_key_file is not None:
        raise ConfigError("Set WATCHWORD_MASTER_KEY or WATCHWORD_MASTER_KEY_FILE, not both.")
    if config.session_idle_lifetime > config.session_lifetime:
        raise ConfigError("WATCHWORD_SESSION_IDLE_SECONDS must not exceed WATCHWORD_SESSION_SECONDS.")
    host = config.listen.rpartition(":")[0].strip("[]")
    loopback = host in {"localhost", "::1"} or host.startswith("127.")
    # Threat: API keys and tokens read off the wire. Plain text is for this machine only, unless the operator
    # says in so many words that the network is safe.
    if config.tls is None and not loopback and not config.insecure:
        raise ConfigError(
            f"Serving on {config.listen} without TLS would send API keys in clear. Set WATCHWORD_TLS_CERT_FILE and "
            "WATCHWORD_TLS_KEY_FILE, or WATCHWORD_INSECURE=true if the network itself encrypts."
        )
