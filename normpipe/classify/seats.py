"""Which workers of a Dask cluster take the ranks of a training, and how ranks find each other there.

Ranks that are not alike would come apart, since each takes the steps for itself: workers with other versions or processors are
refused before anything starts.
"""

# mypy: disallow-untyped-calls=False
# (distributed types its classes but not their constructors)

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distributed import Client
from distributed.comm.addressing import get_address_host

from normpipe.classify.rank_task import Offer, offer, training_environment
from normpipe.engine.fingerprint import Fingerprint
from normpipe.engine.scheduler import unprepared
from normpipe.errors import IncompatibleRunError, UsageError

GPU = {"GPU": 1.0}

_PROCESSOR = "processor"


@dataclass(frozen=True, slots=True)
class Seat:
    """A worker that takes a rank: its address, and what it offers."""

    address: str
    offer: Offer

    @property
    def host(self) -> str:
        """Its machine, as the other workers reach it."""
        return str(get_address_host(self.address))

    @property
    def gpus(self) -> tuple[str, str]:
        """Alike for workers that see the same GPUs."""
        return self.host, self.offer.gpus


def seats(client: Client, ranks: int, folder: Path, *, gpu: bool) -> list[Seat]:
    """One for each rank, those of a machine beside each other; workers that have nothing else to do come first.

    Args:
        client: Connected.
        ranks: How many.
        folder: In which the ranks will work.
        gpu: Take only workers that offer the resource GPU.

    Raises:
        UsageError: there are fewer workers, or one does not see the folder.
        IncompatibleRunError: one has other versions than this process, or another processor than the others.
        NormpipeError: one cannot answer.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"]
    suited = [address for address, one in workers.items() if not gpu or one["resources"].get("GPU", 0) >= GPU["GPU"]]
    if len(suited) < ranks:
        hint = " that offer a GPU (`dask worker --nthreads 1 --resources GPU=1`)" if gpu else ""
        raise UsageError(f"--ranks {ranks}: the cluster has {len(suited)} workers{hint}, one is needed for each rank")
    busy = {address: len(tasks) for address, tasks in client.processing().items()}
    chosen = sorted(sorted(suited, key=lambda address: (busy.get(address, 0), address))[:ranks])
    try:
        offers: dict[str, Offer] = client.run(offer, folder, workers=chosen)
    except Exception as error:  # whatever stands in a foreign worker's way
        raise unprepared(error) from error
    found = [Seat(address, offers[address]) for address in chosen]
    _check(found)
    return found


def variables(taken: Sequence[Seat]) -> list[dict[str, str]]:
    """The environment of each rank by which torch finds the others, as torchrun sets it.

    A local rank is counted among those that see the same GPUs, so that each takes another one.
    """
    first = taken[0]
    beside = [[other for other in taken if other.gpus == seat.gpus] for seat in taken]
    return [
        {
            "RANK": str(rank),
            "WORLD_SIZE": str(len(taken)),
            "LOCAL_RANK": str(beside[rank].index(seat)),
            "LOCAL_WORLD_SIZE": str(len(beside[rank])),
            "MASTER_ADDR": first.host,
            "MASTER_PORT": str(first.offer.port),
        }
        for rank, seat in enumerate(taken)
    ]


def _check(found: Sequence[Seat]) -> None:
    """Errors as of seats."""
    if not all(seat.offer.sees_folder for seat in found):
        raise UsageError("a worker does not see the folder in which this command was given: ranks need the same paths")
    wanted = Fingerprint({**training_environment(), _PROCESSOR: found[0].offer.environment[_PROCESSOR]})
    for seat in found:
        differences = wanted.differences(Fingerprint(seat.offer.environment))
        if differences:
            raise IncompatibleRunError(f"a worker's environment differs: {'; '.join(differences)}; all ranks need the same")
