"""`normpipe run`: a folder, glob or manifest becomes a run's folder."""

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from normpipe.config import FacePolicy, Pipeline, load_pipeline
from normpipe.engine.signals import Interrupted
from normpipe.engine.threads import limit_environment
from normpipe.errors import UsageError

if TYPE_CHECKING:
    from normpipe.engine.run import RunSummary

_POLICIES = [policy.value for policy in FacePolicy]

_EPILOG = """
\b
Examples:
  normpipe run photos/ out/
  normpipe run 'clips/*.mp4' out/ --policy all --workers 8
  normpipe run raf-db.parquet out/ --root /data/raf-db --pipeline pipelines/quickstart.yaml --set encode.quality=95
  normpipe run photos/ out/ --dry-run

The same command again resumes an interrupted run.
"""


def _named(_: click.Context, parameter: click.Parameter, value: str) -> str:
    """An empty argument, as an unset shell variable gives it, would otherwise mean the current folder."""
    if not value:
        raise UsageError(f"{parameter.human_readable_name}: empty; name a folder (. is the current one)")
    return value


@click.command(epilog=_EPILOG)
@click.argument("input_path", metavar="INPUT", callback=_named)
@click.argument("out", metavar="OUT", type=click.Path(file_okay=False), callback=_named)
@click.option("--root", metavar="URL", help="Folder or fsspec URL that the manifest's uris are relative to.")
@click.option("--pipeline", "pipeline_file", metavar="FILE", type=click.Path(path_type=Path), help="Pipeline file.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Override one key of the pipeline file.")
@click.option("--normalizer", metavar="NAME", help="Normalizer to render with.")
@click.option("--identity", metavar="IMAGE", type=click.Path(path_type=Path), help="Photo of the common identity.")
@click.option("--policy", type=click.Choice(_POLICIES), help="Which faces of a frame become rows.")
@click.option("--limit", metavar="N", type=click.IntRange(1), help="Use the first N rows only.")
@click.option("--shard-size", metavar="N", type=click.IntRange(1), help="Rows of a shard.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where the networks run.")
@click.option("--workers", metavar="N", type=click.IntRange(1), help="Worker processes on this machine.")
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler to use instead, as tcp://host:8786.")
@click.option("--retry-failed", is_flag=True, help="Also redo shards with rows that failed for a reason of the environment.")
@click.option("--dry-run", is_flag=True, help="Estimate time and disk from a few rows; write nothing.")
def run(
    *,
    input_path: str,
    out: str,
    root: str | None,
    pipeline_file: Path | None,
    settings: tuple[str, ...],
    normalizer: str | None,
    identity: Path | None,
    policy: str | None,
    limit: int | None,
    shard_size: int | None,
    device: str | None,
    workers: int | None,
    scheduler: str | None,
    retry_failed: bool,
    dry_run: bool,
) -> None:
    """Normalize the faces of INPUT (a folder of images and videos, a glob, or a manifest) into the folder OUT."""
    options = {
        "normalize.normalizer": normalizer,
        "normalize.identity": None if identity is None else str(identity.absolute()),
        "detect.policy": policy,
        "limit": limit,
        "shard_size": shard_size,
        "execution.device": device,
        "execution.workers": workers,
        "execution.scheduler": scheduler,
    }
    flags = [f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None]
    pipeline = load_pipeline(pipeline_file, [*settings, *flags])
    if dry_run:
        show_estimate(input_path, root, Path(out), pipeline)
    elif not normalize(input_path, root, Path(out), pipeline, retry_failed):
        sys.exit(1)


def normalize(input_path: str, root: str | None, out: Path, pipeline: Pipeline, retry_failed: bool = False) -> bool:
    """Run with progress on stderr and a summary on stdout; True when every shard is committed and the gates pass."""
    limit_environment()  # before numpy, so the heavy imports stand below
    from rich.console import Console

    from normpipe.engine.progress import Progress
    from normpipe.sources.inputs import manifest_for_input
    from normpipe.sources.root import Root
    from normpipe.stages.pairs_run import build_executor, execute_pairs, plan_pairs

    manifest, source = manifest_for_input(input_path, None if root is None else Root(root))
    planned = plan_pairs(manifest, source, out, pipeline)
    progress = Progress(planned.plan.rows, Console(stderr=True))
    try:
        summary = execute_pairs(planned, build_executor(pipeline, progress), progress, retry_failed)
    except Interrupted as stop:
        click.echo("interrupted; the same command resumes the run", err=True)
        sys.exit(stop.exit_code)
    click.echo(summary_text(summary))
    failed, most = sum(summary.failed.values()), pipeline.gates.max_failed_fraction
    if failed > most * summary.rows:
        click.echo(
            f"error: {failed} of {summary.rows} rows failed, more than gates.max_failed_fraction={most:g} allows", err=True
        )
        return False
    return summary.complete


def show_estimate(input_path: str, root: str | None, out: Path, pipeline: Pipeline) -> None:
    """Print what the run would take."""
    limit_environment()
    from normpipe.sources.inputs import manifest_for_input
    from normpipe.sources.root import Root
    from normpipe.stages.pairs_run import estimate, plan_pairs

    manifest, source = manifest_for_input(input_path, None if root is None else Root(root))
    found = estimate(plan_pairs(manifest, source, out, pipeline))
    click.echo(
        f"{found.rows} rows in {found.shards} shards, {found.pending} of them pending\n"
        f"about {timedelta(seconds=round(found.seconds))} on {pipeline.execution.workers} worker(s) and "
        f"{found.size / 1e6:.1f} MB, judged by {found.sampled} rows; nothing was written"
    )


def summary_text(summary: "RunSummary") -> str:
    """The end of a run, or its state, in a few lines."""
    lines = [f"{summary.committed}/{summary.shards} shards committed: {summary.rows} rows, {summary.ok} ok"]
    if summary.failed:
        reasons = ", ".join(f"{reason.value} {count}" for reason, count in summary.failed.items())
        lines[0] += f", {sum(summary.failed.values())} failed ({reasons})"
    if summary.frames_per_second is not None:
        lines.append(f"{summary.frames_per_second:.1f} frames per second")
    seconds = sum(summary.seconds_by_stage.values())
    if seconds > 0:
        shares = ", ".join(f"{stage} {100 * spent / seconds:.0f} %" for stage, spent in summary.seconds_by_stage.items())
        lines.append(f"time by stage: {shares}")
    if not summary.complete:
        lines.append("not complete; the same `normpipe run` command takes up what is pending")
    return "\n".join(lines)
