"""Does a run's size cost time before it starts, or memory while it goes on?

    python benchmarks/scale.py --photos congress-portraits start --rows 10000000 --json start.json
    python benchmarks/scale.py --photos congress-portraits flat --rows 100000 --workers 2 --json flat.json
    python benchmarks/scale.py --photos congress-portraits audit --rows 100000 --identity identity.onnx --json audit.json

The photos are repeated at random, under ids of their own, until the manifest has the rows asked for. **start** gives the
manifest to `normpipe run`, takes the time until the plan is written, until the first shard is started and, with
`--until committed`, until it is committed, ends the run with SIGTERM, and tells the most memory that the driver and each of its
processes ever held. **flat** lets the run end and fits lines to memory over rows done, without the first part, in which caches
and allocators fill: their slopes say what ten thousand more rows cost. **audit** audits such a run, and tells the time of
measuring and of the statistics and the most memory that any process ever held. Memory is that of /proc (Linux).
"""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from normpipe.audit.task import AUDIT_FOLDER
from normpipe.engine.plan import PLAN_FILE
from normpipe.engine.progress import PROGRESS_FILE
from normpipe.engine.summary import RUN_FILE
from normpipe.records import EMOTIONS
from normpipe.shards.commits import JOURNAL_FOLDER
from normpipe.sources.folder import build_folder
from normpipe.sources.root import Root
from normpipe.stages.parts import FACES_FOLDER

_BLOCK_ROWS = 1_000_000
_POLL_SECONDS = 0.1
_WARM_UP = 0.2  # part of the rows whose memory is not fitted
_MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Setting:
    """What all measurements share.

    Attributes:
        photos: Folder of photos.
        rows: Rows of the manifest.
        workers: Worker processes.
        settings: Pipeline keys, as for `normpipe run`.
        folder: Where the manifest and the run are kept meanwhile.
    """

    photos: Path
    rows: int
    workers: int
    settings: tuple[str, ...]
    folder: Path

    @property
    def manifest(self) -> Path:
        """The generated manifest."""
        return self.folder / "manifest.parquet"

    @property
    def out(self) -> Path:
        """The run's folder."""
        return self.folder / "run"


@dataclass(frozen=True, slots=True)
class Moment:
    """Resident memory at one moment, in bytes: of the driver, of the largest of its processes, and of all these together."""

    seconds: float
    rows: int
    driver: int
    largest: int
    children: int


@dataclass(frozen=True, slots=True)
class Line:
    """Memory over rows, in MB, after the warm-up."""

    first: float
    most: float
    last: float
    per_10000_rows: float


@dataclass(frozen=True, slots=True)
class Flat:
    """A whole run: its time, a line for the driver, its largest process and all of these, and what they were fitted to."""

    rows: int
    workers: int
    seconds: float
    megabytes: dict[str, Line]
    moments: list[Moment]


def write_repeated(photos: Path, rows: int, target: Path) -> None:
    """Write a manifest of `rows` rows that name photos at random, each row under an id of its own, with labels at random."""
    names = build_folder(Root(str(photos))).table["uri"].combine_chunks()
    subjects = pa.array([f"person-{number:05d}" for number in range(len(names))])
    random = np.random.default_rng(0)
    with ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for start in range(0, rows, _BLOCK_ROWS):
            count = min(_BLOCK_ROWS, rows - start)
            chosen = pa.array(random.integers(len(names), size=count))
            numbers = pc.utf8_lpad(pa.array(np.arange(start, start + count)).cast(pa.string()), 9, "0")
            block = pa.table(
                {
                    "sample_id": pc.binary_join_element_wise(names.take(chosen), numbers, "#"),
                    "uri": names.take(chosen),
                    "subject": subjects.take(chosen),
                    "emotion": pa.array(EMOTIONS).take(pa.array(random.integers(len(EMOTIONS), size=count))),
                    "valence": random.uniform(-1, 1, count).astype(np.float32),
                    "arousal": random.uniform(-1, 1, count).astype(np.float32),
                    "au_occurrence_12": random.integers(2, size=count, dtype=np.int8),
                    "au_intensity_12": random.uniform(0, 5, count).astype(np.float32),
                }
            )
            writer = writer or stack.enter_context(pq.ParquetWriter(target, block.schema))
            writer.write_table(block)


def run_command(setting: Setting) -> list[str]:
    """`normpipe run` on the generated manifest."""
    command = ["run", str(setting.manifest), str(setting.out), "--root", str(setting.photos.absolute())]
    return [*command, f"--workers={setting.workers}", *(f"--set={item}" for item in setting.settings)]


@contextmanager
def running(setting: Setting, command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A command of normpipe; what is left of it at the end is ended."""
    words = [sys.executable, "-m", "normpipe", *command]
    with _output(setting).open("wb") as output, subprocess.Popen(words, stdout=output, stderr=output) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(120)


def measure_start(setting: Setting, until: str) -> dict[str, object]:
    """Time and memory up to the first shard."""
    marks = {
        "planned": (setting.out, PLAN_FILE),
        "started": (setting.out / FACES_FOLDER, "*part-*"),
        "committed": (setting.out / JOURNAL_FOLDER, "part-*.json"),
    }
    reached: dict[str, float] = {}
    driver = 0
    children: dict[int, int] = {}
    begin = time.perf_counter()
    with running(setting, run_command(setting)) as process:
        while until not in reached:
            if process.poll() is not None:
                raise click.ClickException(f"the run ended by itself:\n{_output(setting).read_text()[-2000:]}")
            for name, (folder, pattern) in marks.items():
                if name not in reached and next(folder.glob(pattern), None) is not None:
                    reached[name] = time.perf_counter() - begin
            driver = max(driver, memory(process.pid, peak=True))
            children |= {child: memory(child, peak=True) for child in descendants(process.pid)}
            time.sleep(_POLL_SECONDS)
        stopped = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        code = process.wait(300)
    return {
        "rows": setting.rows,
        "workers": setting.workers,
        "manifest_megabytes": setting.manifest.stat().st_size / _MEGABYTE,
        "stored_megabytes": (setting.out / "manifest.parquet").stat().st_size / _MEGABYTE,
        "seconds_until": reached,
        "seconds_from_sigterm_to_end": time.perf_counter() - stopped,
        "exit_code": code,
        "driver_peak_megabytes": driver / _MEGABYTE,
        "children_peak_megabytes": sorted((peak / _MEGABYTE for peak in children.values()), reverse=True),
    }


def measure_flat(setting: Setting, every: float) -> Flat:
    """Memory over a whole run."""
    moments = []
    begin = time.perf_counter()
    with running(setting, run_command(setting)) as process:
        while process.poll() is None:
            children = [memory(child) for child in descendants(process.pid)]
            moments.append(
                Moment(
                    time.perf_counter() - begin,
                    rows_done(setting.out),
                    memory(process.pid),
                    max(children, default=0),
                    sum(children),
                )
            )
            time.sleep(every)
        code = process.wait()
    if code:
        raise click.ClickException(f"the run failed:\n{_output(setting).read_text()[-2000:]}")
    # Models load before the first rows; processes leave after the last ones that were told of.
    end = max(moment.rows for moment in moments)
    warm = [moment for moment in moments if _WARM_UP * setting.rows < moment.rows < end]
    lines = {name: fitted(warm, name) for name in ("driver", "largest", "children")}
    return Flat(setting.rows, setting.workers, time.perf_counter() - begin, lines, moments)


def measure_audit(setting: Setting, out: Path, instruments: Sequence[str]) -> dict[str, object]:
    """Time and memory of a whole audit."""
    driver = together = 0
    children: dict[int, int] = {}
    measured = None
    begin = time.perf_counter()
    with running(setting, ["audit", str(out), f"--workers={setting.workers}", *instruments]) as process:
        while process.poll() is None:
            driver = max(driver, memory(process.pid, peak=True))
            living = descendants(process.pid)
            children |= {child: memory(child, peak=True) for child in living}
            together = max(together, sum(memory(each) for each in (process.pid, *living)))
            if measured is None and (out / AUDIT_FOLDER / RUN_FILE).is_file():
                measured = time.perf_counter() - begin
            time.sleep(1)
        code = process.wait()
    if code:
        raise click.ClickException(f"the audit failed:\n{_output(setting).read_text()[-2000:]}")
    whole = time.perf_counter() - begin
    return {
        "rows": setting.rows,
        "workers": setting.workers,
        "seconds_measuring": measured,
        "core_milliseconds_per_row": None if measured is None else 1e3 * measured * setting.workers / setting.rows,
        "seconds_of_statistics": None if measured is None else whole - measured,
        "all_together_peak_megabytes": together / _MEGABYTE,
        "driver_peak_megabytes": driver / _MEGABYTE,
        "children_peak_megabytes": sorted((peak / _MEGABYTE for peak in children.values()), reverse=True),
    }


def fitted(moments: Sequence[Moment], name: str) -> Line:
    """Least-squares line of memory over rows done."""
    if len({moment.rows for moment in moments}) < 3:
        raise click.ClickException("too short a run to fit a line: ask for more --rows or a smaller --every")
    values = np.array([getattr(moment, name) for moment in moments]) / _MEGABYTE
    slope, _ = np.polyfit([moment.rows for moment in moments], values, 1)
    return Line(values[0].item(), values.max().item(), values[-1].item(), 1e4 * float(slope))


def _output(setting: Setting) -> Path:
    return setting.folder / "output.txt"


def rows_done(out: Path) -> int:
    """Rows that the run says it has done."""
    try:
        return int(json.loads((out / PROGRESS_FILE).read_text())["done"])
    except FileNotFoundError:
        return 0


def descendants(pid: int) -> list[int]:
    """All processes below one."""
    below: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _text(listed).split():
            below += [int(child), *descendants(int(child))]
    return below


def memory(pid: int, peak: bool = False) -> int:
    """Resident memory of a process in bytes, or the most it ever was; 0 of one that has ended."""
    found = re.search(rf"{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", _text(Path(f"/proc/{pid}/status")))
    return int(found[1]) * 1024 if found else 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@contextmanager
def prepared(context: click.Context, rows: int, workers: int, settings: tuple[str, ...]) -> Iterator[Setting]:
    """The generated manifest in a folder that is deleted at the end."""
    with TemporaryDirectory(dir=context.obj["scratch"]) as temporary:
        setting = Setting(context.obj["photos"], rows, workers, settings, Path(temporary))
        write_repeated(setting.photos, rows, setting.manifest)
        yield setting


def _show(figures: dict[str, object]) -> None:
    for name, value in figures.items():
        click.echo(f"{name:28} {value if isinstance(value, int) else json.dumps(value)}")


def _save(figures: dict[str, object], target: Path | None) -> None:
    if target is not None:
        target.write_text(json.dumps(figures, indent=2) + "\n")


_settings = click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Pipeline keys, as for `normpipe run`.")
_workers = click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Worker processes.")
_json = click.option("--json", "target", type=click.Path(path_type=Path), help="Write the figures here too.")


@click.group()
@click.option(
    "--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="Folder of photos."
)
@click.option("--scratch", type=click.Path(exists=True, file_okay=False), help="Where to write meanwhile.")
@click.pass_context
def main(context: click.Context, photos: Path, scratch: str | None) -> None:
    """Measure what a run's size costs."""
    context.obj = {"photos": photos, "scratch": scratch}


@main.command()
@click.option("--rows", default=10_000_000, show_default=True, type=click.IntRange(1), help="Rows of the manifest.")
@click.option("--until", default="started", show_default=True, type=click.Choice(["started", "committed"]), help="When to end.")
@_workers
@_settings
@_json
@click.pass_context
def start(context: click.Context, rows: int, until: str, workers: int, settings: tuple[str, ...], target: Path | None) -> None:
    """From the command to the first shard."""
    with prepared(context, rows, workers, settings) as setting:
        figures = measure_start(setting, until)
    _show(figures)
    _save(figures, target)


@main.command()
@click.option("--rows", default=100_000, show_default=True, type=click.IntRange(1), help="Rows of the manifest.")
@click.option("--every", default=1.0, show_default=True, type=click.FloatRange(0.05), help="Seconds between looks at memory.")
@_workers
@_settings
@_json
@click.pass_context
def flat(context: click.Context, rows: int, every: float, workers: int, settings: tuple[str, ...], target: Path | None) -> None:
    """Memory while a whole run goes on."""
    with prepared(context, rows, workers, settings) as setting:
        figures = measure_flat(setting, every)
    click.echo(f"{rows} rows in {figures.seconds:.0f} s with {workers} workers; memory in MB:")
    click.echo(f"{'':10}{'first':>10}{'most':>10}{'last':>10}{'per 10,000 rows':>18}")
    for name, line in figures.megabytes.items():
        click.echo(f"{name:10}{line.first:10.0f}{line.most:10.0f}{line.last:10.0f}{line.per_10000_rows:18.2f}")
    _save(asdict(figures), target)


@main.command()
@click.option("--rows", default=100_000, show_default=True, type=click.IntRange(1), help="Rows of the manifest.")
@click.option("--identity", type=click.Path(exists=True, dir_okay=False), help="Face embedding (ONNX).")
@click.option("--blendshapes", type=click.Path(exists=True, dir_okay=False), help="FaceLandmarker bundle (.task).")
@click.option(
    "--run",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A finished run, not yet audited.",
)
@_workers
@_settings
@_json
@click.pass_context
def audit(
    context: click.Context,
    *,
    rows: int,
    identity: str | None,
    blendshapes: str | None,
    run: Path | None,
    workers: int,
    settings: tuple[str, ...],
    target: Path | None,
) -> None:
    """Time and memory of an audit."""
    given = {"--identity": identity, "--blendshapes": blendshapes}
    instruments = [f"{option}={file}" for option, file in given.items() if file is not None]
    with prepared(context, rows, workers, settings) as setting:
        if run is None:
            with running(setting, run_command(setting)) as process:
                if process.wait():
                    raise click.ClickException(f"the run failed:\n{_output(setting).read_text()[-2000:]}")
        figures = measure_audit(setting, setting.out if run is None else run, instruments)
    _show(figures)
    _save(figures, target)


if __name__ == "__main__":
    main()
