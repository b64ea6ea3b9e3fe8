"""`normpipe run`: a folder, glob or manifest becomes a run's folder."""

import json
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from normpipe.config import FacePolicy, Pipeline, load_pipeline
from normpipe.engine.signals import Interrupted, interruptible
from normpipe.engine.threads import limit_environment
from normpipe.errors import UsageError

if TYPE_CHECKING:
    from normpipe.stages.pairs_run import PairsRun

_POLICIES = [policy.value for policy in FacePolicy]

_EPILOG = """
\b
Examples:
  normpipe run photos/ out/
  normpipe run 'clips/*.mp4' out/ --policy all --workers 8
  normpipe run raf-db.parquet out/ --root /data/raf-db --pipeline pipelines/quickstart.yaml --set encode.quality=95
  normpipe run photos/ out/ --dry-run
  normpipe run photos/ again/ --faces out/ --set normalize.detail=1

The same command again resumes an interrupted run.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is told on the command line alone; none of it decides about a row's bytes.

    Attributes:
        root: ROOT of a manifest.
        faces: Finished run whose faces are rendered.
        retry_failed: Redo committed shards with rows that may pass now.
        accept_failures: Commit rows that failed for reasons that may pass.
        takeover: Take over a folder whose run gives no sign of life.
        hash_ids: Name samples by hash.
    """

    root: str | None = None
    faces: Path | None = None
    retry_failed: bool = False
    accept_failures: bool = False
    takeover: bool = False
    hash_ids: bool = False


def _named(_: click.Context, parameter: click.Parameter, value: str) -> str:
    """An empty argument, as an unset shell variable gives it, would otherwise mean the current folder."""
    if not value:
        raise UsageError(f"{parameter.human_readable_name}: empty; name a folder (. is the current one)")
    return value


def _folder(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """A URL would otherwise become a local folder of that name."""
    if "://" in value:
        raise UsageError("OUT: a run is written to a folder that all its workers see; copy it to a URL when it is done")
    return _named(context, parameter, value)


@click.command(epilog=_EPILOG)
@click.argument("input_path", metavar="INPUT", callback=_named)
@click.argument("out", metavar="OUT", type=click.Path(file_okay=False), callback=_folder)
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
@click.option("--deadline", metavar="SECONDS", type=click.FloatRange(0, min_open=True), help="Without progress: hung.")
@click.option("--allow-mixed", is_flag=True, help="Let workers of other environments join: equal rows within a tolerance.")
@click.option(
    "--faces",
    metavar="RUN",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Render a finished run's faces.",
)
@click.option("--retry-failed", is_flag=True, help="Also redo shards with rows that may pass when tried again.")
@click.option("--accept-failures", is_flag=True, help="Commit rows that failed for reasons that may pass.")
@click.option("--takeover", is_flag=True, help="Take OUT over from a run that gives no sign of life (no locks there).")
@click.option("--hash-ids", is_flag=True, help="Show hashes instead of sample ids, which may carry the source's names.")
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
    deadline: float | None,
    allow_mixed: bool,
    faces: Path | None,
    retry_failed: bool,
    accept_failures: bool,
    takeover: bool,
    hash_ids: bool,
    dry_run: bool,
) -> None:
    """Normalize the faces of INPUT (a folder of images and videos, a glob, or a manifest) into the folder OUT."""
    overrides = {
        "normalize.normalizer": normalizer,
        "normalize.identity": None if identity is None else str(identity.absolute()),
        "detect.policy": policy,
        "limit": limit,
        "shard_size": shard_size,
        "execution.device": device,
        "execution.workers": workers,
        "execution.scheduler": scheduler,
        "execution.deadline": deadline,
        "execution.allow_mixed": allow_mixed or None,
    }
    flags = [f"{key}={json.dumps(value)}" for key, value in overrides.items() if value is not None]
    pipeline = load_pipeline(pipeline_file, [*settings, *flags])
    options = Options(root, faces, retry_failed, accept_failures, takeover, hash_ids)
    if dry_run:
        show_estimate(input_path, Path(out), pipeline, options)
    elif not normalize(input_path, Path(out), pipeline, options):
        sys.exit(1)


def normalize(input_path: str, out: Path, pipeline: Pipeline, options: Options | None = None) -> bool:
    """Run with progress on stderr and a summary on stdout; True when every shard is committed and the gates pass."""
    limit_environment()  # before numpy, so the heavy imports stand below
    from normpipe.engine.progress import Progress, Terminal
    from normpipe.engine.summary import answerable
    from normpipe.stages.pairs_run import build_executor, execute_pairs

    options = options or Options()
    try:
        with interruptible():
            planned = _plan(input_path, out, pipeline, options)
            _warn_of_a_full_disk(planned, out, pipeline)
            progress = Progress(planned.plan.rows, Terminal())
            summary = execute_pairs(
                planned,
                build_executor(pipeline, progress),
                progress,
                options.retry_failed,
                accept_failures=options.accept_failures,
                hash_ids=options.hash_ids,
                takeover=options.takeover,
            )
    except Interrupted as stop:
        click.echo("interrupted; the same command resumes the run", err=True)
        sys.exit(stop.exit_code)
    _say(summary.text)
    rows, reasons = answerable(summary.rows, summary.failed)
    failed, most = sum(reasons.values()), pipeline.gates.max_failed_fraction
    if failed > most * rows:
        click.echo(f"error: {failed} of {rows} rows failed, more than gates.max_failed_fraction={most:g} allows", err=True)
        return False
    return summary.complete


def _say(text: str) -> None:
    """To standard output, if anybody reads it: the exit code is the run's, not the reader's."""
    try:
        click.echo(text)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer goes there
        if not isinstance(error, BrokenPipeError):
            click.echo(f"warning: the summary could not be written to standard output ({error.strerror})", err=True)


def show_estimate(input_path: str, out: Path, pipeline: Pipeline, options: Options) -> None:
    """Print what the run would take."""
    limit_environment()
    from normpipe.stages.estimate import estimate
    from normpipe.stages.space import free_bytes

    found, free = estimate(_plan(input_path, out, pipeline, options)), free_bytes(out)
    click.echo(
        f"{found.rows} rows in {found.shards} shards, {found.pending} of them pending\n"
        f"about {timedelta(seconds=round(found.seconds))} on {pipeline.execution.workers} worker(s) and "
        f"{found.size / 1e6:.1f} MB of {free / 1e6:.1f} MB free, judged by {found.sampled} rows; nothing was written"
    )
    if found.size > free:
        click.echo("warning: the disk of OUT has too little room; free some or choose another OUT", err=True)


def _plan(input_path: str, out: Path, pipeline: Pipeline, options: Options) -> "PairsRun":
    from normpipe.sources.inputs import manifest_for_input
    from normpipe.sources.root import Root
    from normpipe.stages.pairs_run import plan_pairs

    manifest, source = manifest_for_input(input_path, None if options.root is None else Root(options.root))
    return plan_pairs(manifest, source, out, pipeline, faces=options.faces)


def _warn_of_a_full_disk(planned: "PairsRun", out: Path, pipeline: Pipeline) -> None:
    """The disk may have room by the time it is needed, so this only warns."""
    from normpipe.engine.plan import PLAN_FILE
    from normpipe.engine.summary import read_summary
    from normpipe.stages.space import free_bytes, least_bytes

    rows = planned.plan.rows - (read_summary(out).frames if (out / PLAN_FILE).is_file() else 0)
    least, free = least_bytes(rows, pipeline), free_bytes(out)
    if least > free:
        click.echo(
            f"warning: {rows} rows take at least {least / 1e6:.0f} MB and the disk of OUT has {free / 1e6:.0f} MB "
            "free; a run that fills it stops, and goes on by the same command when there is room",
            err=True,
        )
