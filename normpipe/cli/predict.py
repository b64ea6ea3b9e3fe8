"""`normpipe classify predict`: what a trained classifier says of pairs, be they of a run or from elsewhere."""

import sys
from pathlib import Path
from typing import Literal

import click

from normpipe.config import Execution, Pipeline
from normpipe.engine.signals import Interrupted
from normpipe.engine.threads import limit_environment
from normpipe.errors import UsageError

_EPILOG = """
\b
Examples:
  normpipe classify predict au/fold1/best/ out/ predicted/ --workers 4
  normpipe classify predict hf://owner/name@<40 digits> s3://bucket/release/ predicted/ --device cuda
  normpipe classify predict au/fold1/best/ out/ predicted/ --scores --protocol disfa-au --fold fold1

The same command again resumes an interrupted prediction.
"""


@click.command(epilog=_EPILOG)
@click.argument("classifier", metavar="CLASSIFIER")
@click.argument("shards", metavar="SHARDS")
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path, file_okay=False))
@click.option("--partial", is_flag=True, help="Take what is done of a run that is not finished.")
@click.option("--scores", is_flag=True, help="Judge the predictions by the labels in SHARDS: OUT/scores.json.")
@click.option("--protocol", metavar="NAME", help="Judge what this protocol judges, as it says: see `classify train`.")
@click.option("--fold", metavar="NAME", help="Judge the rows that this fold of the protocol tests.")
@click.option("--split", metavar="NAME", help="Judge rows of this split alone.")
@click.option(
    "--active-from",
    metavar="INTENSITY",
    type=click.FloatRange(0, 5, min_open=True),
    help="Judge action units by their intensities: present from this one on. [as the protocol says]",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where the network runs.")
@click.option("--workers", metavar="N", default=1, show_default=True, type=click.IntRange(1), help="Worker processes.")
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler to use instead, as tcp://host:8786.")
@click.option("--deadline", metavar="SECONDS", type=click.FloatRange(0, min_open=True), help="Without progress: hung.")
@click.option("--takeover", is_flag=True, help="Take OUT over from a run that gives no sign of life (no locks there).")
def predict(
    *,
    classifier: str,
    shards: str,
    out: Path,
    partial: bool,
    scores: bool,
    protocol: str | None,
    fold: str | None,
    split: str | None,
    active_from: float | None,
    device: Literal["cpu", "cuda"],
    workers: int,
    scheduler: str | None,
    deadline: float | None,
    takeover: bool,
) -> None:
    """Say of every row of SHARDS what CLASSIFIER reads in it: OUT/predictions.

    SHARDS is the OUT of a finished run, a folder of Parquet files of pairs, one such file, or the URL of either.
    """
    limit_environment()  # before numpy, so the heavy imports stand below
    _check_judging(scores, protocol, fold, split, active_from)
    if scores:
        from normpipe.cli.audit import require_statistics

        require_statistics("--scores")
    from normpipe.classify.predicted_scores import Judging, score_lines, score_predictions
    from normpipe.classify.prediction_run import plan_predictions, run_predictions
    from normpipe.classify.protocols import load_protocol
    from normpipe.engine.progress import Progress, Terminal
    from normpipe.stages.pairs_run import build_executor

    execution = Execution(workers=workers, scheduler=scheduler, deadline=deadline or Execution().deadline, device=device)
    chosen = None if protocol is None else load_protocol(protocol)
    judging = Judging(protocol=chosen, fold=fold, split=split, active_from=active_from)
    try:
        planned = plan_predictions(classifier, shards, out, partial=partial, device=device)
        judging.check(planned.classifier.space)  # before the work, which may take hours
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

        click.echo("\n".join(score_lines(score_predictions(planned, judging, Bootstrap()))))
    click.echo(click.format_filename(out))


def _check_judging(scores: bool, protocol: str | None, fold: str | None, split: str | None, active_from: float | None) -> None:
    if not scores and any(option is not None for option in (protocol, fold, split, active_from)):
        raise UsageError("--protocol, --fold, --split and --active-from say what is judged: add --scores")
    if fold is not None and (protocol is None or split is not None):
        raise UsageError("--fold is one of a --protocol, and takes the place of --split")
    if protocol is not None and active_from is not None:
        raise UsageError("--active-from: the protocol says from which intensity on an action unit counts; leave it out")
