"""The executor without a cluster: one shard after the other in this process."""

from collections.abc import Iterator, Sequence

from normpipe.engine.tasks import Advance, Observe, Shard
from normpipe.engine.work import Outcome, Work


class SerialExecutor:
    """Runs in this process and thread."""

    def run(
        self, work: Work, shards: Sequence[Shard], advance: Advance, observe: Observe = lambda _: None
    ) -> Iterator[Outcome]:
        """See Executor."""
        work.task.prepare()
        for shard in shards:
            yield work.do(shard, advance, {})
