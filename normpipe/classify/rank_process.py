"""The process of one rank that a Dask worker keeps: it trains as a rank of torchrun does, and tells its owner what happens.

It is a process of its own since a training leaves marks on the one that it runs in (a process group, torch's choices, memory),
and since a collective call that waits for other ranks can be ended by a signal alone.
"""

import os
import pickle
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from normpipe.engine.process import channel_to_owner
from normpipe.engine.signals import Interrupted, interruptible
from normpipe.engine.work import describe
from normpipe.errors import NormpipeError

if TYPE_CHECKING:  # a worker that passes it on does not load what it is made of
    from normpipe.classify.config import ClassifierTraining


@dataclass(frozen=True, slots=True)
class RankWork:
    """What every rank is told: the arguments of session.train_classifiers; which rank it is, it finds in its environment."""

    training: "ClassifierTraining"
    out: Path
    fold: str | None
    device: str
    takeover: bool


@dataclass(frozen=True, slots=True)
class Said:
    """A line on how it goes."""

    line: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The training is done; where its scores are."""

    scores: Path


@dataclass(frozen=True, slots=True)
class Refused:
    """It has ended with an error that the user is told."""

    error: NormpipeError | OSError


def main() -> None:
    """Train for the task that started this process."""
    channel = channel_to_owner()
    code = 1
    try:
        with interruptible():
            channel.send(_outcome(channel))
        code = 0
    except Interrupted as stop:
        code = stop.exit_code
    finally:
        os._exit(code)  # at once: libraries may wait for ranks that are gone


def _outcome(channel: Connection) -> Finished | Refused:
    try:
        work: RankWork = pickle.loads(channel.recv_bytes())  # noqa: S301  # from our own driver
        from normpipe.classify.session import Means, train_classifiers

        means = Means(work.device, lambda line: channel.send(Said(line)), work.takeover)
        return Finished(train_classifiers(work.training, work.out, means, work.fold))
    except (NormpipeError, OSError) as error:
        return Refused(error)
    except Exception as error:  # noqa: BLE001  # whatever it is, the user gets one line
        return Refused(NormpipeError(f"a rank of the training has ended ({describe(error)}); the same command goes on"))
