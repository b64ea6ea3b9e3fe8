from hypothesis import given
from hypothesis import strategies as st

from normpipe.engine.journal import ShardRecord
from normpipe.engine.tally import Tally
from normpipe.engine.tasks import Shard, ShardResult
from normpipe.engine.work import ShardFailure
from normpipe.records import Reason

SHARD = Shard(0, 10, 20)
COMMITTED = ShardRecord(SHARD, "digest", ShardResult((), 12, 9, {Reason.NO_FACE: 3}))

counts = st.tuples(*[st.integers(0, 9)] * 3)


@given(st.lists(counts), st.booleans(), st.sampled_from([COMMITTED, ShardFailure(SHARD, "why")]))
def test_whatever_was_told_before_the_outcome_has_the_last_word(told, restarts, outcome):
    sums = [0, 0, 0]

    def advance(*more):
        sums[:] = [told + count for told, count in zip(sums, more, strict=True)]

    tally = Tally(advance)
    for step in told:
        tally.add(*step)
    assert (tally.done, sums) == (sum(step[0] for step in told), [sum(column) for column in zip(*told, strict=True)] or [0] * 3)
    if restarts:
        tally.reset()
        assert (tally.done, sums) == (0, [0, 0, 0])
    tally.settle(outcome)
    assert sums == ([10, 9, 3] if outcome is COMMITTED else [0, 0, 0])


def test_a_sign_of_life_is_not_passed_on():
    said = []
    tally = Tally(lambda *told: said.append(told))
    tally.add(0, 0, 0)
    tally.reset()
    assert said == []
