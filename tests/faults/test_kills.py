"""SIGKILL at random moments: nothing lost, nothing twice, the same bytes."""

import random

import pytest
from fixtures.runs import digests

from faults import command
from faults.conftest import ROWS
from normpipe.shards.reader import iter_rows

pytestmark = pytest.mark.slow

_EVERYTHING_AFTER = 12.0  # seconds within which the moment lies; a run takes about that long
WORKERS = (1, 2, 4)


@pytest.fixture(autouse=True)
def bounded(request):
    """Four workers on two cores take their time: only where time was asked for."""
    if request.config.getoption("--moments") == 1 and request.node.callspec.params["workers"] == 4:
        pytest.skip("needs --moments 2 or more")


@pytest.fixture
def moments(request):
    return range(request.config.getoption("--moments"))


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.timeout(1800)
def test_bytes_do_not_depend_on_the_workers(case, undisturbed, tmp_path, workers):
    code, text = case.run(tmp_path / "out", "--workers", workers)
    assert code == 0, text
    assert digests(tmp_path / "out") == undisturbed


def run_and_kill_a_worker(case, out, workers, dice):
    """Exit code and text of a run of which one worker was killed."""
    process = case.start(out, "--workers", workers)
    command.wait_for(lambda: (out / "plan.json").exists() and command.workers(process))
    after = dice.randint(0, 8)
    command.wait_for(lambda: command.committed(out) >= after or process.poll() is not None)
    victims = command.workers(process)
    if victims:
        dice.choice(victims).kill()
    return command.finish(process)


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.timeout(1800)
def test_a_killed_worker_costs_nothing(case, undisturbed, tmp_path, workers, moments):
    for moment in moments:
        out = tmp_path / f"out{moment}"
        code, text = run_and_kill_a_worker(case, out, workers, random.Random(f"{workers} {moment}"))
        assert code == 0, text
        assert digests(out) == undisturbed


@pytest.mark.parametrize("workers", WORKERS)
def test_a_worker_that_is_killed_while_it_starts_costs_nothing(case, undisturbed, tmp_path, workers):
    out = tmp_path / "out"
    process = case.start(out, "--workers", workers)
    command.wait_for(lambda: command.workers(process))
    family = command.family(process)
    command.workers(process)[0].kill()
    code, text = command.finish(process)
    assert code == 0, text
    assert digests(out) == undisturbed
    command.wait_for(lambda: not any(command.is_alive(one) for one in family), timeout=30)  # orphans notice that they are


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.timeout(1800)
def test_a_run_that_was_killed_whole_goes_on(case, undisturbed, tmp_path, workers, moments):
    for moment in moments:
        dice = random.Random(f"all {workers} {moment}")
        out = tmp_path / f"out{moment}"
        for _ in range(2):  # the second kill meets what the first one left
            process = case.start(out, "--workers", workers)
            try:
                process.wait(dice.uniform(0.0, _EVERYTHING_AFTER))
            except command.subprocess.TimeoutExpired:
                command.kill_all(process)
            process.stdout.close()
        code, text = case.run(out, "--workers", workers)
        assert code == 0, text
        assert digests(out) == undisturbed
        ids = [row["sample_id"] for row in iter_rows(out, columns=["sample_id"])]
        assert len(ids) == len(set(ids)) == ROWS
        assert not list(out.rglob("*.part"))
