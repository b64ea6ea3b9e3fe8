"""What does a release cost beside copying and hashing the same bytes?

A run is written with drawn pictures of the size that normpipe writes (256 pixels, JPEG 92), with labels and people; then its
parts are copied, hashed and synced one after the other, and then `normpipe release build` makes a release of them, in turns.
The ratio is seconds of the copy over seconds of the build, as wall clock (the build writes several files at once) and as
processor time. The largest memory of the build is its process's.
"""

import hashlib
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import cv2
import numpy as np
import pyarrow as pa

from normpipe.engine.fingerprint import Fingerprint
from normpipe.engine.journal import Journal
from normpipe.engine.plan import Plan, write_plan
from normpipe.engine.tasks import OutputFile, ShardResult
from normpipe.records import EMOTIONS, PAIRS_SCHEMA
from normpipe.shards.writer import ShardWriter

_SHARD_ROWS = 2048
_PICTURES = 512
_PEOPLE = 300
_BLOCK = 1 << 20
_TERMS = "dataset: drawn\nlicence: CC0-1.0\npass_on: [pairs, normalized, labels]\n"
_COLUMNS = ("yaw", "pitch", "roll", "detector_score", "landmark_score", "eye_distance", "sharpness", "brightness", "contrast")


def drawn_pictures(count: int) -> list[bytes]:
    """JPEGs of 8.7 kB; aligned photographs and their normalized faces have 8.5 kB on average."""
    random = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_CUBIC)
        sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
        pictures.append(cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 92, *sampling])[1].tobytes())
    return pictures


def write_run(out: Path, rows: int) -> Path:
    """A finished run of drawn pairs."""
    random = np.random.default_rng(1)
    pictures = drawn_pictures(_PICTURES)
    plan = Plan(rows, _SHARD_ROWS, Fingerprint({"manifest": "0" * 64}), "normpipe benchmark")
    (out / "shards").mkdir(parents=True)
    write_plan(out, plan)
    journal = Journal(out, plan.fingerprint.digest)
    journal.open()
    for shard in plan.shards:
        path = out / "shards" / f"{shard.name}.parquet"
        with ShardWriter(path, PAIRS_SCHEMA) as writer:
            for first in range(shard.start, shard.stop, 128):
                numbers = range(first, min(first + 128, shard.stop))
                made = [_row(number, pictures, random) for number in numbers]
                writer.append(pa.RecordBatch.from_pylist(made, schema=PAIRS_SCHEMA))
        file = OutputFile(f"shards/{path.name}", writer.written.sha256, writer.written.size)
        journal.commit(shard, ShardResult((file,), shard.rows, shard.rows))
    journal.compact()
    return out


def _row(number: int, pictures: list[bytes], random: np.random.Generator) -> dict[str, object]:
    numbers = random.integers(0, len(pictures), 2)
    return {
        "sample_id": f"clip-{number // 100:05d}/{number:07d}.jpg",
        "face_index": 0,
        "original": {"bytes": pictures[numbers[0]], "path": None},
        "normalized": {"bytes": pictures[numbers[1]], "path": None},
        "dataset": "drawn",
        "subject": f"person-{number % _PEOPLE:03d}",
        "split": ("train", "validation", "test")[(10 * number // 200_000) % 3],
        "status": "ok",
        "emotion": EMOTIONS[number % len(EMOTIONS)],
        "box": random.random(4).tolist(),
        "five_points": random.random(10).tolist(),
        "content_sha256": f"{number:064x}",
        **dict(zip(_COLUMNS, random.random(len(_COLUMNS)).tolist(), strict=True)),
    }


def copied(run: Path, target: Path) -> tuple[float, float]:
    """Seconds of wall clock and of processor for copying and hashing the parts of a run."""
    target.mkdir()
    start, used = time.perf_counter(), time.process_time()
    for part in sorted((run / "shards").iterdir()):
        digest = hashlib.sha256()
        with part.open("rb") as source, (target / part.name).open("wb") as copy:
            while block := source.read(_BLOCK):
                digest.update(block)
                copy.write(block)
            copy.flush()
            os.fsync(copy.fileno())
    seconds = time.perf_counter() - start, time.process_time() - used
    shutil.rmtree(target)
    return seconds


def built(run: Path, folder: Path, jobs: int) -> tuple[float, float, int]:
    """Seconds of wall clock and of processor, and the largest memory in bytes, of building a release."""
    (folder / "terms.yaml").write_text(_TERMS)
    (folder / "key").write_text(secrets.token_hex(32))
    (folder / "key").chmod(0o600)
    arguments = [str(run), "-o", str(folder / "release"), "--name", "drawn", "--version", "1.0.0", "--jobs", str(jobs)]
    arguments += ["--terms", str(folder / "terms.yaml"), "--key-file", str(folder / "key"), "--override-audit"]
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "normpipe", "release", "build", *arguments], stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit("the build failed")
    shutil.rmtree(folder / "release")
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


@click.command()
@click.option("--rows", default=100_000, show_default=True, type=click.IntRange(1), help="Rows of the release.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Turns; the median counts.")
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1), help="Files that the build writes at once.")
@click.option("--scratch", type=click.Path(exists=True, file_okay=False), help="Where there is room for three times the run.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(*, rows: int, rounds: int, jobs: int, scratch: str | None, target: Path | None) -> None:
    """Measure and print the ratios."""
    with TemporaryDirectory(dir=scratch) as temporary:
        folder = Path(temporary)
        run = write_run(folder / "run", rows)
        size = sum(part.stat().st_size for part in (run / "shards").iterdir())
        turns = [(copied(run, folder / "copy"), built(run, folder, jobs)) for _ in range(rounds)]
    figures = {
        "rows": rows,
        "gigabytes": size / 1e9,
        "jobs": jobs,
        "copy_seconds": statistics.median(copy[0] for copy, _ in turns),
        "build_seconds": statistics.median(build[0] for _, build in turns),
        "ratio": statistics.median(copy[0] / build[0] for copy, build in turns),
        "ratio_processor": statistics.median(copy[1] / build[1] for copy, build in turns),
        "largest_megabytes": max(build[2] for _, build in turns) / 1e6,
    }
    text = json.dumps(figures, indent=2)
    click.echo(text)
    if target is not None:
        target.write_text(text + "\n")


if __name__ == "__main__":
    main()
