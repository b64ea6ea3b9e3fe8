"""How fast the network draws, against what the machine's matrix products allow, and what bounds a run with it.

    python benchmarks/norface_speed.py pipelines/train-norface-tiny.yaml pipelines/train-norface-small.yaml --photos photos/

The networks of the training files are made with random weights, which cost what trained ones do. For each: multiplications and
additions per face as torch counts them; faces per second of the network alone, and the share of the machine's matrix rate that
this is; faces per second of the whole normalizer and what its parts cost; and, with photos, frames per second of `normpipe run`
with it and with mean_face, and the stage that takes most of the time. Rates are measured in turns, since a machine's speed
drifts; medians count.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from normpipe.engine.threads import limit_environment

limit_environment()  # before numpy is imported

import click  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from normpipe.batches import AlignedFace  # noqa: E402
from normpipe.config import Execution, Normalize, Pipeline  # noqa: E402
from normpipe.faces.build import build_landmarker  # noqa: E402
from normpipe.faces.looks import seen_twice  # noqa: E402
from normpipe.normalizers.mean_face import MeanFace  # noqa: E402
from normpipe.normalizers.norface.normalizer import Norface  # noqa: E402
from normpipe.normalizers.norface.pipeline import NorfacePipeline  # noqa: E402
from normpipe.stages.align import template  # noqa: E402
from normpipe.training.norface.config import load_training  # noqa: E402
from normpipe.training.norface.network import new_network  # noqa: E402

_ROUNDS = 7
_MATRIX = {"cpu": 1536, "cuda": 8192}  # rows of the square matrices that the machine's rate is measured with


def rate(work: Callable[[], object], device: str) -> float:
    """Calls per second, the device done with each."""
    started, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - started < 0.5:
        work()
        calls += 1
        if device == "cuda":
            torch.cuda.synchronize()
    return calls / (time.perf_counter() - started)


def in_turns(works: dict[str, Callable[[], object]], device: str) -> dict[str, float]:
    """Median calls per second of each."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(_ROUNDS):
        for name, work in works.items():
            found[name].append(rate(work, device))
    return {name: statistics.median(rates) for name, rates in found.items()}


def faces_of(count: int, size: int) -> list[AlignedFace]:
    """Crops of noise with the template's landmarks: what is in a crop decides about no time."""
    random = np.random.default_rng(0)
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float32)
    points = template(size, Pipeline().align.margin)
    crops = [random.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(count)]
    return [AlignedFace(crop, points, np.zeros(3, np.float32), corners) for crop in crops]


def drawing_flops(network: NorfacePipeline) -> float:
    """Multiplications and additions that one face costs in the layers with weights."""
    side, own = int(network.encoder.config["side"]), int(network.layout.config["own"])
    picture, measured = torch.zeros(1, 3, side, side), torch.zeros(1, own)
    with torch.inference_mode():
        target = network.encoder(picture)
        with FlopCounterMode(display=False) as counter:
            network.decoder(network.merger(network.encoder(picture), measured, target, torch.ones(1)))
    return float(counter.get_total_flops())


def measure(weights: Path, device: str, batch: int, size: int) -> dict[str, float]:
    """Rates of a saved network and of the parts of its normalizer, faces per second, beside the machine's matrix rate."""
    pipeline = Pipeline(
        size=size,
        normalize=Normalize(normalizer="norface", weights=str(weights), batch=batch),
        execution=Execution(device="cuda" if device == "cuda" else "cpu"),
    )
    normalizer, common = Norface(pipeline), MeanFace(Pipeline(size=size))
    normalizer.prepare(device)
    common.prepare(device)
    landmarker = build_landmarker(pipeline.detect, device)
    network = NorfacePipeline.from_pretrained(weights)
    flops = drawing_flops(network)
    network.to(device)
    network.speed_up(half=device == "cuda")
    faces = faces_of(batch, size)
    side = int(network.encoder.config["side"])
    matrix = torch.randn(_MATRIX[device], _MATRIX[device], device=device)
    matrix = matrix.bfloat16() if device == "cuda" else matrix
    crops = torch.zeros(batch, side, side, 3, device=device).permute(0, 3, 1, 2)
    strength = torch.full((1,), 0.5, device=device)
    own = torch.zeros(batch, int(network.layout.config["own"]), device=device)

    def layers() -> None:
        with torch.inference_mode():
            network._drawing(network._reader(crops, own, strength))

    found = in_turns(
        {
            "matrix products": lambda: matrix @ matrix,
            "network": layers,
            "second look": lambda: [seen_twice(face, landmarker) for face in faces],
            "measuring": lambda: [network.layout.measured(face) for face in faces],
            "normalizer": lambda: normalizer.normalize(faces),
            "mean_face": lambda: common.normalize(faces),
        },
        device,
    )
    matrix_flops = 2 * _MATRIX[device] ** 3 * found.pop("matrix products")
    per_second = {name: batch * calls for name, calls in found.items()}
    return {
        "parameters_in_millions": sum(p.numel() for p in network.encoder.parameters()) / 1e6
        + sum(p.numel() for p in network.merger.parameters()) / 1e6
        + sum(p.numel() for p in network.decoder.parameters()) / 1e6,
        "gigaflops_per_face": flops / 1e9,
        "matrix_gigaflops_per_second": matrix_flops / 1e9,
        "share_of_matrix_rate": flops * per_second["network"] / matrix_flops,
        **{f"{name}_per_second": value for name, value in per_second.items()},
    }


def run_stages(photos: Path, settings: list[str], device: str) -> dict[str, float]:
    """Milliseconds per frame of each stage of a run in one process, from its summary."""
    words = [word for setting in settings for word in ("--set", setting)]
    with TemporaryDirectory() as temporary:
        out = Path(temporary) / "out"
        command = [sys.executable, "-m", "normpipe", "run", photos, out, "--workers", "1", "--device", device, *words]
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
        summary = json.loads((out / "run.json").read_text())
    return {name: 1000 * seconds / summary["rows"] for name, seconds in summary["seconds_by_stage"].items()}


@click.command()
@click.argument("trainings", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--batch", default=16, show_default=True)
@click.option("--size", default=256, show_default=True, help="Pixels of the pictures.")
@click.option("--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder for whole runs.")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here too.")
def main(*, trainings: tuple[Path, ...], device: str, batch: int, size: int, photos: Path | None, target: Path | None) -> None:
    """Measure and print."""
    figures: dict[str, dict[str, float]] = {}
    with TemporaryDirectory() as temporary:
        for training in trainings:
            weights = Path(temporary) / training.stem
            new_network(load_training(training)).save_pretrained(weights)
            figures[training.stem] = measure(weights, device, batch, size)
            if photos is not None:
                settings = ["normalize.normalizer=norface", f"normalize.weights={weights}", f"normalize.batch={batch}"]
                stages = run_stages(photos, settings, device)
                figures[training.stem] |= {f"run_{name}_milliseconds": value for name, value in stages.items()}
        if photos is not None:
            stages = run_stages(photos, [], device)
            figures["mean_face"] = {f"run_{name}_milliseconds": value for name, value in stages.items()}
    text = json.dumps(
        {name: {key: round(value, 4) for key, value in found.items()} for name, found in figures.items()}, indent=2
    )
    click.echo(text)
    if target is not None:
        target.write_text(text + "\n")


if __name__ == "__main__":
    main()
