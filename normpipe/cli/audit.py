"""`normpipe audit`: is the expression still there, and is the person gone?"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from normpipe.config import load_pipeline
from normpipe.engine.signals import Interrupted
from normpipe.engine.threads import limit_environment
from normpipe.errors import ModelUnavailableError, UsageError

_EPILOG = """\b
Examples:
  normpipe audit out/ --identity arcface.onnx --blendshapes face_landmarker.task --workers 4
  normpipe audit out/ --identity arcface.onnx --set gates.max_identity_auc=0.6 --set gates.min_expression_correlation=0.7
  normpipe audit out/ --identity arcface.onnx --compare out-0/ --compare out-1/

The same command again resumes an interrupted audit; a finished one is only judged and drawn again, with the same instruments.
"""

_NEEDED = {"sklearn": "scikit-learn", "skimage": "scikit-image", "threadpoolctl": "threadpoolctl"}
_SECTIONS = ("gates.", "execution.")

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


@click.command(epilog=_EPILOG)
@click.argument("out", metavar="OUT", type=_FOLDER)
@click.option("--identity", metavar="FILE", multiple=True, type=_FILE, help="Face embedding (ONNX) to attack with; repeatable.")
@click.option("--blendshapes", metavar="FILE", type=_FILE, help="FaceLandmarker bundle (.task): a second instrument.")
@click.option("--pipeline", "pipeline_file", metavar="FILE", type=click.Path(path_type=Path), help="Pipeline file with gates.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Override a key of gates or execution.")
@click.option("--columns", metavar="NAMES", help="Manifest columns whose groups are compared, with commas between.")
@click.option("--pairs", metavar="N", type=click.IntRange(100), help="Most pairs of each kind and attack. [150000]")
@click.option("--rows", metavar="N", type=click.IntRange(100), help="Most rows that the statistics are made of. [20000]")
@click.option("--repetitions", metavar="N", type=click.IntRange(1), help="Of the classifier's folds. [10]")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of every draw.")
@click.option("--workers", metavar="N", type=click.IntRange(1), help="Worker processes on this machine.")
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler to use instead, as tcp://host:8786.")
@click.option("--compare", metavar="OUT", multiple=True, type=_FOLDER, help="Another audited run of the same rows; repeatable.")
@click.option("--keep-features", is_flag=True, help="Keep the embeddings, which are biometric data.")
@click.option("--takeover", is_flag=True, help="Take OUT over from a run that gives no sign of life (no locks there).")
@click.option("--hash-ids", is_flag=True, help="Show hashes instead of sample ids under the pictures.")
def audit(
    *,
    out: Path,
    identity: tuple[Path, ...],
    blendshapes: Path | None,
    pipeline_file: Path | None,
    settings: tuple[str, ...],
    columns: str | None,
    pairs: int | None,
    rows: int | None,
    repetitions: int | None,
    seed: int,
    workers: int | None,
    scheduler: str | None,
    compare: tuple[Path, ...],
    keep_features: bool,
    takeover: bool,
    hash_ids: bool,
) -> None:
    """Measure what a finished run has kept of expression and person: OUT/audit/index.html, audit.json and columns per row.

    Identity embeddings and blendshapes of the model store are used where there are any. Exit code 1 when a gate is missed.
    """
    limit_environment()  # before numpy, so the heavy imports stand below
    require_statistics("audit")
    from normpipe.audit.gates import line
    from normpipe.audit.plan import AuditOptions, plan_audit
    from normpipe.audit.run import run_audit
    from normpipe.engine.progress import Progress, Terminal
    from normpipe.stages.pairs_run import build_executor

    for setting in settings:
        if not setting.startswith(_SECTIONS):
            raise UsageError(f"--set {setting}: an audit takes keys of gates and execution; all others are the run's own")
        if setting.endswith("="):
            raise UsageError(f"--set {setting}: no value; `null` switches a gate off")
    overrides = {"execution.workers": workers, "execution.scheduler": scheduler}
    flags = [f"{key}={json.dumps(value)}" for key, value in overrides.items() if value is not None]
    pipeline = load_pipeline(pipeline_file, [*settings, *flags])
    defaults = AuditOptions()
    options = AuditOptions(
        identity=identity,
        blendshapes=blendshapes,
        seed=seed,
        pairs=pairs or defaults.pairs,
        rows=rows or defaults.rows,
        repetitions=repetitions or defaults.repetitions,
        columns=defaults.columns if columns is None else tuple(name for name in columns.split(",") if name),
        keep_features=keep_features,
        hash_ids=hash_ids,
    )
    try:
        plan = plan_audit(out, options)
        progress = Progress(plan.plan.rows, Terminal())
        executor = build_executor(pipeline, progress)
        found = run_audit(plan, pipeline.gates, executor, progress, compare=compare, takeover=takeover)
    except Interrupted as stop:
        click.echo("interrupted; the same command resumes the audit. audit/features/ holds biometric data until then", err=True)
        sys.exit(stop.exit_code)
    if found.document is None or found.page is None:
        assert found.summary is not None
        click.echo(found.summary.state)
        click.echo("error: not all of it could be measured; the same command takes up what is pending", err=True)
        sys.exit(1)
    for verdict in found.document["gates"] if isinstance(found.document["gates"], list) else []:
        click.echo(line(verdict))
    click.echo(click.format_filename(out / found.page.relative_to(plan.run.out)))  # as OUT was given: no home in it
    if found.document["passed"] is False:
        sys.exit(1)


def require_statistics(what: str) -> None:
    """Make sure that the packages of the audit's statistics are there.

    Raises:
        ModelUnavailableError: one is not; `what` needs it.
    """
    for module, package in _NEEDED.items():
        if find_spec(module) is None:
            raise ModelUnavailableError(f"{what} needs {package}: pip install 'normpipe[audit]'")
