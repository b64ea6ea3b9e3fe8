"""What has been told of a shard's progress, so that it can be put right when the shard turns out differently."""

from normpipe.engine.journal import ShardRecord
from normpipe.engine.tasks import Advance
from normpipe.engine.work import Outcome


class Tally:
    """Passes one shard's counts on and remembers their sums: input rows done, output rows ok and failed.

    Args:
        advance: Told of every change.
    """

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._told = (0, 0, 0)

    @property
    def done(self) -> int:
        """Input rows told of."""
        return self._told[0]

    def add(self, done: int, ok: int, failed: int) -> None:
        """Count on; three zeros are a mere sign of life, of which nobody is told."""
        if not (done or ok or failed):
            return
        before = self._told
        self._told = (before[0] + done, before[1] + ok, before[2] + failed)
        self._advance(done, ok, failed)

    def reset(self) -> None:
        """Take everything back: the shard starts over."""
        self._become(0, 0, 0)

    def settle(self, outcome: Outcome) -> None:
        """Make the sums what the outcome says: nothing for a shard that was not committed."""
        if isinstance(outcome, ShardRecord):
            self._become(outcome.shard.rows, outcome.result.ok, sum(outcome.result.failed.values()))
        else:
            self.reset()

    def _become(self, done: int, ok: int, failed: int) -> None:
        self.add(done - self._told[0], ok - self._told[1], failed - self._told[2])
