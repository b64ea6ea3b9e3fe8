"""The executor on Dask: a LocalCluster of processes, or a scheduler that is already there.

A Dask worker only keeps a Supervisor, which a WorkerPlugin sets up on every worker, also on those that join or are restarted
later: the models live in the supervisor's child, and what kills the child leaves the worker to answer its scheduler. Shard
numbers go out and small records come back; images never travel. A window of two shards per worker keeps every worker busy
without queueing the whole plan, and progress comes as worker events between completions.
"""

# mypy: disallow-untyped-calls=False
# (distributed types its classes but not their constructors)

import asyncio
import logging
import secrets
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import dask
from distributed import Client, LocalCluster, Reschedule, Security, Worker, WorkerPlugin, get_worker

from normpipe.engine.scheduler import connected, quieten, unprepared
from normpipe.engine.serial import DEADLINE_SECONDS
from normpipe.engine.signals import held_back
from normpipe.engine.supervisor import Supervisor, SupervisorClosedError, pack
from normpipe.engine.tasks import Advance, Event, Observe, Shard
from normpipe.engine.window import GOING, Counted, Window, is_connected, packed
from normpipe.engine.work import Outcome, Work
from normpipe.errors import NormpipeError, UsageError

_DASHBOARD_PORT = 8787
_MOST_STARTS = 3

_GPU = {"GPU": 1.0}

# Workers always answer, so one that does not is stopped or cut off and is replaced soon.
_SETTINGS = {
    "distributed.scheduler.worker-ttl": "40 s",
    # Workers only wait for their children, and would spend a tenth of the cores on watching themselves do so.
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.monitor-interval": "2 s",
    "distributed.admin.system-monitor.interval": "5 s",
    "distributed.admin.tick.interval": "500 ms",
}


@dataclass(frozen=True, slots=True)
class DaskExecutor:
    """Runs on Dask workers.

    Attributes:
        workers: Processes of the LocalCluster that is started when `scheduler` is None.
        scheduler: Address of a running scheduler ("tcp://host:8786"), or the file that it writes ("file:scheduler.json").
        deadline: Seconds without any sign of life after which a process that works counts as hung.
        gpu: Give shards only to workers that offer the resource GPU, one shard for each.
        announce: Told one line: where the dashboard is.
    """

    workers: int
    scheduler: str | None = None
    deadline: float = DEADLINE_SECONDS
    gpu: bool = False
    announce: Callable[[str], None] | None = None

    def run(
        self, work: Work, shards: Sequence[Shard], advance: Advance, observe: Observe = lambda _: None
    ) -> Iterator[Outcome]:
        """See Executor."""
        name = f"normpipe-{secrets.token_hex(4)}"  # a scheduler that outlives this run keeps plugins and topics by name
        resources = _GPU if self.gpu else {}
        with dask.config.set(_SETTINGS), self._client() as client:
            window = Window(client, partial(_do, name), resources, advance, observe)
            if not window.workers():
                raise UsageError(
                    f"--scheduler {self.scheduler}: no worker there offers a GPU; "
                    "start those that have one with `dask worker --nthreads 1 --resources GPU=1`"
                )
            client.subscribe_topic(name, window.hear)
            try:
                _register(client, _SupervisorPlugin(pack(work), self.deadline, resources, name))
                yield from window.run(shards)
            finally:
                if self.scheduler is not None and is_connected(client):
                    with suppress(*GOING):
                        client.unregister_worker_plugin(name)

    @contextmanager
    def _client(self) -> Iterator[Client]:
        with ExitStack() as stack:
            if self.scheduler is None:
                client = stack.enter_context(Client(stack.enter_context(self._local_cluster())))
            else:
                client = stack.enter_context(connected(self.scheduler))
            quieten()
            yield client

    def _local_cluster(self) -> LocalCluster:
        for attempt in range(1, _MOST_STARTS + 1):
            try:
                cluster = self._start_cluster()
            except RuntimeError as error:  # a worker died before it was up
                if attempt == _MOST_STARTS:
                    raise NormpipeError("the worker processes could not be started; try fewer --workers") from error
            else:
                break
        if self.announce is not None:
            self.announce(f"dashboard: {cluster.dashboard_link}")
        return cluster

    def _start_cluster(self) -> LocalCluster:
        with held_back(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"\s*Port \d+ is already in use")  # another one is taken, and announced
            return LocalCluster(
                n_workers=self.workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                # Everybody on this machine can reach the port; a certificate of this run's own keeps them out.
                protocol="tls://",
                security=Security.temporary(),
                dashboard_address=f"127.0.0.1:{_DASHBOARD_PORT}",
                silence_logs=logging.CRITICAL,  # workers' tracebacks when the cluster closes; outcomes tell what fails
                resources=_GPU if self.gpu else None,
            )


class _SupervisorPlugin(WorkerPlugin):
    """Keeps a Supervisor on every worker that offers the resources; the work stays packed."""

    idempotent = True

    def __init__(self, work: bytes, deadline: float, resources: dict[str, float], name: str) -> None:
        self.name = name
        self._work = work
        self._deadline = deadline
        self._resources = resources
        self._supervisor: Supervisor | None = None

    async def setup(self, worker: Worker) -> None:
        """Start the child; the worker goes on answering meanwhile."""
        self._worker = worker
        if all(worker.state.total_resources.get(name, 0) >= n for name, n in self._resources.items()):
            self._supervisor = Supervisor(self._work, self._deadline)
            await asyncio.to_thread(self._supervisor.prepare)

    async def teardown(self, worker: Worker) -> None:  # noqa: ARG002  # Dask dictates it
        """End the child, whatever it is doing."""
        if self._supervisor is not None:
            await asyncio.to_thread(self._supervisor.close)

    def do(self, shard: Shard) -> Outcome:
        """Run a shard, from the worker's own thread."""
        assert self._supervisor is not None, "only workers that offer the resources are given shards"
        attempt = secrets.token_hex(4)
        return self._supervisor.do(shard, lambda *counts: self._tell(Counted(shard, attempt, *counts)), self._tell)

    def _tell(self, told: Counted | Event) -> None:
        self._worker.log_event(self.name, packed(told))


def _do(plugin: str, shard: Shard) -> Outcome:
    """Run on a worker."""
    found = get_worker().plugins[plugin]
    assert isinstance(found, _SupervisorPlugin)
    try:
        return found.do(shard)
    except SupervisorClosedError:  # this worker is leaving; another one will do it
        raise Reschedule from None


def _register(client: Client, plugin: _SupervisorPlugin) -> None:
    try:
        client.register_plugin(plugin)
    except NormpipeError:
        raise
    except Exception as error:  # whatever stands in a foreign worker's way
        raise unprepared(error) from error
