"""How fast do pictures get from pair shards into batches, against what decoding them takes? Ratios of one sitting.

    python benchmarks/loader.py --photos congress-portraits --json loader.json

A `normpipe run` over photos makes pairs, which are then repeated under ids of their own, so that an epoch is long enough to be
measured. Rows per second of the loader, with both pictures of every pair and some warm worker processes, stand over those of as
many processes that do nothing but **decode** the same bytes, at full size and from memory; and over those of processes that
make all **calls** of OpenCV which the loader cannot do without: decoding as far as the size wants it, one warp or resize, the
change of colour, planes. Bare loops run before and after every epoch of the loader, since the machine's speed drifts; the
median of the ratios counts. What each call costs is told in microseconds of CPU time for a picture.
"""

import json
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory

from normpipe.engine.threads import limit_environment, limit_libraries

limit_environment()  # before numpy is imported

import click  # noqa: E402
import cv2  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from normpipe.audit.groups import Doubles, Floats  # noqa: E402
from normpipe.batches import Image  # noqa: E402
from normpipe.classify.arms import Arm  # noqa: E402
from normpipe.classify.augmentation import Augmentation, drawn_changes  # noqa: E402
from normpipe.classify.feed import Feed  # noqa: E402
from normpipe.classify.labels import Targets  # noqa: E402
from normpipe.classify.loader import Loader  # noqa: E402
from normpipe.classify.pictures import Warp, recoloured, reduction, resized, warp_matrices  # noqa: E402
from normpipe.classify.shards import Shards, open_shards  # noqa: E402
from normpipe.records import PAIRS_SCHEMA  # noqa: E402
from normpipe.shards.reader import iter_batches  # noqa: E402
from normpipe.shards.writer import ShardWriter  # noqa: E402

_BATCH = 64
_HELD = 256  # pictures that a bare process has in memory
_ROUNDS = 7
_TRAINING = Augmentation()
_CASES: tuple[tuple[int, Augmentation | None], ...] = (
    (256, None),
    (224, None),
    (224, _TRAINING),
    (128, None),
    (128, _TRAINING),
    (112, _TRAINING),
    (96, None),
    (96, _TRAINING),
)
"""Sizes in evaluation (None) and training."""

_LIMITS = ("decode", "calls")
_PARTS = ("shrunk", "placing", "colour", "planes")
"""Of the calls: decoding as far as the size wants it, warp or resize, and what follows."""

_FLAGS = {1: cv2.IMREAD_COLOR_BGR, 2: cv2.IMREAD_REDUCED_COLOR_2}

Content = NDArray[np.uint8]
Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Pace:
    """Pictures per second of all processes together, and microseconds of CPU time that a picture takes."""

    per_second: float
    microseconds: float


Ask = Callable[[str], Pace]


def run_photos(photos: Path, limit: int, out: Path) -> Path:
    """Make pairs of photos."""
    command = [sys.executable, "-m", "normpipe", "run", str(photos), str(out), f"--limit={limit}"]
    subprocess.run(command, check=True)
    return out


def repeat_pairs(run: Path, rows: int, target: Path) -> Path:
    """Write the pairs of a run again and again, one file each time."""
    target.mkdir()
    found = pa.Table.from_batches(iter_batches(run)).replace_schema_metadata(None)
    place = PAIRS_SCHEMA.get_field_index("sample_id")
    for copy in range(-(-rows // found.num_rows)):
        ids = pa.array([f"{name}#{copy}" for name in found["sample_id"].to_pylist()])
        with ShardWriter(target / f"part-{copy:05d}.parquet", PAIRS_SCHEMA) as writer:
            for batch in found.set_column(place, PAIRS_SCHEMA.field(place), ids).combine_chunks().to_batches():
                writer.append(batch)
    return target


def some_pictures(shards: Shards) -> list[Content]:
    """Encoded pictures, originals and normalized ones."""
    columns = shards.places.files[0].pictures(0, Arm.BOTH.columns)
    contents = [np.frombuffer(each.as_py(), np.uint8) for column in columns for each in column if each.is_valid]
    return contents[:_HELD]


@contextmanager
def bare_processes(count: int, contents: Sequence[Content], size: int, augmentation: Augmentation | None) -> Iterator[Ask]:
    """Processes that make bare calls when asked for one of _LIMITS or _PARTS."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    pipes = [context.Pipe() for _ in range(count)]
    processes = [
        context.Process(target=_bare, args=(contents, size, augmentation, barrier, theirs), daemon=True) for _, theirs in pipes
    ]
    for process in processes:
        process.start()

    def ask(kind: str) -> Pace:
        for ours, _ in pipes:
            ours.send(kind)
        found: list[Pace] = [ours.recv() for ours, _ in pipes]
        return Pace(sum(each.per_second for each in found), statistics.mean(each.microseconds for each in found))

    try:
        yield ask
    finally:
        for ours, _ in pipes:
            ours.send("")
        for process in processes:
            process.join()


def _bare(
    contents: Sequence[Content], size: int, augmentation: Augmentation | None, barrier: Barrier, asked: Connection
) -> None:
    limit_libraries()
    calls: dict[str, list[Call]] = {"decode": [partial(_decoded, each) for each in contents]}
    calls |= _calls(contents, size, augmentation)
    while kind := asked.recv():
        barrier.wait()
        done, start, used = 0, time.perf_counter(), time.process_time()
        while (spent := time.perf_counter() - start) < 1:
            for call in calls[kind]:
                call()
            done += len(calls[kind])
        asked.send(Pace(done / spent, (time.process_time() - used) / done * 1e6))


def _calls(contents: Sequence[Content], size: int, augmentation: Augmentation | None) -> dict[str, list[Call]]:
    """For each picture, the calls of OpenCV that the loader makes, together and by part, with their arguments ready."""
    side = len(_decoded(contents[0]))
    factor = reduction(side, size)
    flags, side = _FLAGS[factor], side // factor
    planes = list(np.empty((3, size, size), np.uint8))
    shrunk = [partial(_decoded, each, flags) for each in contents]
    first = _decoded(contents[0], flags)
    final = resized(first, size)
    found: dict[str, list[Call]] = {"shrunk": [*shrunk], "planes": [partial(cv2.split, final, planes)]}
    if augmentation is None:
        found["placing"] = [partial(resized, first, size)]
        found["calls"] = [partial(_resized, each, flags, size, planes) for each in contents]
        return found
    changes = drawn_changes(augmentation, torch.arange(len(contents)), 1)
    matrices = warp_matrices(changes.placing, np.full(len(contents), side), size)[:, 0]
    warp, colours = Warp(side, size), changes.colour[:, 0]
    found["placing"] = [partial(warp.placed, first, matrix) for matrix in matrices]
    found["colour"] = [partial(recoloured, final, colour) for colour in colours]
    found["calls"] = [
        partial(_changed, each, flags, warp, matrix, colour, planes)
        for each, matrix, colour in zip(contents, matrices, colours, strict=True)
    ]
    return found


def _decoded(content: Content, flags: int = cv2.IMREAD_COLOR_BGR) -> Image:
    picture = cv2.imdecode(content, flags)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def _resized(content: Content, flags: int, size: int, planes: list[Image]) -> None:
    cv2.split(resized(_decoded(content, flags), size), planes)


def _changed(content: Content, flags: int, warp: Warp, matrix: Doubles, colour: Floats, planes: list[Image]) -> None:
    cv2.split(recoloured(warp.placed(_decoded(content, flags), matrix), colour), planes)


def measure(shards: Shards, workers: int, size: int, augmentation: Augmentation | None) -> dict[str, object]:
    """One size, in training (shuffled, augmented) or evaluation, in turns with the bare calls."""
    rows = len(shards)
    targets = Targets(np.zeros((rows, 1), np.float32), np.ones((rows, 1), np.bool_), np.ones(rows, np.float32))
    feed = Feed(arm=Arm.BOTH, size=size, batch=_BATCH, augmentation=augmentation, shuffled=augmentation is not None)
    parts = [kind for kind in _PARTS if augmentation is not None or kind != "colour"]
    rates: dict[str, list[float]] = {"loader": [], **{kind: [] for kind in _LIMITS}}
    costs: dict[str, list[float]] = {kind: [] for kind in ("decode", *parts)}
    with (
        Loader(shards, targets, np.arange(rows), feed, workers=workers) as loader,
        bare_processes(workers, some_pictures(shards), size, augmentation) as ask,
    ):
        epoch_seconds(loader, 0)
        for epoch in range(1, _ROUNDS + 1):
            before = {kind: ask(kind).per_second for kind in _LIMITS}
            rates["loader"].append(rows / epoch_seconds(loader, epoch))
            for kind, earlier in before.items():
                rates[kind].append((earlier + ask(kind).per_second) / 2 / Arm.BOTH.views)
            for kind, own in costs.items():
                own.append(ask(kind).microseconds)
    ratios = {kind: sorted(own / bare for own, bare in zip(rates["loader"], rates[kind], strict=True)) for kind in _LIMITS}
    return {
        "size": size,
        "augmented": augmentation is not None,
        "rows_per_second": {name: statistics.median(each) for name, each in rates.items()},
        "microseconds": {name: statistics.median(each) for name, each in costs.items()},
        "ratio_to_decode": statistics.median(ratios["decode"]),
        "ratio_to_calls": statistics.median(ratios["calls"]),
        "ratios": ratios,
    }


def epoch_seconds(loader: Loader, epoch: int) -> float:
    """Wall-clock seconds from asking for the first batch to having the last one."""
    start = time.perf_counter()
    for batch in loader.batches(epoch):
        assert len(batch)
    return time.perf_counter() - start


@click.command()
@click.option("--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of photos.")
@click.option(
    "--run", "finished", type=click.Path(exists=True, file_okay=False, path_type=Path), help="OUT of a run over them."
)
@click.option("--limit", default=256, show_default=True, type=click.IntRange(1), help="Photos that are run.")
@click.option("--rows", default=4096, show_default=True, type=click.IntRange(1), help="Rows of an epoch.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Loader workers, and bare processes.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(*, photos: Path | None, finished: Path | None, limit: int, rows: int, workers: int, target: Path | None) -> None:
    """Measure and print the ratios."""
    if (photos is None) == (finished is None):
        raise click.UsageError("give --photos, or --run of them")
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run = finished if photos is None else run_photos(photos, limit, folder / "run")
        assert run is not None
        shards = open_shards([str(repeat_pairs(run, rows, folder / "pairs"))], Arm.BOTH)
        sizes = [len(each) for each in some_pictures(shards)]
        figures = {
            "rows": len(shards),
            "side": int(shards.places.sides[0]),
            "median_kilobytes": statistics.median(sizes) / 1e3,
            "workers": workers,
            "cases": [measure(shards, workers, size, augmentation) for size, augmentation in _CASES],
        }
    text = json.dumps(figures, indent=2)
    click.echo(text)
    if target is not None:
        target.write_text(text + "\n")


if __name__ == "__main__":
    main()
