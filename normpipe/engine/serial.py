"""The executor without a cluster: one shard after the other, in one child process."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from normpipe.engine.supervisor import Supervisor, pack
from normpipe.engine.tasks import Advance, Observe, Shard
from normpipe.engine.work import Outcome, Work

DEADLINE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class SerialExecutor:
    """Runs on this machine, one shard at a time.

    Attributes:
        deadline: Seconds without any sign of life after which the process that works counts as hung.
    """

    deadline: float = DEADLINE_SECONDS

    def run(
        self, work: Work, shards: Sequence[Shard], advance: Advance, observe: Observe = lambda _: None
    ) -> Iterator[Outcome]:
        """See Executor."""
        with Supervisor(pack(work), self.deadline) as supervisor:
            supervisor.prepare()
            for shard in shards:
                yield supervisor.do(shard, advance, observe)
