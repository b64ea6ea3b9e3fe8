"""The executor on Dask: a LocalCluster of processes, or a scheduler that is already there.

One thread per worker, because the libraries below are told to use one and shards are the unit of parallelism. The task and its
models live in a WorkerPlugin, set up once per worker, also when a worker is restarted. Shard numbers go out and small records
come back; images never travel. A window of two shards per worker keeps every worker busy without queueing the whole plan, and
progress comes as worker events between completions.
"""

# mypy: disallow-untyped-calls=False
# (distributed types its classes but not their constructors)

import logging
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import islice

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, Worker, WorkerPlugin, as_completed, get_worker

from normpipe.engine.signals import held_back
from normpipe.engine.tasks import Advance, Observe, Shard
from normpipe.engine.threads import SINGLE_THREADED
from normpipe.engine.work import Outcome, ShardFailure, Work, describe
from normpipe.errors import NormpipeError, UsageError

_WINDOW_PER_WORKER = 2
_DASHBOARD_PORT = 8787
_CONNECT_SECONDS = 30

_SETTINGS = {
    "distributed.nanny.pre-spawn-environ": SINGLE_THREADED,
    # Loading models in the plugin blocks the worker's event loop; the default of five minutes may be short for big networks.
    "distributed.scheduler.worker-ttl": "30 minutes",
}


@dataclass(frozen=True, slots=True)
class DaskExecutor:
    """Runs on Dask workers.

    Attributes:
        workers: Processes of the LocalCluster that is started when `scheduler` is None.
        scheduler: Address of a running scheduler ("tcp://host:8786").
        announce: Told one line: where the dashboard is.
    """

    workers: int
    scheduler: str | None = None
    announce: Callable[[str], None] | None = None

    def run(
        self, work: Work, shards: Sequence[Shard], advance: Advance, observe: Observe = lambda _: None
    ) -> Iterator[Outcome]:
        """See Executor."""
        name = f"normpipe-{secrets.token_hex(4)}"  # a scheduler that outlives this run keeps plugins and topics by name
        with dask.config.set(_SETTINGS), self._client() as client:
            client.subscribe_topic(name, lambda event: advance(*event[1]))
            client.register_plugin(_WorkPlugin(work, name), name=name)
            try:
                workers = len(client.scheduler_info(n_workers=-1)["workers"])
                yield from _windowed(client, name, shards, _WINDOW_PER_WORKER * workers)
            finally:
                if self.scheduler is not None:
                    client.unregister_worker_plugin(name)

    @contextmanager
    def _client(self) -> Iterator[Client]:
        with ExitStack() as stack:
            if self.scheduler is None:
                client = stack.enter_context(Client(stack.enter_context(self._local_cluster())))
            else:
                try:
                    client = stack.enter_context(Client(self.scheduler, timeout=_CONNECT_SECONDS))
                    client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
                except (OSError, ValueError) as error:
                    raise UsageError(
                        f"--scheduler {self.scheduler}: no Dask scheduler with workers answers there within "
                        f"{_CONNECT_SECONDS} s; check the address and that workers have joined"
                    ) from error
            _quieten()
            yield client

    def _local_cluster(self) -> LocalCluster:
        port = _DASHBOARD_PORT if _is_free(_DASHBOARD_PORT) else 0  # 0: any that is free
        try:
            with held_back():
                cluster = LocalCluster(
                    n_workers=self.workers,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address=f"127.0.0.1:{port}",
                    silence_logs=logging.ERROR,
                )
        except RuntimeError as error:
            raise NormpipeError("the worker processes could not be started; try fewer --workers") from error
        if self.announce is not None:
            self.announce(f"dashboard: {cluster.dashboard_link}")
        return cluster


def _quieten() -> None:
    """Keep tracebacks of the driver's event loop off the terminal: a call that a signal interrupts leaves some.

    For good: its thread may log after everything has been closed. What fails in a run is told by its outcomes.
    """
    for name in ("tornado.application", "asyncio", "distributed"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


class _WorkPlugin(WorkerPlugin):
    """Carries the work to a worker and prepares it there."""

    idempotent = True

    def __init__(self, work: Work, topic: str) -> None:
        self._work = work
        self._topic = topic

    def setup(self, worker: Worker) -> None:
        self._worker = worker
        self._work.task.prepare()

    def do(self, shard: Shard) -> Outcome:
        return self._work.do(shard, lambda *counts: self._worker.log_event(self._topic, counts), {})


def _do(plugin: str, shard: Shard) -> Outcome:
    """Run on a worker."""
    found = get_worker().plugins[plugin]
    assert isinstance(found, _WorkPlugin)
    return found.do(shard)


def _windowed(client: Client, plugin: str, shards: Sequence[Shard], window: int) -> Iterator[Outcome]:
    waiting = iter(shards)
    shard_of: dict[Future[Outcome], Shard] = {}

    def submit(shard: Shard) -> Future[Outcome]:
        future = client.submit(_do, plugin, shard, pure=False)
        shard_of[future] = shard
        return future

    running = as_completed([submit(shard) for shard in islice(waiting, window)])
    try:
        for future in running:
            for shard in islice(waiting, 1):
                running.add(submit(shard))
            yield _outcome(future, shard_of.pop(future))
    finally:
        client.cancel(list(shard_of))


def _outcome(future: Future[Outcome], shard: Shard) -> Outcome:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, KilledWorker):
        return ShardFailure(shard, "its workers died (killed, or out of memory); try fewer --workers or a smaller --shard-size")
    return ShardFailure(shard, describe(error))


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
