"""`normpipe classify predict`: what a trained classifier says of a finished run's rows."""

import sys
from pathlib import Path

import click

from normpipe.config import Execution, Pipeline
from normpipe.engine.signals import Interrupted
from normpipe.engine.threads import limit_environment
from normpipe.errors import UsageError

_EPILOG = """
\b
Examples:
  normpipe classify predict au/fold1/best/ out/ predicted/ --workers 4
  normpipe classify predict hf://owner/name@<40 digits> out/ predicted/
  normpipe classify predict au/fold1/best/ out/ predicted/ --scores --split test

The same command again resumes an interrupted prediction.
"""


@click.command(epilog=_EPILOG)
@click.argument("classifier", metavar="CLASSIFIER")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path, file_okay=False))
@click.option("--scores", is_flag=True, help="Judge the predictions by RUN's labels: OUT/scores.json.")
@click.option("--split", metavar="NAME", help="Judge rows of this split alone.")
@click.option(
    "--active-from",
    metavar="INTENSITY",
    type=click.FloatRange(0, 5, min_open=True),
    help="Judge action units by their intensities: present from this one on.",
)
@click.option("--workers", metavar="N", default=1, show_default=True, type=click.IntRange(1), help="Worker processes.")
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler to use instead, as tcp://host:8786.")
@click.option("--deadline", metavar="SECONDS", type=click.FloatRange(0, min_open=True), help="Without progress: hung.")
@click.option("--takeover", is_flag=True, help="Take OUT over from a run that gives no sign of life (no locks there).")
def predict(
    *,
    classifier: str,
    run: Path,
    out: Path,
    scores: bool,
    split: str | None,
    active_from: float | None,
    workers: int,
    scheduler: str | None,
    deadline: float | None,
    takeover: bool,
) -> None:
    """Say of every row of the finished run RUN what CLASSIFIER reads in it: OUT/predictions, a part for each part of RUN."""
    limit_environment()  # before numpy, so the heavy imports stand below
    if not scores and (split is not None or active_from is not None):
        raise UsageError("--split and --active-from say which labels are judged: add --scores")
    if scores:
        from normpipe.cli.audit import require_statistics

        require_statistics("--scores")
    from normpipe.classify.prediction_run import plan_predictions, run_predictions
    from normpipe.engine.progress import Progress, Terminal
    from normpipe.stages.pairs_run import build_executor

    execution = Execution(workers=workers, scheduler=scheduler, deadline=deadline or Execution().deadline)
    try:
        planned = plan_predictions(classifier, run, out)
        progress = Progress(planned.plan.rows, Terminal())
        executor = build_executor(Pipeline(execution=execution), progress)
        summary = run_predictions(planned, executor, progress, takeover=takeover)
    except Interrupted as stop:
        click.echo("interrupted; the same command resumes the prediction", err=True)
        sys.exit(stop.exit_code)
    click.echo(summary.state)
    if not summary.complete:
        click.echo("error: not all of it could be predicted; the same command takes up what is pending", err=True)
        sys.exit(1)
    if scores:
        from normpipe.audit.intervals import Bootstrap
        from normpipe.classify.predicted_scores import score_lines, score_predictions

        found = score_predictions(planned, split=split, active_from=active_from, bootstrap=Bootstrap())
        click.echo("\n".join(score_lines(found)))
    click.echo(click.format_filename(out))
