"""Which workers of a cluster take the ranks, and how ranks find each other there."""

import pytest
from distributed import Client, Event, LocalCluster

from normpipe.classify import seats as module
from normpipe.classify.rank_task import Offer, training_environment
from normpipe.classify.seats import Seat, seats, variables
from normpipe.errors import IncompatibleRunError, NormpipeError, UsageError


@pytest.fixture(scope="module")
def client():
    """Of two workers, in this process."""
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)
    with cluster, Client(cluster) as client:
        yield client


def seat(address, gpus="", port=0):
    return Seat(address, Offer("id", {}, gpus, port, sees_folder=True))


def test_every_rank_has_a_worker_of_its_own(client, tmp_path):
    taken = seats(client, 2, tmp_path, gpu=False)
    assert {one.address for one in taken} == set(client.scheduler_info()["workers"])
    assert len({one.offer.worker for one in taken}) == 2
    assert all(one.offer.port > 0 for one in taken)


def test_a_worker_that_has_nothing_to_do_comes_first(client, tmp_path):
    for busy in client.scheduler_info()["workers"]:
        gate = Event()
        future = client.submit(gate.wait, workers=[busy], pure=False)
        while not client.processing()[busy]:
            pass
        assert [one.address for one in seats(client, 1, tmp_path, gpu=False)] != [busy]
        gate.set()
        future.result()


@pytest.mark.parametrize(
    ("ranks", "gpu", "told"),
    [
        (3, False, "^--ranks 3: the cluster has 2 workers, one is needed for each rank$"),
        (1, True, r"^--ranks 1: the cluster has 0 workers that offer a GPU \(`dask worker --nthreads 1 --resources GPU=1`\), "),
    ],
)
def test_too_few_workers_are_told_in_one_line(client, tmp_path, ranks, gpu, told):
    with pytest.raises(UsageError, match=told):
        seats(client, ranks, tmp_path, gpu=gpu)


def test_a_worker_that_does_not_see_the_folder_is_told(client, tmp_path):
    with pytest.raises(UsageError, match=r"^a worker does not see the folder in which this command was given") as told:
        seats(client, 2, tmp_path / "nowhere", gpu=False)
    assert str(tmp_path) not in str(told.value)


def test_a_worker_with_other_versions_is_refused(client, tmp_path, monkeypatch):
    here = {**training_environment(), "torch": "2.0.0"}
    monkeypatch.setattr(module, "training_environment", lambda: here)
    with pytest.raises(
        IncompatibleRunError, match=r"^a worker's environment differs: torch: 2\.0\.0 -> \S+; all ranks need the same$"
    ):
        seats(client, 2, tmp_path, gpu=False)


def test_the_processor_is_that_of_the_ranks_not_of_who_starts_them(client, tmp_path, monkeypatch):
    here = {**training_environment(), "processor": "another"}
    monkeypatch.setattr(module, "training_environment", lambda: here)
    assert len(seats(client, 2, tmp_path, gpu=False)) == 2


def test_a_worker_without_the_package_is_told(client, tmp_path, monkeypatch):
    async def absent(folder, dask_worker):
        raise ModuleNotFoundError("no", name="normpipe.classify.rank_task")

    monkeypatch.setattr(module, "offer", absent)
    with pytest.raises(
        NormpipeError, match=r"^a worker cannot be prepared \(the module normpipe.classify.rank_task is not installed"
    ):
        seats(client, 2, tmp_path, gpu=False)


def test_ranks_meet_where_the_first_worker_is_reached():
    found = variables([seat("tcp://10.0.0.1:40001", port=2000), seat("tls://10.0.0.2:40001", port=3000)])
    assert [(one["MASTER_ADDR"], one["MASTER_PORT"]) for one in found] == [("10.0.0.1", "2000")] * 2
    assert [(one["RANK"], one["WORLD_SIZE"]) for one in found] == [("0", "2"), ("1", "2")]


@pytest.mark.parametrize(
    ("workers", "local"),
    [
        ([("tcp://a:1", ""), ("tcp://a:2", ""), ("tcp://b:1", "")], "010"),
        ([("tcp://a:1", "0,1"), ("tcp://a:2", "1,0")], "00"),
        ([("tcp://a:1", "0,1"), ("tcp://a:2", "0,1")], "01"),
    ],
    ids=["all GPUs seen", "each worker turned to its own GPU", "the same two seen"],
)
def test_no_two_ranks_of_a_machine_take_one_gpu(workers, local):
    found = variables([seat(address, gpus) for address, gpus in workers])
    assert "".join(one["LOCAL_RANK"] for one in found) == local
