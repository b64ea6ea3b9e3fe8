"""From a training file to what its parts are worth: every variant trained with every seed, floors fitted, all of it compared.

    OUT/VARIANT/seed-S/     a training of its own, see session.py
    OUT/floor-VARIANT/      what the plain classifier says of the same pictures
    OUT/ablation.json       all figures
    OUT/ablation.md         the tables
    OUT/plots/              the same to look at

Every cell of the grid is taken up where it was left and does not know of the others, so several processes or jobs share an OUT,
each with cells of its own.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from normpipe.audit.document import document_bytes
from normpipe.classify.ablation import Ablation
from normpipe.classify.ablation_figures import ablation_document
from normpipe.classify.ablation_page import tables
from normpipe.classify.ablation_plots import write_plots
from normpipe.classify.arms import Arm
from normpipe.classify.floor import floor_scores
from normpipe.classify.material import Material, read_material
from normpipe.classify.predictions import PREDICTIONS_FILE, write_predictions
from normpipe.classify.readings import Readings
from normpipe.classify.results import BEST, SCORES_FILE, Result
from normpipe.classify.session import Means, train_classifiers
from normpipe.engine.fingerprint import Fingerprint
from normpipe.engine.lock import locked
from normpipe.engine.threads import limit_libraries
from normpipe.errors import UsageError
from normpipe.shards.atomic import remove_leftovers, write_bytes
from normpipe.training.begun import begin, refuse_another

ABLATION_FILE = "ablation.json"
TABLES_FILE = "ablation.md"
FLOOR_FILE = "floor.json"

_ROW = ("dataset", "sample_id", "face_index")


@dataclass(frozen=True, slots=True)
class Compared:
    """An ablation whose variants are known to be of the same rows.

    Attributes:
        ablation: What is compared.
        materials: Rows of each variant, by name.
    """

    ablation: Ablation
    materials: dict[str, Material]

    @property
    def material(self) -> Material:
        """Rows, labels and folds, which all variants share."""
        return next(iter(self.materials.values()))


def compared(ablation: Ablation) -> Compared:
    """Index the data of all variants.

    Raises:
        UsageError: data cannot be used as they are, or variants are of different rows or labels.
    """
    by_sight: dict[tuple[object, ...], Material] = {}
    materials = {}
    for name, variant in ablation.variants.items():
        if variant.sees not in by_sight:
            by_sight[variant.sees] = read_material(variant.training)
        materials[name] = by_sight[variant.sees]
    first = next(iter(materials))
    for name, material in materials.items():
        if material is not materials[first]:
            _check_same_rows(first, materials[first], name, material)
    return Compared(ablation, materials)


def pending(ablation: Ablation, out: Path) -> list[str]:
    """Places in OUT of the trainings that are not done."""
    return [name for name, _, _ in ablation.cells() if not (out / name / SCORES_FILE).exists()]


def train_cells(ablation: Ablation, cells: Sequence[str], out: Path, means: Means) -> None:
    """Train some cells of the grid, one after the other; what is done is not done again.

    Args:
        ablation: The whole grid.
        cells: Places in OUT, see `pending`.
        out: Folder of the ablation.
        means: With what.

    Raises:
        UsageError: there is no such cell; or see train_classifiers, whose other errors these are, too.
    """
    known = {name: variant.trainings[seed] for name, variant, seed in ablation.cells()}
    for name in cells:
        if name not in known:
            raise UsageError(f"--cell {name}: the grid has {', '.join(known)}")
    for name in cells:
        if (out / name / SCORES_FILE).exists():
            continue  # a training that is done would read its data again to find that out
        train_classifiers(known[name], out / name, replace(means, watch=_named(name, means.watch)))


def compare(found: Compared, out: Path, means: Means) -> Path:
    """Fit the floors and write the figures; all cells must be done.

    Args:
        found: What is compared.
        out: Folder of the ablation.
        means: Its `watch` is told what happens.

    Returns:
        OUT/ablation.md.

    Raises:
        UsageError: a file in OUT is damaged.
        IncompatibleRunError: OUT was begun with other data, or another process is writing the same floor.
    """
    limit_libraries()
    remove_leftovers(out)
    by_data: dict[tuple[str, ...], dict[Arm, str]] = {}
    for name, variant in found.ablation.floors.items():
        by_data.setdefault(variant.training.data, {})[variant.training.arm] = name
    for floors in by_data.values():
        variant = found.ablation.floors[next(iter(floors.values()))]
        _fit_floors(found.materials[variant.name], {arm: out / name for arm, name in floors.items()}, means)
    document = ablation_document(found.ablation, found.material, out)
    write_bytes(out / ABLATION_FILE, document_bytes(document))
    write_plots(document, out)
    write_bytes(out / TABLES_FILE, tables(document).encode())
    return out / TABLES_FILE


def _fit_floors(material: Material, folders: dict[Arm, Path], means: Means) -> None:
    """Fit the plain classifier on every fold, or go on with it: all arms of the same data at once, for they share pictures."""
    with ExitStack() as stack:
        for arm, folder in folders.items():
            fingerprint = Fingerprint(material.fingerprint(arm) | {"arm": arm.value})
            refuse_another(folder / FLOOR_FILE, fingerprint, f"{folder.name}:")
            stack.enter_context(locked(folder, means.takeover))
            remove_leftovers(folder)
            begin(folder / FLOOR_FILE, fingerprint)
        for fold in material.folds.values():
            files = {arm: folder / fold.name / PREDICTIONS_FILE for arm, folder in folders.items()}
            missing = [arm for arm, file in files.items() if not file.exists()]
            if missing:
                means.watch(f"{fold.name}: fits {', '.join(folders[arm].name for arm in missing)}")
            for arm, said in (floor_scores(material, fold, missing) if missing else {}).items():
                readings = {side: Readings(scores, {}, []) for side, scores in said.items()}
                files[arm].parent.mkdir(exist_ok=True)
                write_predictions(files[arm], material, fold, [Result(BEST, 0, readings)])


def _check_same_rows(first: str, expected: Material, name: str, found: Material) -> None:
    """Two variants must be judged on the same rows, folds and labels."""
    for fold in expected.folds.values():
        ours, theirs = (_rows(each, fold.name) for each in (expected, found))
        if ours != theirs:
            own, other = len(set(theirs) - set(ours)), len(set(ours) - set(theirs))
            raise UsageError(
                f"variant {name}: {fold.name} tests other rows than in {first} ({own} of its own, {other} that it has not); "
                "let all variants have the same rows"
            )
        truths = [each.truth.taken(each.folds[fold.name].test) for each in (expected, found)]
        if not all(np.array_equal(getattr(truths[0], key), getattr(truths[1], key)) for key in ("values", "known")):
            raise UsageError(f"variant {name}: its labels of {fold.name} are others than in {first}; compare the same labels")


def _rows(material: Material, fold: str) -> list[tuple[object, ...]]:
    """The rows that a fold tests, in their order."""
    table = material.shards.table.select(_ROW).take(material.folds[fold].test)
    return list(zip(*(table[name].to_pylist() for name in _ROW), strict=True))


def _named(name: str, watch: Callable[[str], None]) -> Callable[[str], None]:
    return lambda line: watch(f"{name}: {line}")
