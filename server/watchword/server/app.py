"""The composition root: the one place that constructs things, and the life of a server process.

Everything gets what it needs by constructor. The process serves while its database answers: health tells a load
balancer as soon as it does not, and again when it does.
"""

import asyncio
import contextlib
import gc
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor

from watchword.server import log
from watchword.server.access import Authenticator, Authorizer, Permissions, permissions_of
from watchword.server.api.credentials import CredentialService
from watchword.server.api.organizations import OrganizationService
from watchword.server.api.pages import Pages
from watchword.server.api.permissions import PermissionService
from watchword.server.api.relationships import RelationshipService
from watchword.server.api.service_accounts import ServiceAccountService
from watchword.server.api.sessions import SessionService
from watchword.server.api.sign_in import SignInService
from watchword.server.api.tokens import TokenService
from watchword.server.api.users import UserService
from watchword.server.api.watch import WatchService
from watchword.server.call import server_call
from watchword.server.config import Config
from watchword.server.decoys import Decoys
from watchword.server.devices import DeviceTokens
from watchword.server.errors import DatabaseUnavailable, DomainError
from watchword.server.fan_out import FanOut
from watchword.server.feed import Feed
from watchword.server.foreign import Reflection
from watchword.server.health import Health
from watchword.server.identifiers import Clock, Randomness
from watchword.server.incidents import describe
from watchword.server.introspection import Introspector
from watchword.server.listening import bind
from watchword.server.listings import LIST_IS_KEPT, Listings
from watchword.server.node_cache import NodeCache
from watchword.server.observing import Observing, Parts, observing
from watchword.server.passwords import PasswordHasher
from watchword.server.permissions.standing import Standing
from watchword.server.pipeline import Pipeline
from watchword.server.plans import Plans
from watchword.server.questions import Questions
from watchword.server.roles import Roles
from watchword.server.sealing import Keyring
from watchword.server.sessions import SessionKeeper
from watchword.server.sign_in_limits import SignInLimits
from watchword.server.signing import Signing
from watchword.server.storage.database import Database
from watchword.server.throttle import Throttle
from watchword.server.tokens import AccessTokens, RefreshTokens
from watchword.server.validation import Validators
from watchword.v1 import (
    credentials_pb2,
    organizations_pb2,
    permissions_pb2,
    relationships_pb2,
    service_accounts_pb2,
    sessions_pb2,
    sign_in_pb2,
    tokens_pb2,
    users_pb2,
    watch_pb2,
)

ANSWERS_ARE_KEPT = timedelta(hours=24)
_PING_SECONDS = 1.0
_MAINTENANCE_SECONDS = 60.0
_OPTIONS = [
    # Messages are decoded before it is known who sends them. The pipeline decodes 256 KiB at most, but for the RPCs
    # that say otherwise in their option; the largest of these takes so much.
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    # Beyond these, of which the first is 1,000 if nothing is said, grpc answers a bare CANCELLED: the pipeline, which
    # has a limit of its own, gives a reason.
    ("grpc.server.max_pending_requests", 10_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
    ("grpc.max_metadata_size", 16 * 1024),
    # Callers keep idle connections alive through firewalls; grpc's default would hang up on them.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
]
_log = structlog.get_logger("watchword.app")


def utc_now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


def services() -> list[ServiceDescriptor]:
    """List the services that are served."""
    return [
        users_pb2.DESCRIPTOR.services_by_name["UserService"],
        service_accounts_pb2.DESCRIPTOR.services_by_name["ServiceAccountService"],
        sign_in_pb2.DESCRIPTOR.services_by_name["SignInService"],
        credentials_pb2.DESCRIPTOR.services_by_name["CredentialService"],
        sessions_pb2.DESCRIPTOR.services_by_name["SessionService"],
        tokens_pb2.DESCRIPTOR.services_by_name["TokenService"],
        organizations_pb2.DESCRIPTOR.services_by_name["OrganizationService"],
        permissions_pb2.DESCRIPTOR.services_by_name["PermissionService"],
        relationships_pb2.DESCRIPTOR.services_by_name["RelationshipService"],
        watch_pb2.DESCRIPTOR.services_by_name["WatchService"],
    ]


@dataclass(frozen=True, slots=True)
class App:
    """The parts of a running server that its tests and the CLI reach."""

    address: str
    database: Database
    feed: Feed


@asynccontextmanager
async def running(
    config: Config,
    *,
    database_url: str,
    keyring: Keyring,
    clock: Clock = utc_now,
    randomness: Randomness = secrets.token_bytes,
    is_shared: bool = False,
) -> AsyncIterator[App]:
    """Run a server until the block ends; with `is_shared` beside others on the same port.

    Raises:
        DatabaseUnavailable: nothing answers at the URL.
        OSError: the address cannot be served on.
        UnknownMasterKey, SealBroken: the master key is not the one that the database was sealed with.

    """
    async with AsyncExitStack() as stack:
        database = Database(
            database_url, pool_size=config.pool_size, keyring=keyring, clock=clock, randomness=randomness
        )
        stack.push_async_callback(database.close)
        await database.open()
        signing = Signing(
            keyring,
            randomness,
            key_lifetime=config.signing_key_lifetime,
            token_lifetime=config.access_token_lifetime,
        )
        await _rotate_if_due(database, signing)
        async with database.read() as reader:
            # With a wrong master key a server must not start, rather than fail at the first sign-in.
            await signing.current(reader)
        feed = Feed(database, worker=randomness(8).hex())
        database.on_commit = feed.changed
        await feed.look()
        # Two servers on one port would share its calls without a word: only workers do, who mean it.
        server = grpc.aio.server(options=[*_OPTIONS, ("grpc.so_reuseport", int(is_shared))])
        fan_out = FanOut(feed)
        observed = stack.enter_context(observing(config, is_shared=is_shared))
        parts = _Parts(config, database, keyring, clock, randomness, signing, feed, fan_out, observed)
        server.add_generic_rpc_handlers(tuple(_own_services(stack, parts)))
        names = [service.full_name for service in services()]
        health, reflection = Health(names), Reflection([*names, Health.NAME])
        server.add_generic_rpc_handlers((health.service(),))
        if config.reflection:
            server.add_generic_rpc_handlers(tuple(reflection.services()))
        server.add_generic_rpc_handlers(observed.last_handlers)
        address = bind(server, config, is_shared=is_shared)
        await server.start()
        watch = asyncio.create_task(_watch_database(database, health))
        maintain = asyncio.create_task(_maintain(database, signing))
        follow = asyncio.create_task(feed.run())
        stack.push_async_callback(_cancel, watch, maintain, follow)
        stack.push_async_callback(server.stop, config.shutdown_grace.total_seconds())
        # First of all when it ends: send callers elsewhere. Nothing here waits, or the grace would be no limit.
        stack.callback(fan_out.end)
        stack.callback(health.end)
        yield App(address, database, feed)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What services are made of."""

    config: Config
    database: Database
    keyring: Keyring
    clock: Clock
    randomness: Randomness
    signing: Signing
    feed: Feed
    fan_out: FanOut
    observing: Observing


def _own_services(stack: AsyncExitStack, parts: _Parts) -> list[grpc.GenericRpcHandler]:
    config, database, signing, randomness, clock = (
        parts.config,
        parts.database,
        parts.signing,
        parts.randomness,
        parts.clock,
    )
    permissions = permissions_of(services())
    rules = Permissions(permissions)
    access_tokens = AccessTokens(config.issuer, config.access_token_lifetime, randomness)
    introspector = Introspector(database, access_tokens, signing, rules)
    authenticator = Authenticator(
        database, introspector, rules, parts.feed, default_audience=config.default_audience, clock=clock
    )
    stack.push_async_callback(authenticator.close)
    passwords = PasswordHasher(
        config.argon2,
        randomness=randomness,
        processes=config.hash_threads,
        queue_limit=config.hash_queue,
        niceness=config.hash_niceness,
    )
    stack.push_async_callback(passwords.close)
    keeper = SessionKeeper(
        signing,
        access_tokens,
        RefreshTokens(parts.keyring, randomness),
        idle_lifetime=config.session_idle_lifetime,
        lifetime=config.session_lifetime,
    )
    decoys = Decoys(database, parts.keyring)
    throttle = Throttle(database, parts.keyring, SignInLimits.of(config))
    pages = Pages(parts.keyring)
    standing = Standing()
    plans = Plans(database, permissions)
    cache = NodeCache(parts.feed.recent, standing, max_bytes=config.cache_mib * 1024 * 1024, nudge=parts.feed.nudge)
    parts.feed.follow(cache)
    questions = Questions(database, plans, parts.feed, cache, standing, clock=clock)
    listings = Listings(database, questions, clock=clock)
    watch = WatchService(
        database, authenticator, parts.fan_out, token_lifetime=config.access_token_lifetime, clock=clock
    )
    servicers: list[object] = [
        UserService(database, passwords, standing, pages),
        ServiceAccountService(database, standing, pages, permissions=permissions, randomness=randomness),
        SignInService(
            database,
            passwords,
            keeper,
            throttle,
            DeviceTokens(parts.keyring, randomness, clock, config.known_device_lifetime),
            decoys=decoys,
            default_audience=config.default_audience,
        ),
        CredentialService(database, passwords, throttle, decoys),
        SessionService(database, keeper, pages),
        TokenService(
            database,
            introspector,
            signing,
            issuer=config.issuer,
            default_audience=config.default_audience,
            token_lifetime=config.access_token_lifetime,
        ),
        OrganizationService(
            database, Roles(plans, questions, standing), listings, standing, pages, randomness=randomness
        ),
        PermissionService(database, plans, questions, listings, pages),
        RelationshipService(database, plans, standing, pages, clock=clock),
        watch,
    ]
    looked_at = Parts(database, parts.feed, parts.fan_out, watch, passwords, cache, questions)
    stack.push_async_callback(_cancel, asyncio.create_task(parts.observing.look(looked_at)))
    pipeline = Pipeline(
        database,
        authenticator,
        Authorizer(questions),
        Validators(),
        randomness=randomness,
        around=parts.observing.around,
    )
    return [pipeline.service(descriptor, servicer) for descriptor, servicer in zip(services(), servicers, strict=True)]


async def _rotate_if_due(database: Database, signing: Signing) -> None:
    async with database.write(server_call("server/rotate")) as tx:
        await signing.rotate_if_due(tx)


async def _watch_database(database: Database, health: Health) -> None:
    """Keep the health of every service at what the database allows."""
    serving: bool | None = None
    while True:
        try:
            await database.ping()
            now_serving = True
        except DomainError:
            now_serving = False
        if now_serving is not serving:
            serving = now_serving
            _log.info("database answers" if serving else "database does not answer")
            health.tell(serving=serving)
        await asyncio.sleep(_PING_SECONDS)


async def _maintain(database: Database, signing: Signing) -> None:
    """Do what has to be done now and then: rotate the signing key, forget old answers, addresses and failures."""
    while True:
        await asyncio.sleep(_MAINTENANCE_SECONDS)
        try:
            await _rotate_if_due(database, signing)
            await database.drop_old_answers(ANSWERS_ARE_KEPT)
            async with database.read() as reader:
                await reader.list_pages.drop(reader.now - LIST_IS_KEPT)
                await reader.invitations.end_expired()
                await reader.sign_in_counters.drop()
        except DatabaseUnavailable:
            continue
        except Exception as error:  # noqa: BLE001  # it must go on, whatever went wrong this time
            _log.error("maintenance failed", **describe(error))


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _spare_collector() -> None:
    """Let Python look for garbage in circles rarely: it makes hardly any here.

    It would go through all that the cache holds again and again, while answers are made of thousands of small objects:
    that took a third of the time of a batch of checks.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


async def serve(
    config: Config,
    *,
    database_url: str,
    keyring: Keyring,
    on_ready: Callable[[str], None],
    is_shared: bool = False,
    orphaned: asyncio.Task[None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, or until `orphaned` is done; `on_ready` gets the address.

    Raises:
        DatabaseUnavailable: nothing answers at the URL.
        OSError: the address cannot be served on.

    """
    log.configure(config)
    _spare_collector()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if orphaned is not None:
        orphaned.add_done_callback(lambda _: stop.set())
    async with running(config, database_url=database_url, keyring=keyring, is_shared=is_shared) as app:
        on_ready(app.address)
        await stop.wait()
        _log.info("stopping")
