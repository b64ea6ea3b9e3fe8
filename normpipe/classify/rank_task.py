"""What a Dask worker does for a rank: it says what it has to offer, and keeps the rank's process as long as that is wanted.

Dask cannot stop a task that runs. But the worker knows of each whether somebody waits for it, and nobody does any more when the
driver has cancelled it, was killed, or lost its scheduler: so the task looks, and ends the process and then itself.
"""

# mypy: disallow-untyped-calls=False
# (distributed types its classes but not their constructors)

import asyncio
import os
import pickle
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from distributed import Status, Worker, get_worker

from normpipe import __version__
from normpipe.classify.rank_process import Finished, Refused, Said
from normpipe.engine.process import LostError, OwnedProcess
from normpipe.errors import NormpipeError

_LOOK_SECONDS = 0.5
_HEAR_SECONDS = 60.0  # for the rest of a message that has begun
_THERE = frozenset({Status.running, Status.paused})


@dataclass(frozen=True, slots=True)
class Offer:
    """What a worker says of itself.

    Attributes:
        worker: Its id; one that is started again in its place has another.
        environment: Libraries and processor that decide about weights.
        gpus: Those that CUDA shows there, "" for all.
        port: One that was free.
        sees_folder: Whether the driver's folder is there.
    """

    worker: str
    environment: dict[str, str]
    gpus: str
    port: int
    sees_folder: bool


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the task of a rank needs to know.

    Attributes:
        rank: Its number.
        worker: Id of the worker that it is for.
        topic: Where it tells what happens.
        work: A RankWork, pickled.
        variables: By which a rank finds the others.
        folder: In which it works.
    """

    rank: int
    worker: str
    topic: str
    work: bytes
    variables: Mapping[str, str]
    folder: Path


@dataclass(frozen=True, slots=True)
class Begun:
    """Told: a rank has begun."""

    rank: int


@dataclass(frozen=True, slots=True)
class Over:
    """Told: nothing is left of a rank's process."""

    rank: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A rank died, or its worker did: how."""

    how: str


Told = Begun | Said | Over
Outcome = Finished | Refused | Lost


def training_environment() -> dict[str, str]:
    """What must be alike where ranks of one training run, by name; "absent" where it is not installed."""
    from normpipe.classify.prediction_task import prediction_environment
    from normpipe.stages.environment import library_version

    return {"normpipe": __version__, **prediction_environment("cpu"), "accelerate": library_version("accelerate")}


async def offer(folder: Path, dask_worker: Worker) -> Offer:
    """Run on a worker, beside what it does; Dask fills in which one it is."""
    with socket.create_server(("", 0)) as free:
        port: int = free.getsockname()[1]
    environment = await asyncio.to_thread(training_environment)  # imports for seconds, while the worker goes on answering
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return Offer(dask_worker.id, environment, gpus, port, folder.is_dir())


def keep_rank(ticket: Ticket) -> Outcome | None:
    """Run as a worker's task; None when nobody waits for it any more."""
    worker = get_worker()
    if worker.id != ticket.worker:
        return Lost("its worker was started again")
    _tell(worker, ticket, Begun(ticket.rank))
    try:
        return _kept(worker, ticket)
    finally:
        _tell(worker, ticket, Over(ticket.rank))


def _kept(worker: Worker, ticket: Ticket) -> Outcome | None:
    task = str(worker.get_current_task())
    try:
        process = OwnedProcess("normpipe.classify.rank_process", ticket.work, ticket.variables, ticket.folder)
    except OSError as error:
        return Refused(NormpipeError(f"a worker cannot start a process: {error.strerror}"))
    try:
        while _is_wanted(worker, task):
            if not process.has_spoken(_LOOK_SECONDS):
                continue
            said = process.hear(_HEAR_SECONDS)
            if isinstance(said, Said):
                _tell(worker, ticket, said)
            else:
                assert isinstance(said, Finished | Refused)
                return said
    except LostError as lost:
        return Lost(str(lost))
    finally:
        process.end()
        process.close()
    return None


def _is_wanted(worker: Worker, task: str) -> bool:
    state = worker.state.tasks.get(task)
    return worker.status in _THERE and state is not None and state.state == "executing"


def _tell(worker: Worker, ticket: Ticket, told: Told) -> None:
    worker.log_event(ticket.topic, pickle.dumps(told))
