"""`normpipe normalizer evaluate` without its command line: two normalizers at five strengths each, run, audited, compared.

Every arm is a run and an audit of its own below OUT, made by the functions behind `normpipe run` and `normpipe audit`, and
taken up where it was left; faces are found by the first run alone. The comparison (`arms`, `frontier`) is made of what the
audits have measured, so nothing is embedded twice. Embeddings recognize people: they go when the evaluation is done.

    OUT/options.json         what was asked; another question needs another OUT
    OUT/baseline-0.25/ ...   runs, each with its audit
    OUT/evaluation.json      all figures
    OUT/evaluation.md        the tables
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from normpipe import __version__
from normpipe.audit import reduce, task
from normpipe.audit.document import AUDIT_FILE, Document, document_bytes, rounded
from normpipe.audit.embeddings import EmbeddingFile, embedding_files
from normpipe.audit.evaluation_figures import BASELINE, CANDIDATE, AuditedArm, compared
from normpipe.audit.evaluation_page import tables
from normpipe.audit.features import FEATURES_FOLDER
from normpipe.audit.figures import Json, document
from normpipe.audit.plan import AuditedRun, AuditOptions, blendshapes_bundle, finished_run, plan_audit
from normpipe.audit.run import run_audit, stored_features
from normpipe.audit.selection import selected_rows
from normpipe.audit.task import AUDIT_FOLDER
from normpipe.config import Execution, Gates, Pipeline, load_pipeline
from normpipe.engine.fingerprint import Fingerprint
from normpipe.engine.lock import locked
from normpipe.engine.progress import Progress, Terminal
from normpipe.engine.signals import interruptible
from normpipe.errors import NormpipeError, UsageError
from normpipe.shards.atomic import write_bytes
from normpipe.sources.manifest import TableSource, read_manifest
from normpipe.sources.root import Root
from normpipe.stages.environment import library_version
from normpipe.stages.pairs_run import build_executor, execute_pairs, plan_pairs

ALGORITHM_VERSION = 1
FORMAT_VERSION = 1
OPTIONS_FILE = "options.json"
EVALUATION_FILE = "evaluation.json"
TABLES_FILE = "evaluation.md"

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
BASELINE_NORMALIZER = "mean_face"

_SHARD_ROWS = 256  # an evaluation has few rows, and several workers want some each
_SECTION = "normalize."
_OWN_KEYS = ("normalize.normalizer", "normalize.detail", "normalize.weights")
_STATISTICS = ("numpy", "scipy", "scikit-learn")
_SHOWN_DIFFERENCES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """What is asked.

    Attributes:
        manifest: Labelled manifest.
        out: Folder of the evaluation.
        root: ROOT of the manifest, None for the folder that it lies in.
        split: Its rows are taken.
        emotions: Classes that carry figures, none for all with enough people.
        normalizer: The candidate.
        weights: Its weights.
        settings: Further keys of its section `normalize`, `key=value` each.
        identity: ONNX embedding, None for the model store's.
        blendshapes: FaceLandmarker bundle, None for the model store's.
        repetitions: Of the classifier's folds.
        workers: Processes.
        device: Where networks run.
        takeover: Take folders over from runs that give no sign of life.
        keep_features: Leave the embeddings, which recognize people.
    """

    manifest: Path
    out: Path
    root: str | None = None
    split: str = "test"
    emotions: tuple[str, ...] = ()
    normalizer: str = "norface"
    weights: str | None = None
    settings: tuple[str, ...] = ()
    identity: Path | None = None
    blendshapes: Path | None = None
    repetitions: int = 10
    workers: int = 1
    device: str = "cpu"
    takeover: bool = False
    keep_features: bool = False


@dataclass(frozen=True, slots=True)
class _Arm:
    """One normalizer at one strength.

    Attributes:
        side: BASELINE or CANDIDATE.
        strength: Value of normalize.detail.
        out: Folder of its run.
        pipeline: Its configuration.
    """

    side: str
    strength: float
    out: Path
    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class _Instruments:
    """What judges.

    Attributes:
        embedding: Whose AUC counts.
        number: Its place among all that the audits use.
        digests: sha256 by name, of all.
        audit: Options of every audit.
    """

    embedding: EmbeddingFile
    number: int
    digests: dict[str, str]
    audit: AuditOptions


def evaluate(options: EvaluationOptions, announce: Callable[[str], None]) -> Document:
    """Start the evaluation or take it up where it was left; a finished one is only read.

    Args:
        options: What is asked.
        announce: Told of every step.

    Returns:
        evaluation.json, which `evaluation_page.tables` shows.

    Raises:
        UsageError: the rows, the instruments or the candidate cannot be used, or OUT holds another evaluation.
        IncompatibleRunError: a live run holds a folder, or one was made in another environment.
        NormpipeError: a run or an audit could not be finished; the same command goes on.
        Interrupted: SIGINT or SIGTERM; what is finished stays.
    """
    with interruptible():
        selected, emotions = selected_rows(read_manifest(options.manifest), options.split, options.emotions)
        source, root = TableSource(selected), Root(options.root or str(options.manifest.parent))
        arms = _arms(options)
        asked: dict[str, str] = {
            "split": options.split,
            "emotions": ", ".join(emotions),
            "repetitions": str(options.repetitions),
        }
        for side in (BASELINE, CANDIDATE):
            first = next(arm for arm in arms if arm.side == side)
            parts = plan_pairs(source, root, first.out, first.pipeline).plan.fingerprint.parts
            asked["manifest"] = parts["manifest"]
            asked |= {f"{side}.{name}": parts[name] for name in parts if name.startswith("config.normalize.")}
            asked[f"{side}.normalizer"] = parts["normalizer"]
        judges = _instruments(options)
        asked |= judges.digests
        with locked(options.out, options.takeover):
            _settle(options.out, Fingerprint(asked))
            for number, arm in enumerate(arms, start=1):
                announce(f"run {arm.out.name}, {number} of {len(arms)}")
                _normalize(arm, source, root, None if number == 1 else arms[0].out, options.takeover, announce)
            inputs = _inputs(asked, [finished_run(arm.out) for arm in arms])
            found = _finished(options.out, inputs)
            if found is None:
                audited = _audit(arms, judges, options, announce)
                figures = rounded(document(compared(audited, judges.embedding, judges.number, announce)))
                assert isinstance(figures, dict)
                found = {
                    "format_version": FORMAT_VERSION,
                    "producer": f"normpipe {__version__}",
                    "versions": _versions(),
                    "inputs": inputs,
                    "options": dict(asked),
                    **figures,
                }
                write_bytes(options.out / TABLES_FILE, tables(found).encode())
                write_bytes(options.out / EVALUATION_FILE, document_bytes(found))  # last: where it is, all is
            if not options.keep_features:
                for arm in arms:
                    shutil.rmtree(arm.out / AUDIT_FOLDER / FEATURES_FOLDER, ignore_errors=True)
    return found


def _arms(options: EvaluationOptions) -> list[_Arm]:
    """The baseline's strengths, then the candidate's."""
    for setting in options.settings:
        if not setting.startswith(_SECTION) or setting.partition("=")[0] in _OWN_KEYS:
            raise UsageError(
                f"--set {setting}: an evaluation takes keys of normalize; normalizer, weights and detail are its own"
            )
    weights = () if options.weights is None else (f"normalize.weights={json.dumps(options.weights)}",)
    settings = {
        BASELINE: (f"normalize.normalizer={json.dumps(BASELINE_NORMALIZER)}",),
        CANDIDATE: (*options.settings, f"normalize.normalizer={json.dumps(options.normalizer)}", *weights),
    }
    how = (f"shard_size={_SHARD_ROWS}", f"execution.workers={options.workers}", f"execution.device={options.device}")
    return [
        _Arm(
            side,
            strength,
            options.out / f"{side}-{strength:g}",
            load_pipeline(None, [*given, f"normalize.detail={strength}", *how]),
        )
        for side, given in settings.items()
        for strength in STRENGTHS
    ]


def _instruments(options: EvaluationOptions) -> _Instruments:
    """Find and try them."""
    embeddings = embedding_files(() if options.identity is None else (options.identity,))
    if not embeddings:
        raise UsageError("--identity: no face embedding was given, and the model store has none; name an ONNX file")
    bundle = blendshapes_bundle(options.blendshapes)
    if bundle is None:
        raise UsageError("--blendshapes: no FaceLandmarker bundle was given, and the model store has none; name a .task file")
    judge = embeddings[0]
    if options.identity is not None:
        judge = next(each for each in embeddings if each.path == options.identity.absolute())
    return _Instruments(
        judge,
        embeddings.index(judge),
        {"identity": judge.sha256, **{f"instrument.{each.name}": each.sha256 for each in embeddings}, "blendshapes": bundle[1]},
        AuditOptions(
            identity=() if options.identity is None else (options.identity,),
            blendshapes=bundle[0],
            repetitions=options.repetitions,
            keep_features=True,
        ),
    )


def _settle(out: Path, asked: Fingerprint) -> None:
    """Note what is asked, or make sure that it is what was asked before."""
    try:
        earlier = json.loads((out / OPTIONS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        write_bytes(out / OPTIONS_FILE, (json.dumps(dict(asked.parts), indent=1, sort_keys=True) + "\n").encode())
        return
    except (OSError, ValueError) as error:
        raise UsageError(f"{out.name}: {OPTIONS_FILE} is damaged; choose another OUT") from error
    if earlier != asked.parts:
        changes = Fingerprint(earlier).differences(asked) if isinstance(earlier, dict) else []
        raise UsageError(
            f"{out.name}: holds another evaluation ({'; '.join(changes[:_SHOWN_DIFFERENCES])}); choose another OUT"
        )


def _normalize(
    arm: _Arm, source: TableSource, root: Root, faces: Path | None, takeover: bool, announce: Callable[[str], None]
) -> None:
    """`normpipe run` of an arm."""
    run = plan_pairs(source, root, arm.out, arm.pipeline, faces=faces)
    progress = Progress(run.plan.rows, Terminal())
    summary = execute_pairs(run, build_executor(arm.pipeline, progress), progress, takeover=takeover)
    announce(summary.text.splitlines()[0] if summary.complete else summary.text)
    if not summary.complete:
        raise NormpipeError(f"{arm.out.name}: not all of it could be normalized; the same command takes up what is pending")


def _audit(
    arms: Sequence[_Arm], judges: _Instruments, options: EvaluationOptions, announce: Callable[[str], None]
) -> list[AuditedArm]:
    """`normpipe audit` of each arm; the last one's page shows them all."""
    found = []
    for number, arm in enumerate(arms, start=1):
        announce(f"audit {arm.out.name}, {number} of {len(arms)}")
        plan = plan_audit(arm.out, judges.audit)
        if not all(part.is_file() for part in stored_features(plan).parts):
            (plan.folder / AUDIT_FILE).unlink(missing_ok=True)  # a finished audit would not be measured again
        progress = Progress(plan.plan.rows, Terminal())
        executor = build_executor(Pipeline(execution=Execution(workers=options.workers)), progress)
        others = tuple(each.out for each in arms[:-1]) if arm is arms[-1] else ()
        audit = run_audit(plan, Gates(), executor, progress, compare=others, takeover=options.takeover)
        if audit.document is None:
            raise NormpipeError(f"{arm.out.name}: not all of it could be measured; the same command takes up what is pending")
        found.append(AuditedArm(arm.side, arm.strength, plan, audit.document))
    return found


def _inputs(asked: dict[str, str], runs: Sequence[AuditedRun]) -> str:
    """Hex digest of all that decides about the figures."""
    versions = [ALGORITHM_VERSION, reduce.ALGORITHM_VERSION, task.ALGORITHM_VERSION, _versions()]
    text = json.dumps([asked, [[run.plan.fingerprint.digest, run.content] for run in runs], versions], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _versions() -> dict[str, Json]:
    """Of the libraries that the statistics rest on; the runs' fingerprints name all others."""
    return {library: library_version(library) for library in _STATISTICS}


def _finished(out: Path, inputs: str) -> Document | None:
    """An earlier evaluation of the same, if it can be read."""
    try:
        found = json.loads((out / EVALUATION_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = isinstance(found, dict) and (found.get("format_version"), found.get("inputs")) == (FORMAT_VERSION, inputs)
    return found if same and (out / TABLES_FILE).is_file() else None
