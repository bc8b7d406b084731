"""The composition root: builds, runs and closes everything. The only module that names concrete classes together.

Order of the stop, with reasons: the listener closes and the queue refuses new appends, while requests under way get
their answer; no new attempt starts, and those in flight end or are given up within the grace; a last checkpoint, so
that nothing that was delivered comes again; then connections, store and files. Nothing relies on it: a crash at any
point loses nothing that was acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import structlog

from gateway import __version__
from gateway.announcement import Announcement
from gateway.clock import SystemClock, this_boot
from gateway.config import Config
from gateway.delivery.supervisor import MakeTransport, Supervisor
from gateway.delivery.trail import Trail
from gateway.destinations.catalog import Catalog
from gateway.destinations.ids import new_api_key
from gateway.destinations.keys import KeyService, bootstrap_key
from gateway.destinations.rotation import Resealed, reseal, rotate_kept_key
from gateway.destinations.secrets import SecretBox, load_or_create_secret
from gateway.destinations.service import DestinationService
from gateway.destinations.snapshot_file import SnapshotFile
from gateway.destinations.sqlite import SqliteStore
from gateway.destinations.store import DestinationStore
from gateway.errors import ConfigError
from gateway.providers import PROVIDERS
from gateway.providers.egress import check_url
from gateway.providers.lookup import SystemLookup
from gateway.providers.tls import check_tls, tls_context
from gateway.providers.transport import HttpTransport
from gateway.queue.wal.files import DiskFiles
from gateway.queue.wal.log import WalQueue
from gateway.queue.wal.opening import open_queue
from gateway.server.app import build_app
from gateway.server.listener import Listener
from gateway.server.tls import ListenerTls
from gateway.telemetry import Event, Metrics, configure_logging

COMPRESSION_THREADS = 2


async def run(config: Config, *, announce: Callable[[Announcement], None]) -> int:
    """Serve until SIGTERM or SIGINT; a second signal ends the process at once. Returns the exit code.

    Raises ConfigError, DataDirectoryInUse, StoreError or OSError when it cannot start.
    """
    configure_logging(config.log)
    stop = asyncio.Event()
    _on_signals(stop)
    async with AsyncExitStack() as resources:
        parts = await _build(config, resources)
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(part.run()) for part in (parts.queue, parts.catalog, parts.supervisor)]
            tls = await _listener_tls(config)
            if tls is not None:
                running.append(group.create_task(tls.run()))
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, tls.reload_soon)
            address = await parts.listener.start(config.server.address, tls.context if tls is not None else None)
            announce(Announcement(address, config.data_dir, parts.new_key, parts.key_file))
            structlog.get_logger().info(Event.GATEWAY_STARTED, address=address, version=__version__)
            await stop.wait()
            structlog.get_logger().info(Event.GATEWAY_STOPPING, grace_s=float(config.shutdown.grace_s))
            await _stop(parts, config)
            for task in running:
                task.cancel()
    _ignore_signals()
    structlog.get_logger().info(Event.GATEWAY_STOPPED)
    return 0


async def rotate_secrets(config: Config) -> Resealed:
    """Seal every stored credential with the first key of ``secret_key``, or with a new one in the data directory.

    No gateway may use the data directory meanwhile, unless its keys and its store are both elsewhere: then those that
    run have been given all the keys before. Raises ConfigError, DataDirectoryInUse or StoreError.
    """
    data_dir = Path(config.data_dir)
    async with AsyncExitStack() as resources:
        if not (config.secret_key and config.database_url):
            await asyncio.to_thread(_lock, data_dir, resources)
        store, snapshots = _store(config, data_dir)
        resources.push_async_callback(store.close)
        if config.secret_key:
            return await reseal(store, SecretBox(config.secret_key))
        return await rotate_kept_key(data_dir / "secret-key", store, snapshots=snapshots)


def _lock(data_dir: Path, resources: AsyncExitStack) -> None:
    """Keep gateways out of their directory. Blocks."""
    if not (data_dir / "META").exists():
        raise ConfigError(f"{data_dir} is not the data directory of a gateway; name it with --data-dir")
    files = DiskFiles(data_dir)
    files.lock("LOCK")
    resources.callback(files.unlock)


class _Parts(NamedTuple):
    queue: WalQueue
    catalog: Catalog
    supervisor: Supervisor
    listener: Listener
    stopping: asyncio.Event
    new_key: str | None
    key_file: str | None


async def _build(config: Config, resources: AsyncExitStack) -> _Parts:
    """Everything that runs, wired together. What is closed last is entered first."""
    clock, metrics, data_dir = SystemClock(await asyncio.to_thread(this_boot)), Metrics(), Path(config.data_dir)
    stopping = asyncio.Event()
    files = await asyncio.to_thread(DiskFiles, data_dir)
    queue = await open_queue(files, config.queue, clock=clock, metrics=metrics)
    resources.push_async_callback(queue.close)
    secret_key = config.secret_key or await asyncio.to_thread(load_or_create_secret, data_dir / "secret-key")
    box = SecretBox(secret_key)
    key, new_key, key_file = await _operator_key(config, data_dir)
    store, snapshots = _store(config, data_dir, queue_id=queue.id)
    resources.push_async_callback(store.close)
    catalog = Catalog(store, snapshots=snapshots, fixed_keys=[bootstrap_key(key, clock.time_s())])
    await catalog.start()
    service = DestinationService(
        catalog,
        secret_box=box,
        providers=PROVIDERS,
        check_endpoint=partial(check_url, policy=config.egress),
        check_settings=partial(check_tls, policy=config.egress, clock=clock),
        clock=clock,
    )
    instance = config.instance or socket.gethostname()
    trail = Trail(store, queue, config.activity, instance=instance, clock=clock)
    supervisor = Supervisor(
        catalog=catalog,
        queue=queue,
        providers=PROVIDERS,
        settings_of=service.settings_of,
        make_transport=await _transports(config, resources),
        remove_destination=service.remove,
        finish_deletion=catalog.finish_deletion,
        history=store,
        trail=trail,
        instance=instance,
        retry=config.retry,
        delivery=config.delivery,
        clock=clock,
        metrics=metrics,
    )
    resources.push_async_callback(supervisor.close)
    app = build_app(
        catalog=catalog,
        service=service,
        keys=KeyService(catalog, clock=clock),
        queue=queue,
        streams=supervisor,
        history=store,
        claims=store,
        trail=trail,
        metrics=metrics,
        ingest=config.ingest,
        server=config.server,
        data_dir=data_dir,
        clock=clock,
        stopping=stopping.is_set,
    )
    return _Parts(queue, catalog, supervisor, Listener(app, config.server), stopping, new_key, key_file)


def _store(config: Config, data_dir: Path, *, queue_id: str = "") -> tuple[DestinationStore, SnapshotFile | None]:
    """A database on another machine may be away: the last known state is then kept in the data directory."""
    if config.database_url:
        from gateway.destinations.postgres import PostgresStore  # noqa: PLC0415 - most have none: 50 ms of their start

        return PostgresStore(config.database_url, queue_id=queue_id), SnapshotFile(data_dir / "catalog.snapshot")
    return SqliteStore(data_dir / "destinations.db"), None


async def _operator_key(config: Config, data_dir: Path) -> tuple[str, str | None, str | None]:
    """The key, the same again when it was made just now, and the file that keeps it."""
    if config.bootstrap_key:
        return config.bootstrap_key, None, None
    path = data_dir / "bootstrap-key"
    is_new = not path.exists()
    key = await asyncio.to_thread(load_or_create_secret, path, new_api_key)
    return key, key if is_new else None, str(path)


async def _transports(config: Config, resources: AsyncExitStack) -> MakeTransport:
    """Each destination gets connections of its own; the threads that compress and that resolve names are shared."""
    compressing = ThreadPoolExecutor(COMPRESSION_THREADS, "compress")
    resources.callback(compressing.shutdown, wait=False)
    tls = await asyncio.to_thread(tls_context, config.delivery.ca_file)
    return partial(
        HttpTransport,
        config.egress,
        executor=compressing,
        tls=tls,
        ca_file=config.delivery.ca_file,
        lookup=SystemLookup(),
        connect_timeout_s=config.delivery.connect_timeout_s,
    )


async def _listener_tls(config: Config) -> ListenerTls | None:
    if not config.server.tls_certificate:
        return None
    return await asyncio.to_thread(ListenerTls, config.server)


async def _stop(parts: _Parts, config: Config) -> None:
    """The order is that of the module's docstring. Both waits share one grace."""
    deadline_s = asyncio.get_running_loop().time() + config.shutdown.grace_s
    parts.stopping.set()
    parts.queue.refuse_appends()
    async with asyncio.TaskGroup() as group:
        group.create_task(parts.supervisor.stop(config.shutdown.grace_s))
        group.create_task(_close_listener(parts.listener, deadline_s))


async def _close_listener(listener: Listener, deadline_s: float) -> None:
    try:
        async with asyncio.timeout_at(deadline_s):
            await listener.stop()
    except TimeoutError:
        structlog.get_logger().warning(Event.GATEWAY_STOPPING, detail="requests under way were cut off")


def _on_signals(stop: asyncio.Event) -> None:
    """The first signal asks for an orderly stop; the second does not wait for it."""

    def received() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received)


def _ignore_signals() -> None:
    """Everything is done: one that comes now must not make an orderly stop look like a crash."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
