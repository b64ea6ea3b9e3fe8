"""The examples as a folder of parts: planned, shared out among processes, and made only where they are not there yet.

A part is a pure function of the configuration, its number and the files it is made from. All of these enter its fingerprint,
which is noted beside it; so a build that was stopped goes on where it was, one under another configuration makes again what
that changes, and more heads, warps or runs are added to what is there.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from normpipe.config import Detect
from normpipe.engine.fingerprint import Fingerprint
from normpipe.engine.lock import locked
from normpipe.errors import UsageError
from normpipe.faces.build import build_detector, build_landmarker
from normpipe.normalizers.mean_face.model import model_sha256
from normpipe.shards.atomic import remove_leftovers, sha256_of
from normpipe.synthetic.heads import HeadRig
from normpipe.training.norface.examples import Example, Examples, Kind, holds, write_part
from normpipe.training.norface.heads import HeadMaker
from normpipe.training.norface.photos import PhotoMaker
from normpipe.training.norface.processes import done_in_processes
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
            tasks = [partial(make_part, examples, part, folder) for part in missing]
            with closing(done_in_processes(tasks, workers, folder.name)) as made:
                for number in made:
                    done += missing[number].stop - missing[number].start
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
