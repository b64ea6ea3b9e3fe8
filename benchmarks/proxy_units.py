"""What normalizing is worth to a classifier of action units whose truth is exact: heads of a rig, in four arms.

    python benchmarks/proxy_units.py ict_facekit.npz work/ --heads 2400 --identities 120 --seeds 3

Heads of people drawn at random show expressions whose weights are known; by the table of `normpipe.synthetic.units` these are
intensities of *proxy* action units, not FACS coding. The pictures go through `normpipe run` with each normalizer, and
`normpipe classify train` learns from people that are neither those it is watched nor those it is tested on. It only sees `near`
pictures; half of the tested ones are `far`: angles, light and backgrounds that no picture to learn from has. WORK keeps
everything, and the same command goes on from there.

The weights of norface were fitted on heads of the same rig (other people, skins and expressions at random), so its figures here
flatter it; so do those of the network `norface-embedded`, whose backbone starts as its encoder. mean_face knows the rig's heads
by their poses alone.
"""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import click
import cv2
import numpy as np
import pyarrow.parquet as pq
import yaml

from normpipe.audit.groups import Floats, Names
from normpipe.audit.intervals import Bootstrap
from normpipe.batches import Image
from normpipe.classify.arms import NORMALIZED, Arm
from normpipe.classify.labels import LabelSpace, Targets, Task
from normpipe.classify.metrics import Metric
from normpipe.classify.scores import Estimate, Judged, Score, differences, evaluate, score_json
from normpipe.config import Detect
from normpipe.faces import build_detector, build_landmarker
from normpipe.normalizers.mean_face.model import load_model
from normpipe.records import Status
from normpipe.synthetic.heads import HeadRig
from normpipe.synthetic.paint import fit_face_atlas
from normpipe.synthetic.portraits import FAR, NEAR, picture, random_person
from normpipe.synthetic.units import intensities, random_weights

NORMALIZERS = ("mean_face", "norface")
NETWORKS: dict[str, tuple[str, ...]] = {
    "norface": ("network.kind=norface",),
    "lnl": ("network.kind=lnl",),
    "norface-embedded": ("network.kind=norface", "pretrained=embedded", "size=128"),
}
"""Keys of the training file that make each network."""

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 24, 26)
"""What is learnt: the units of the table that BP4D or DISFA annotates. The others are seen, and nobody asks for them."""

SHOWN: dict[Task, tuple[Metric, ...]] = {
    Task.AU: (Metric.F1, Metric.AUC),
    Task.AU_INTENSITY: (Metric.ICC, Metric.MSE, Metric.MAE),
}
WATCHED = {Task.AU: Metric.AUC, Task.AU_INTENSITY: Metric.ICC}
"""By which the best epoch is chosen on the validation people: a network that learns slowly has an F1 of 0 for long."""

_TASKS = [task.value for task in SHOWN]
ACTIVE_FROM = 2.0  # as on DISFA
CONTRASTS = ((Arm.BOTH, Arm.TWICE), (Arm.NORMALIZED, Arm.ORIGINAL))

_SHARES = {"train": 0.6, "validation": 0.1, "test": 0.3}  # of the people
_DATASET = "proxy"
_ALL, _NEAR, _FAR = "all", "near", "far"
_PERSON, _PICTURE = range(2)  # what a generator is for
_QUALITY = 95
_SHARD = "256"  # rows: enough shards for some workers


Record = dict[str, object]
"""A line of the table: what it is about, a value and its interval for each metric, and all that is known in `details`."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One training: what is learnt, by which network, from which pictures, with which seed."""

    task: Task
    network: str
    normalizer: str
    arm: Arm
    seed: int

    def __str__(self) -> str:
        return f"{self.task}-{self.network}-{self.normalizer}-{self.arm}-{self.seed}"


@dataclass(frozen=True, slots=True)
class Tested:
    """Scores of the rows that are tested, in the order of their names.

    Attributes:
        samples: (n,) names.
        people: (n,) whose they are.
        truth: (n, C) labels, all known.
        scores: (n, C).
    """

    samples: Names
    people: Names
    truth: Floats
    scores: Floats


def draw(rig_file: Path, folder: Path, heads: int, identities: int, seed: int) -> None:
    """Render the pictures and write labels.csv, which has a column for each unit of the table."""
    table, photos, about = folder / "labels.csv", folder / "photos", folder / "heads.json"
    drawn = json.dumps({"heads": heads, "identities": identities, "seed": seed}) + "\n"
    if about.exists() and about.read_text(encoding="utf-8") != drawn:
        raise click.ClickException("WORK holds other heads: name another folder, or the numbers that it was begun with")
    if table.exists():
        return
    photos.mkdir(parents=True, exist_ok=True)
    about.write_text(drawn, encoding="utf-8")
    rig = HeadRig.load(rig_file)
    atlas = _average_skin(rig)
    ends = np.rint(np.cumsum(list(_SHARES.values())) * identities)
    rows = []
    with click.progressbar(range(identities), label="people", show_pos=True) as bar:
        for who in bar:
            person = random_person(rig, atlas, np.random.default_rng([seed, _PERSON, who]))
            split = list(_SHARES)[int(np.searchsorted(ends, who, side="right"))]
            for number in range(heads // identities):
                random = np.random.default_rng([seed, _PICTURE, who, number])
                far = split == "test" and number % 2 == 1
                weights = random_weights(random)
                name = f"p{who:03d}-{number:03d}-{_FAR if far else _NEAR}"
                _write(photos / f"{name}.jpg", picture(person, weights, FAR if far else NEAR, random).image)
                truth = {f"au_intensity_{unit:02d}": f"{value:.4f}" for unit, value in intensities(weights).items()}
                rows.append({"sample_id": name, "uri": f"{name}.jpg", "subject": f"p{who:03d}", "split": split, **truth})
    started = table.with_suffix(".started")
    with started.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    started.replace(table)


def _average_skin(rig: HeadRig) -> Image:
    """The average face of mean_face, painted on the rig."""
    model = load_model()
    detector, landmarker = build_detector(Detect(), "cpu"), build_landmarker(Detect(), "cpu")
    return fit_face_atlas(rig, model.texture, model.atlas_points * model.texture.shape[0], detector, landmarker)


def _write(file: Path, image: Image) -> None:
    if not cv2.imwrite(str(file), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]):
        raise click.ClickException(f"{file.name}: cannot be written")


def normpipe(*arguments: str | Path) -> None:
    """Run a command of normpipe, quietly unless it fails."""
    done = subprocess.run([sys.executable, "-m", "normpipe", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"normpipe {' '.join(map(str, arguments[:2]))}: {done.stderr.strip()}")


def normalized(folder: Path, normalizers: Sequence[str], workers: int) -> None:
    """The manifest, and a run of each normalizer on the faces of the first."""
    manifest = folder / "manifest.parquet"
    normpipe("manifest", "build", "table", folder / "photos", "--table", folder / "labels.csv", "-o", manifest,
             "--dataset", _DATASET)  # fmt: skip
    first = folder / NORMALIZERS[0]
    for name in dict.fromkeys((NORMALIZERS[0], *normalizers)):
        known = ("--faces", first) if name != NORMALIZERS[0] else ()
        normpipe("run", manifest, folder / name, "--root", folder / "photos", "--normalizer", name,
                 "--shard-size", _SHARD, "--workers", str(workers), *known)  # fmt: skip


def found(folder: Path) -> dict[str, float]:
    """Share of the heads that were found, by split and kind of picture."""
    rows = pq.read_table(folder / NORMALIZERS[0] / "shards", columns=["sample_id", "split", "status"]).to_pylist()
    groups: dict[str, list[bool]] = {}
    for row in rows:
        group = f"{row['split']} {row['sample_id'].rpartition('-')[2]}"
        groups.setdefault(group, []).append(row["status"] == Status.OK)
    return {group: float(np.mean(each)) for group, each in sorted(groups.items())}


def cells(tasks: Sequence[Task], networks: Sequence[str], normalizers: Sequence[str], seeds: int) -> list[Cell]:
    """All trainings, those of one seed before those of the next; arms without normalized pictures are trained once."""
    return [
        Cell(task, network, normalizer, arm, seed)
        for seed, task, network, normalizer, arm in product(range(seeds), tasks, networks, normalizers, Arm)
        if NORMALIZED in arm.columns or normalizer == normalizers[0]
    ]


def train(folder: Path, wanted: Sequence[Cell], settings: Sequence[str], jobs: int) -> None:
    """One `normpipe classify train` for each cell, `jobs` at a time; what is trained already ends at once."""
    for task in sorted({cell.task for cell in wanted}):
        (folder / f"{task}.yaml").write_text(yaml.safe_dump(_protocol(task), sort_keys=False), encoding="utf-8")

    def one(cell: Cell) -> None:
        keys = (
            f"data=[{json.dumps(str(folder / cell.normalizer))}]",
            f"protocol={json.dumps(str(folder / f'{cell.task}.yaml'))}",
            f"arm={cell.arm}",
            f"seed={cell.seed}",
            *NETWORKS[cell.network],
            *settings,
        )
        out = folder / "trainings" / str(cell)
        config = folder / "training.yaml"
        normpipe("classify", "train", config, "-o", out, *(word for key in keys for word in ("--set", key)))
        click.echo(f"{cell}", err=True)

    base = {"version": 1, "data": ["."], "protocol": "au-kfold", "draws": 0}
    (folder / "training.yaml").write_text(yaml.safe_dump(base), encoding="utf-8")
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, wanted))


def _protocol(task: Task) -> dict[str, object]:
    """A protocol file: people apart by the column split; judged by the weights that are best on the validation people."""
    return {
        "version": 1,
        "name": f"proxy-{task.value.replace('_', '-')}",
        "task": task.value,
        "labels": [f"AU{unit:02d}" for unit in UNITS],
        "metric": WATCHED[task].value,
        "note": "proxy action units of rig heads, not FACS coding",
        "datasets": {_DATASET: {"active_from": ACTIVE_FROM} if task is Task.AU else {}},
        "splits": {split: [split] for split in _SHARES},
    }


def tested(folder: Path, cell: Cell) -> Tested:
    """What a training says of the rows that it is tested on, by its best weights."""
    (file,) = (folder / "trainings" / str(cell)).glob("*/predictions.parquet")
    table = pq.read_table(file, filters=[("side", "=", "test"), ("weights", "=", "best")]).sort_by("sample_id")
    truth, scores = (np.array(table[name].to_pylist(), np.float32) for name in ("truth", "scores"))
    samples, people = (np.array(table[name].to_pylist(), np.str_) for name in ("sample_id", "subject"))
    return Tested(samples, people, truth, scores)


def figures(folder: Path, wanted: Sequence[Cell], draws: int) -> list[Record]:
    """Evaluations of every arm and differences between arms: of all tested pictures, the near and the far ones.

    Seeds are repetitions of one classifier: a figure is their mean, its interval is over people.
    """
    bootstrap = Bootstrap(draws=draws) if draws else None
    records: list[Record] = []
    for task, network in dict.fromkeys((cell.task, cell.network) for cell in wanted):
        read = {cell: tested(folder, cell) for cell in wanted if (cell.task, cell.network) == (task, network)}
        shared = set.intersection(*(set(each.samples.tolist()) for each in read.values()))
        for where in (_ALL, _NEAR, _FAR):
            samples = np.array(sorted(name for name in shared if where in (_ALL, name.rpartition("-")[2])), np.str_)
            about: Record = {"task": task.value, "network": network, "pictures": where, "rows": len(samples)}
            records += [about | each for each in _compared(task, read, samples, bootstrap)]
    return records


def _compared(task: Task, read: Mapping[Cell, Tested], samples: Names, bootstrap: Bootstrap | None) -> Iterator[Record]:
    """What the arms of one network say of some samples."""
    space = LabelSpace(task, tuple(f"AU{unit:02d}" for unit in UNITS))
    arms: dict[tuple[str, Arm], list[Floats]] = {}
    for cell, each in read.items():
        rows = np.searchsorted(each.samples, samples)
        arms.setdefault((cell.normalizer, cell.arm), []).append(each.scores[rows])
        truth, people = each.truth[rows], each.people[rows]
    judged = Judged(Targets(truth, np.ones(truth.shape, np.bool_), np.ones(len(truth), np.float32)), people)
    for (normalizer, arm), scores in arms.items():
        evaluation = evaluate(space, scores, judged, bootstrap=bootstrap)
        yield {"normalizer": normalizer, "arm": arm.value, "seeds": len(scores), **_shown(task, evaluation.scores),
               "details": score_json(evaluation)}  # fmt: skip
    first = next(normalizer for normalizer, _ in arms)  # whose originals are those of all
    for normalizer, (arm, minus) in product(dict.fromkeys(name for name, _ in arms), CONTRASTS):
        one, other = arms[normalizer, arm], arms[first, minus]
        gap = differences(space, one, other, judged, bootstrap=bootstrap)
        yield {"normalizer": normalizer, "arm": f"{arm} - {minus}", "seeds": len(one), **_shown(task, gap),
               "details": score_json(gap)}  # fmt: skip


def _shown(task: Task, scores: Mapping[Metric, Score]) -> Record:
    return {metric.value: _estimate(scores[metric].overall) for metric in SHOWN[task]}


def _estimate(estimate: Estimate | None) -> list[float | None] | None:
    """Value and interval."""
    return None if estimate is None else [estimate.value, estimate.low, estimate.high]


def lines(records: Sequence[Record]) -> list[str]:
    """The table."""
    text: list[str] = []
    before = ""
    for record in records:
        task = Task(str(record["task"]))
        about = f"{task}, {record['network']}, {record['rows']} pictures ({record['pictures']}), {record['seeds']} seed(s)"
        if about != before:
            text.append(f"\n{about:64}" + "".join(f"{metric.value:^26}" for metric in SHOWN[task]))
            before = about
        numbers = "".join(f"{_number(record[metric.value]):^26}" for metric in SHOWN[task])
        text.append(f"    {record['normalizer']!s:14}{record['arm']!s:46}{numbers}")
    return text


def _number(estimate: object) -> str:
    if not isinstance(estimate, list):
        return "none"
    value, low, high = estimate
    return f"{value:+.3f}" if low is None else f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


@click.command()
@click.argument("rig", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("work", type=click.Path(file_okay=False, path_type=Path))
@click.option("--heads", default=2400, show_default=True, type=click.IntRange(1), help="Pictures.")
@click.option("--identities", default=120, show_default=True, type=click.IntRange(10), help="People in them.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of people and pictures.")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1), help="Trainings of each cell, from seed 0.")
@click.option("--task", "tasks", multiple=True, type=click.Choice(_TASKS), default=_TASKS, help="Repeatable. [both]")
@click.option("--network", "networks", multiple=True, type=click.Choice(list(NETWORKS)), default=["norface", "lnl"],
              show_default=True, help="Repeatable.")  # fmt: skip
@click.option("--normalizer", "normalizers", multiple=True, type=click.Choice(NORMALIZERS), default=NORMALIZERS,
              help="Repeatable. [both]")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Key of every training file, e.g. epochs=20.")
@click.option("--draws", default=1000, show_default=True, help="Of people, for the intervals; 0 for none.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Trainings, and workers of runs, at a time.")
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here.")
def main(
    *,
    rig: Path,
    work: Path,
    heads: int,
    identities: int,
    seed: int,
    seeds: int,
    tasks: tuple[str, ...],
    networks: tuple[str, ...],
    normalizers: tuple[str, ...],
    settings: tuple[str, ...],
    draws: int,
    jobs: int,
    output: Path | None,
) -> None:
    """Draw heads of RIG, run normpipe on them and train classifiers, all in the folder WORK."""
    if heads < identities:
        raise click.UsageError("--heads: everybody needs a picture at least; ask for more, or for fewer --identities")
    work = work.absolute()
    draw(rig, work, heads, identities, seed)
    normalized(work, normalizers, jobs)
    shares = found(work)
    wanted = cells([Task(task) for task in tasks], networks, normalizers, seeds)
    train(work, wanted, settings, jobs)
    records = figures(work, wanted, draws)
    click.echo("found: " + ", ".join(f"{group} {share:.1%}" for group, share in shares.items()))
    click.echo("\n".join(lines(records)))
    if output is not None:
        document = {"found": shares, "settings": settings, "figures": records}
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
