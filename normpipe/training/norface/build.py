"""The examples as a folder of parts: planned, shared out among processes, and made only where they are not there yet.

A part is a pure function of the configuration, its number and the files it is made from. All of these enter its fingerprint,
which is noted beside it; so a build that was stopped goes on where it was, one under another configuration makes again what
that changes, and more heads, warps or runs are added to what is there.
"""

import os
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from normpipe.config import Detect
from normpipe.engine.fingerprint import Fingerprint
from normpipe.engine.lock import locked
from normpipe.engine.signals import held_back
from normpipe.engine.threads import limit_libraries, steady_environment
from normpipe.errors import NormpipeError, UsageError
from normpipe.faces.build import build_detector, build_landmarker
from normpipe.normalizers.mean_face.model import model_sha256
from normpipe.shards.atomic import remove_leftovers, sha256_of
from normpipe.synthetic.heads import HeadRig
from normpipe.training.norface.examples import Example, Examples, Kind, holds, write_part
from normpipe.training.norface.heads import HeadMaker
from normpipe.training.norface.photos import PhotoMaker
from normpipe.training.norface.runs import FinishedRun, finished_run
from normpipe.training.norface.warps import WarpMaker

ALGORITHM_VERSION = 1

PART_ROWS = 500

Advance = Callable[[int, int], None]
"""Told after each part how many examples there are by now, and of how many."""


@dataclass(frozen=True, slots=True)
class Part:
    """One file of examples.

    Attributes:
        kind: Of its examples.
        number: Among the parts of its kind.
        start: First example, counted within its kind, or within its run for photos.
        stop: Behind the last one.
        run: Which of the runs photos are of; 0 for heads and warps, which are of the first.
        fingerprint: What its bytes depend on.
    """

    kind: Kind
    number: int
    start: int
    stop: int
    run: int
    fingerprint: str

    @property
    def name(self) -> str:
        """Of its file."""
        return f"part-{self.kind.value}-{self.number:05d}.parquet"


def build_examples(examples: Examples, folder: Path, workers: int, advance: Advance) -> list[Path]:
    """Make the parts that are missing, damaged or of another configuration.

    Args:
        examples: Of what, and how many.
        folder: Where the parts are; made if it is not there. Other files in it are left alone.
        workers: Processes.
        advance: Told of the progress.

    Returns:
        All parts, heads before warps before photos; what `read_examples` takes.

    Raises:
        UsageError: the rig cannot be read, a run cannot be used, or the folder cannot be written.
        IncompatibleRunError: another build is writing there.
        NormpipeError: a process died.
    """
    parts = plan_parts(examples)
    total = sum(part.stop - part.start for part in parts)
    with locked(folder):
        remove_leftovers(folder)
        missing = [part for part in parts if not holds(folder / part.name, part.fingerprint)]
        done = total - sum(part.stop - part.start for part in missing)
        advance(done, total)
        try:
            with closing(_made(examples, missing, folder, workers)) as made:
                for part in made:
                    done += part.stop - part.start
                    advance(done, total)
        finally:
            remove_leftovers(folder)
    return [folder / part.name for part in parts]


def plan_parts(examples: Examples) -> list[Part]:
    """All parts of a configuration; looks at the runs, the rig and the models, and makes nothing.

    Raises:
        UsageError: the rig cannot be read or a run cannot be used.
    """
    runs = [finished_run(Path(run), examples.side) for run in examples.runs]
    common = {
        "algorithm": str(ALGORITHM_VERSION),
        "seed": str(examples.seed),
        "side": str(examples.side),
        "mean_face": model_sha256(),
        "landmarker": build_landmarker(Detect(), "cpu").fingerprint,
    }
    parts: list[Part] = []
    if examples.rig is not None:
        drawn = {**common, "rig": _sha256(Path(examples.rig)), "detector": build_detector(Detect(), "cpu").fingerprint}
        parts += _cut(Kind.HEAD, 0, 0, examples.heads, {**drawn, "portraits": runs[0].digest})
        parts += _cut(Kind.WARP, 0, 0, examples.warps, {**drawn, "portraits": runs[0].digest})
    photos = 0
    for index, run in enumerate(runs):
        cut = _cut(Kind.PHOTO, photos, index, len(run), {**common, "run": run.digest})
        photos += len(cut)
        parts += cut
    return parts


def make_part(examples: Examples, part: Part, folder: Path) -> None:
    """Make one part, in this process.

    Raises:
        NormpipeError: an example cannot be made; see the makers.
    """
    write_part(folder / part.name, list(_examples(examples, part)), part.fingerprint)


def _cut(kind: Kind, before: int, run: int, count: int, depends_on: dict[str, str]) -> list[Part]:
    """Parts of `count` examples, numbered from `before`."""
    parts = []
    for number, start in enumerate(range(0, count, PART_ROWS), before):
        stop = min(start + PART_ROWS, count)
        own = {"kind": kind.value, "start": str(start), "stop": str(stop)}
        parts.append(Part(kind, number, start, stop, run, Fingerprint({**depends_on, **own}).digest))
    return parts


def _made(examples: Examples, parts: list[Part], folder: Path, workers: int) -> Generator[Part]:
    """Make parts in processes of their own, each with one thread; in any order."""
    if not parts:
        return
    context = get_context("spawn")
    hears, speaks = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(hears,))
    try:
        with held_back(), _steady():  # processes are started as work comes in
            pending = {pool.submit(make_part, examples, part, folder): part for part in parts}
        for future in as_completed(pending):
            future.result()
            yield pending[future]
    except BrokenProcessPool as error:
        raise NormpipeError(
            f"{folder.name}: a process that makes examples died, perhaps for want of memory; the finished parts are kept: "
            "build again, with fewer workers"
        ) from error
    finally:
        speaks.close()  # whoever is still at work leaves at once
        hears.close()
        pool.shutdown(cancel_futures=True)


def _begin(parent: Connection) -> None:
    """First of all in each process."""
    limit_libraries()
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: Connection) -> None:
    """End this process when the other end is closed, by intent or because its process died."""
    with suppress(EOFError):
        parent.recv_bytes()
    os._exit(1)


@contextmanager
def _steady() -> Iterator[None]:
    """Processes started in this block compute with one thread, and with nothing that would change their results."""
    before = dict(os.environ)
    steady = steady_environment(before)
    try:
        _set_environment(steady)
        yield
    finally:
        _set_environment(before)


def _set_environment(variables: dict[str, str]) -> None:
    for name in set(os.environ) - set(variables):
        del os.environ[name]
    os.environ.update(variables)


def _examples(examples: Examples, part: Part) -> Iterator[Example]:
    if part.kind is Kind.HEAD:
        return _heads(examples).examples(part.start, part.stop)
    if part.kind is Kind.WARP:
        return _warps(examples).examples(part.start, part.stop)
    return _photos(examples).examples(_run(examples, part.run), part.start, part.stop)


@cache
def _heads(examples: Examples) -> HeadMaker:
    return HeadMaker.prepared(_rig(examples), _run(examples, 0), examples.seed, examples.side)


@cache
def _warps(examples: Examples) -> WarpMaker:
    return WarpMaker.prepared(_rig(examples), _run(examples, 0), examples.seed, examples.side)


@cache
def _photos(examples: Examples) -> PhotoMaker:
    return PhotoMaker.prepared(examples.seed, examples.side)


@cache
def _run(examples: Examples, index: int) -> FinishedRun:
    return finished_run(Path(examples.runs[index]), examples.side)


@cache
def _rig(examples: Examples) -> HeadRig:
    assert examples.rig is not None, "the section asks for it"
    return HeadRig.load(Path(examples.rig))


def _sha256(rig: Path) -> str:
    try:
        return sha256_of(rig)
    except OSError as error:
        raise UsageError(
            f"examples.rig: cannot read {rig.name} ({error.strerror}); give the path of ict_facekit.npz"
        ) from error
