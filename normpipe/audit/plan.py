"""What is audited and by what: the finished run, the instruments, the options, and the fingerprint of it all.

An audit holds nothing that cannot be had again from its run. So where the run or an option has changed since, it is not refused
but done again: an old audit beside a new run is what must not be.
"""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from normpipe import __version__
from normpipe.assets.registry import REGISTRY
from normpipe.assets.store import ModelState, state, store_folder
from normpipe.audit import blendshapes, descriptors, embeddings, task
from normpipe.audit.blendshapes import Blendshapes
from normpipe.audit.embeddings import embedding_files
from normpipe.audit.features import FeatureColumns
from normpipe.audit.pairs import PAIRS
from normpipe.audit.table import check_columns
from normpipe.audit.task import AUDIT_FOLDER, AuditTask, audit_environment
from normpipe.config import Pipeline
from normpipe.engine.fingerprint import Fingerprint
from normpipe.engine.journal import Journal, ShardRecord, altered_files
from normpipe.engine.plan import Plan, read_plan
from normpipe.engine.summary import by_count
from normpipe.errors import UsageError
from normpipe.faces.build import build_landmarker
from normpipe.records import Reason
from normpipe.shards.atomic import sha256_of
from normpipe.stages.environment import library_version
from normpipe.stages.parts import FACES_FOLDER, SHARDS_FOLDER

_CONFIG = "config."
_BUNDLE = "mediapipe-face-landmarker"

GROUP_COLUMNS = ("dataset", "split", "emotion", "subject")
"""Compared by default, where a run has more than one of a column's values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions:
    """What the user decides about an audit.

    Attributes:
        identity: ONNX embeddings to attack with.
        blendshapes: FaceLandmarker bundle.
        seed: Of every draw.
        pairs: Most pairs of each kind and attack.
        rows: Most rows that the statistics are made of.
        repetitions: Of the classifier's folds.
        draws: Of people, for intervals.
        permutations: Of the null of dependence on pose and background.
        columns: Manifest columns whose groups are compared.
        keep_features: Leave the features, which recognize people, in the folder.
        hash_ids: Name samples by hash.
    """

    identity: tuple[Path, ...] = ()
    blendshapes: Path | None = None
    seed: int = 0
    pairs: int = PAIRS
    rows: int = 20_000
    repetitions: int = 10
    draws: int = 1000
    permutations: int = 100
    columns: tuple[str, ...] = GROUP_COLUMNS
    keep_features: bool = False
    hash_ids: bool = False


@dataclass(frozen=True, slots=True)
class AuditedRun:
    """A finished run.

    Attributes:
        out: Its folder.
        plan: Its plan.
        pipeline: Its configuration, without what a plan does not tell (`execution`, `gates`, the identity photo's place).
        records: Of all its shards.
    """

    out: Path
    plan: Plan
    pipeline: Pipeline
    records: tuple[ShardRecord, ...]

    @property
    def content(self) -> str:
        """Hex digest over the digests of all its parts."""
        files = (file.sha256 for record in self.records for file in record.result.files)
        return hashlib.sha256("".join(files).encode()).hexdigest()

    @property
    def row_counts(self) -> tuple[int, ...]:
        """Output rows of each part."""
        return tuple(record.result.rows for record in self.records)

    @property
    def failed(self) -> dict[Reason, int]:
        """Output rows without a pair, by reason, most first."""
        return by_count(sum((Counter(record.result.failed) for record in self.records), Counter()))


def finished_run(out: Path) -> AuditedRun:
    """Read what a run's folder says of itself.

    Raises:
        UsageError: it is not a run's folder, or the run is not finished.
    """
    out = out.absolute()  # `.` has no name to tell
    plan = read_plan(out)
    if plan is None:
        raise UsageError(f"{out.name}: not a run's folder (it has no plan.json); name the OUT of `normpipe run`")
    records = Journal(out, plan.fingerprint.digest).committed(plan.shards)
    if len(records) < len(plan.shards):
        raise UsageError(f"{out.name}: the run is not finished ({len(records)} of {len(plan.shards)} shards); finish it first")
    config: dict[str, object] = {}
    for name, value in plan.fingerprint.parts.items():
        keys = name.removeprefix(_CONFIG).split(".")
        if name.startswith(_CONFIG) and keys != ["normalize", "identity"]:
            _put(config, keys, json.loads(value))
    return AuditedRun(out, plan, Pipeline.model_validate(config), tuple(records))


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """A measurement that is ready to start.

    Attributes:
        run: What is audited.
        options: How.
        plan: The shards, and the fingerprint of the features.
        task: What a worker does.
    """

    run: AuditedRun
    options: AuditOptions
    plan: Plan
    task: AuditTask

    @property
    def folder(self) -> Path:
        """`OUT/audit`."""
        return self.run.out / AUDIT_FOLDER

    @property
    def instruments(self) -> dict[str, str]:
        """What measured, by name, with the digest of its file or its fingerprint."""
        prefix = "instrument."
        parts = self.plan.fingerprint.parts
        return {name.removeprefix(prefix): value for name, value in parts.items() if name.startswith(prefix)}


def plan_audit(out: Path, options: AuditOptions) -> AuditPlan:
    """Find and try the instruments, and fingerprint all that decides about the features.

    Raises:
        UsageError: the run is not finished, a file is not the instrument it is given as, or rows cannot be grouped as asked.
        ModelUnavailableError: an optional package is missing.
    """
    run = finished_run(out)
    if (run.out / AUDIT_FOLDER).exists() and not (run.out / AUDIT_FOLDER).is_dir():
        raise UsageError(f"{run.out.name}/{AUDIT_FOLDER} is no folder; move it away")
    check_columns(options.columns)
    columns = FeatureColumns(embedding_files(options.identity), (bundle := blendshapes_bundle(options.blendshapes)) is not None)
    surroundings = audit_environment(run.pipeline, columns)
    measured = (
        task.ALGORITHM_VERSION,
        descriptors.ALGORITHM_VERSION,
        embeddings.ALGORITHM_VERSION,
        blendshapes.ALGORITHM_VERSION,
    )
    fingerprint = Fingerprint(
        {
            "run": run.plan.fingerprint.digest,
            "run_content": run.content,
            "instrument.landmarks": build_landmarker(run.pipeline.detect, "cpu").fingerprint,
            **{f"instrument.identity.{each.name}": each.sha256 for each in columns.embeddings},
            **({} if bundle is None else {"instrument.blendshapes": bundle[1]}),
            "algorithm.measure": "/".join(map(str, measured)),
            **{f"environment.{name}": value for name, value in surroundings.items()},
        }
    )
    plan = Plan(run.plan.rows, run.plan.shard_size, fingerprint, producer=f"normpipe {__version__}")
    return AuditPlan(run, options, plan, AuditTask(run.out, run.pipeline, columns, bundle, surroundings))


def part_files(run: AuditedRun) -> list[str]:
    """Stems of the run's parts, in order."""
    return [record.shard.name for record in run.records]


def check_parts(run: AuditedRun) -> None:
    """Make sure that the parts are those that the journal tells of: an audit of other pictures would be worth nothing.

    Raises:
        UsageError: a part is another.
    """
    for file in altered_files(run.out, run.records, {SHARDS_FOLDER, FACES_FOLDER}):
        raise UsageError(
            f"{run.out.name}: {file} is not the file that the journal tells of; delete it and finish the run again"
        )


def blendshapes_bundle(given: Path | None) -> tuple[Path, str] | None:
    """The FaceLandmarker bundle given, or the model store's, with its sha256; None where there is neither.

    Raises:
        UsageError: the file given is no such bundle.
        ModelUnavailableError: mediapipe is not installed.
    """
    if given is None:
        stored = next(entry for entry in REGISTRY if entry.name == _BUNDLE)
        path = store_folder() / stored.file
        if state(stored, store_folder()) is not ModelState.OK or library_version("mediapipe") == "absent":
            return None
        return path.absolute(), sha256_of(path)
    try:
        digest = sha256_of(given)
    except OSError as error:
        raise UsageError(f"--blendshapes {given.name}: cannot be read ({error.strerror})") from error
    Blendshapes(given).close()
    return given.absolute(), digest


def _put(config: dict[str, object], keys: list[str], value: object) -> None:
    *parents, last = keys
    for parent in parents:
        inner = config.setdefault(parent, {})
        assert isinstance(inner, dict)
        config = inner
    config[last] = value
