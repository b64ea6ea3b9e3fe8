"""How close a run comes to what its libraries allow, in ratios of one sitting.

    python benchmarks/throughput.py --photos congress-portraits --rows 10000 --json throughput.json

Two ratios. **Kernel**: frames per second of the whole flow in one process (read, hash, decode, detect, align, normalize,
quality, encode, Parquet, fsync) over the frames per second that the bare library calls in it would reach alone. The calls are
not guessed: one pass over the photos records the arguments of every call of OpenCV's decoder, encoder and warps, every network
invocation, and every OpenCV call of the normalizer. They are then made again, alone, in a plain loop, beside the normalizer's
two matrix products and reading, hashing and writing the same bytes. Both sides are measured in turns, a few photos at a time,
since the machine's speed drifts; the median of the ratios counts.
**Scaling**: frames per second of `normpipe run --workers 2`, from the commit that ends the warm-up to the last one, over that
of two kernel processes, each pinned to a core of its own, measured before and after it.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from normpipe.engine.threads import limit_environment

limit_environment()  # before numpy is imported

import click  # noqa: E402
import cv2  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from ai_edge_litert.interpreter import Interpreter  # noqa: E402

from normpipe.batches import Floats, Image  # noqa: E402
from normpipe.config import Pipeline, load_pipeline  # noqa: E402
from normpipe.engine.tasks import Shard  # noqa: E402
from normpipe.normalizers.mean_face import MeanFace  # noqa: E402
from normpipe.shards.commits import JOURNAL_FOLDER, read_commits  # noqa: E402
from normpipe.shards.reader import read_slice  # noqa: E402
from normpipe.sources.inputs import manifest_for_input  # noqa: E402
from normpipe.sources.manifest import TableSource, write_manifest  # noqa: E402
from normpipe.sources.root import Root  # noqa: E402
from normpipe.stages.pairs_run import plan_pairs  # noqa: E402
from normpipe.stages.pairs_task import PairsTask  # noqa: E402
from normpipe.stages.parts import FACES_FOLDER, MANIFEST_FILE, SHARDS_FOLDER, build_models  # noqa: E402

Call = Callable[[], object]

_FIVE_POINTS = ((85, 115), (140, 115), (112, 145), (90, 175), (135, 175))
_KERNEL_ROUNDS = 9
_SCALING_SHARD = 256
_EVERYWHERE = ("imdecode", "imencode", "warpAffine", "resize")


class Recorder:
    """Keeps the library calls of a pass over the photos, to make them again without anything between them."""

    def __init__(self) -> None:
        self.calls: dict[str, list[Call]] = {}
        self._rendering = False

    @contextlib.contextmanager
    def recording(self, task: PairsTask) -> Iterator[None]:
        """Record while the block runs; every function is put back afterwards."""
        with contextlib.ExitStack() as stack:
            for name in dir(cv2):
                function = getattr(cv2, name)
                if type(function).__name__ == "builtin_function_or_method":
                    stack.enter_context(_replaced(cv2, name, self._wrapped(name, function)))
            stack.enter_context(_replaced(Interpreter, "invoke", self._invoking()))
            assert task._models is not None
            normalizer = task._models.normalizer
            stack.enter_context(_replaced(normalizer, "normalize", self._inside(normalizer.normalize)))
            yield

    def _wrapped(self, name: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            if self._rendering or name in _EVERYWHERE:
                label = f"normalizer: cv2.{name}" if self._rendering else f"cv2.{name}"
                self.calls.setdefault(label, []).append(partial(function, *args, **kwargs))
            return function(*args, **kwargs)

        return call

    def _invoking(self) -> Callable[[Interpreter], None]:
        original = Interpreter.invoke

        def invoke(interpreter: Interpreter) -> None:
            side = interpreter.get_input_details()[0]["shape"][1]
            self.calls.setdefault(f"LiteRT invoke {side} px", []).append(partial(original, interpreter))
            original(interpreter)

        return invoke

    def _inside(self, normalize: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object) -> object:
            self._rendering = True
            try:
                return normalize(*args)
            finally:
                self._rendering = False

        return call


@contextlib.contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    own = vars(owner).get(name) if hasattr(owner, "__dict__") else None
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)


def seconds(call: Call) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def bare_calls(task: PairsTask, shard: Shard, folder: Path) -> dict[str, list[Call]]:
    """The library calls that one shard needs, by name."""
    uris = read_slice(task.out / MANIFEST_FILE, shard.start, shard.stop)["uri"].to_pylist()
    contents = [task.root.read(uri) for uri in uris]
    recorder = Recorder()
    with recorder.recording(task):
        task.run(shard, _ignore, {})
    tables = [pq.read_table(task.out / f"{table}/{shard.name}.parquet") for table in (FACES_FOLDER, SHARDS_FOLDER)]
    return {
        "read files": [partial(task.root.read, uri) for uri in uris],
        "sha256": [partial(hashlib.sha256, content) for content in contents],
        "write Parquet": [
            partial(pq.write_table, table, folder / "bare.parquet", compression="none", row_group_size=128) for table in tables
        ],
        **recorder.calls,
        **matrix_products(task, shard.rows),
    }


def matrix_products(task: PairsTask, faces: int) -> dict[str, list[Call]]:
    """The products with thin matrices that mean_face cannot do without; `@` leaves no trace that could be recorded."""
    assert task._models is not None
    normalizer = task._models.normalizer
    if not isinstance(normalizer, MeanFace) or normalizer._model is None:
        return {}
    model = normalizer._model
    chains = (
        (model.pose_effect,),
        (model.shape_in, model.shape_out),
        (model.detail_from_shape,),
        (model.detail_from_detail, model.detail_out),
    )
    return {"normalizer: matrix products": [partial(_product, chain) for chain in chains for _ in range(faces)]}


def _product(chain: Sequence[Floats]) -> Floats:
    product = np.zeros(len(chain[0]), np.float32)
    for factor in chain:
        product = product @ factor
    return product


def measure_kernel(task: PairsTask, shard: Shard, folder: Path) -> dict[str, object]:
    """The kernel against its bare calls, in turns."""
    task.prepare()
    task.run(shard, _ignore, {})
    calls = bare_calls(task, shard, folder)
    rounds, stages, parts = [], [], []
    for _ in range(_KERNEL_ROUNDS):
        start = time.perf_counter()
        result = task.run(shard, _ignore, {})
        kernel = time.perf_counter() - start
        part = {name: sum(seconds(call) for call in each) for name, each in calls.items()}
        rounds.append((shard.rows / kernel, shard.rows / sum(part.values())))
        stages.append(result.seconds_by_stage)
        parts.append(part)
    middle = sorted(range(_KERNEL_ROUNDS), key=lambda index: rounds[index][0] / rounds[index][1])[_KERNEL_ROUNDS // 2]
    return {
        "frames_per_second": rounds[middle][0],
        "bare_frames_per_second": rounds[middle][1],
        "ratio": rounds[middle][0] / rounds[middle][1],
        "ratios": sorted(kernel / bare for kernel, bare in rounds),
        "stage_share": _shares(stages[middle]),
        "bare_ms_per_frame": {name: 1000 * spent / shard.rows for name, spent in sorted(parts[middle].items())},
        "bare_calls_per_frame": {name: len(each) / shard.rows for name, each in sorted(calls.items())},
    }


def pinned_rate(task: PairsTask, shards: Sequence[Shard], cores: Sequence[int]) -> float:
    """Frames per second of kernel processes, one per core, that work at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(cores))
    rates: SimpleQueue[float] = context.SimpleQueue()
    processes = [
        context.Process(target=_pinned, args=(task, shards[place :: len(cores)], core, barrier, rates))
        for place, core in enumerate(cores)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise click.ClickException(f"a kernel process ended with exit code {process.exitcode}")
    return sum(rates.get() for _ in cores)


def _pinned(task: PairsTask, shards: Sequence[Shard], core: int, barrier: Barrier, rates: "SimpleQueue[float]") -> None:
    os.sched_setaffinity(0, {core})
    task.prepare()
    task.run(shards[0], _ignore, {})
    barrier.wait()
    spent = sum(seconds(partial(task.run, shard, _ignore, {})) for shard in shards)
    rates.put(sum(shard.rows for shard in shards) / spent)


def run_rate(manifest: Path, root: Root, out: Path, workers: int, settings: Sequence[str]) -> float:
    """Frames per second of the command, from the commit that ends the warm-up of its workers to the last one."""
    flags = [f"--set={setting}" for setting in settings]
    command = [sys.executable, "-m", "normpipe", "run", str(manifest), str(out), "--root", root.url]
    subprocess.run([*command, f"--workers={workers}", f"--shard-size={_SCALING_SHARD}", *flags], check=True)
    records = read_commits(out / JOURNAL_FOLDER)
    written = [((out / record["files"][-1]["path"]).stat().st_mtime_ns / 1e9, record) for record in records]
    written.sort(key=lambda entry: entry[0])
    first, last = written[workers - 1][0], written[-1][0]
    return float(sum(record["stop"] - record["start"] for _, record in written[workers:]) / (last - first))


def measure_scaling(photos: Path, rows: int, folder: Path, settings: Sequence[str]) -> dict[str, object]:
    """Two workers against two pinned kernels, which are measured before and after."""
    manifest, root = _repeated(photos, rows)
    write_manifest(manifest, folder / "manifest.parquet")
    cores = sorted(os.sched_getaffinity(0))[:2]
    pipeline = load_pipeline(None, [*settings, f"shard_size={_SCALING_SHARD}"])
    task, shards = _kernel(manifest, root, folder / "kernel", pipeline)
    half = shards[: max(2, len(shards) // 4 * 2)]
    before = pinned_rate(task, half, cores)
    command = run_rate(folder / "manifest.parquet", root, folder / "run", len(cores), settings)
    after = pinned_rate(task, half, cores)
    kernels = statistics.mean((before, after))
    return {
        "rows": rows,
        "workers": len(cores),
        "frames_per_second": command,
        "pinned_kernels_frames_per_second": [before, after],
        "ratio": command / kernels,
    }


def _kernel(manifest: pa.Table, root: Root, out: Path, pipeline: Pipeline) -> tuple[PairsTask, Sequence[Shard]]:
    """A task without an engine: folders and manifest in place."""
    for name in (FACES_FOLDER, SHARDS_FOLDER):
        (out / name).mkdir(parents=True)
    planned = plan_pairs(TableSource(manifest), root, out, pipeline, build_models)
    write_manifest(manifest, out / MANIFEST_FILE)
    return planned.task, planned.plan.shards


def _manifest(photos: Path) -> tuple[pa.Table, Root]:
    source, root = manifest_for_input(str(photos))
    return pa.Table.from_batches(source.batches()), root


def _repeated(photos: Path, rows: int) -> tuple[pa.Table, Root]:
    """A manifest of `rows` rows that names every photo several times, under ids of their own."""
    manifest, root = _manifest(photos)
    table = manifest.take(pa.array(np.arange(rows) % manifest.num_rows))
    ids = pa.array([f"{name}#{index}" for index, name in enumerate(table["sample_id"].to_pylist())])
    return table.set_column(0, table.schema.field("sample_id"), ids), root


def _shares(spent: dict[str, float]) -> dict[str, float]:
    total = sum(spent.values())
    return {stage: duration / total for stage, duration in spent.items()}


def _ignore(*_: int) -> None:
    pass


def measure_others(photos: Path, bundle: Path | None, limit: int) -> dict[str, object]:
    """What the per-image APIs of two well-known libraries take on the same photos; detection, landmarks or alignment alone."""
    context = multiprocessing.get_context("spawn")
    rates: SimpleQueue[float] = context.SimpleQueue()
    measured: dict[str, object] = {}
    jobs = {
        "MediaPipe FaceLandmarker.detect": (_mediapipe_rate, bundle, "no --mediapipe-bundle"),
        "insightface norm_crop": (_norm_crop_rate, _FIVE_POINTS, ""),
    }
    for name, (job, argument, missing) in jobs.items():
        if argument is None:
            measured[name] = f"not measured: {missing}"
            continue
        process = context.Process(target=cast("Callable[..., object]", job), args=(argument, photos, limit, rates))
        process.start()
        process.join()
        measured[name] = "not measured: the package does not run here" if process.exitcode else rates.get()
    measured["insightface FaceAnalysis.get"] = "not measured: its model packs are not for redistribution"
    return measured


def _mediapipe_rate(bundle: Path, photos: Path, limit: int, rates: "SimpleQueue[float]") -> None:
    os.environ.update(dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9"))  # it reports usage to its maker
    import mediapipe

    vision = mediapipe.tasks.vision
    options = vision.FaceLandmarkerOptions(base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(bundle)))
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        images = _images(photos, limit)
        pictures = [mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image) for image in images]
        landmarker.detect(pictures[0])
        rates.put(len(images) / sum(seconds(partial(landmarker.detect, picture)) for picture in pictures))


def _norm_crop_rate(points: Sequence[tuple[int, int]], photos: Path, limit: int, rates: "SimpleQueue[float]") -> None:
    from insightface.utils.face_align import norm_crop

    images, landmark = _images(photos, limit), np.array(points, np.float32)
    rates.put(len(images) / sum(seconds(partial(norm_crop, image, landmark)) for image in images))


def _images(photos: Path, limit: int) -> list[Image]:
    manifest, root = _manifest(photos)
    contents = [root.read(uri) for uri in manifest["uri"].to_pylist()[:limit]]
    images = [cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB) for content in contents]
    return [np.asarray(image, np.uint8) for image in images if image is not None]


def describe_photos(photos: Path) -> dict[str, object]:
    """Name, number and size of the photos."""
    manifest, root = _manifest(photos)
    sizes = [len(root.read(uri)) for uri in manifest["uri"].to_pylist()]
    shapes = [image.shape for image in _images(photos, len(sizes))]
    return {
        "name": photos.name,
        "photos": len(sizes),
        "median_kilobytes": statistics.median(sizes) / 1e3,
        "median_width_and_height": [
            statistics.median(shape[1] for shape in shapes),
            statistics.median(shape[0] for shape in shapes),
        ],
    }


@click.command()
@click.option(
    "--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="Folder of photos."
)
@click.option("--kernel-photos", default=64, show_default=True, type=click.IntRange(1), help="Photos of the kernel's ratio.")
@click.option(
    "--rows", default=10_000, show_default=True, type=click.IntRange(0), help="Rows of the scaling run; 0 leaves it out."
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Pipeline keys, as for `normpipe run`.")
@click.option("--mediapipe-bundle", type=click.Path(exists=True, path_type=Path), help="face_landmarker.task, to compare with.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(
    *,
    photos: Path,
    kernel_photos: int,
    rows: int,
    settings: tuple[str, ...],
    mediapipe_bundle: Path | None,
    target: Path | None,
) -> None:
    """Measure and print the ratios."""
    figures: dict[str, object] = {"photos": describe_photos(photos)}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        manifest, root = _manifest(photos)
        pipeline = load_pipeline(None, [*settings, f"shard_size={kernel_photos}"])
        task, shards = _kernel(manifest, root, folder / "alone", pipeline)
        figures["kernel"] = measure_kernel(task, shards[0], folder)
        figures["others_frames_per_second"] = measure_others(photos, mediapipe_bundle, 4 * kernel_photos)
        if rows:
            figures["scaling"] = measure_scaling(photos, rows, folder, settings)
    text = json.dumps(figures, indent=2)
    click.echo(text)
    if target is not None:
        target.write_text(text + "\n")


if __name__ == "__main__":
    main()
