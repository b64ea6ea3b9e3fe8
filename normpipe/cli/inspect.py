"""`normpipe status`, `show` and `export`: looking into a run's folder."""

from pathlib import Path
from typing import Literal

import click

_OUT = click.argument("out", metavar="OUT", type=click.Path(path_type=Path, file_okay=False, exists=True))


@click.command(epilog="\b\nExample:\n  normpipe status out/")
@_OUT
def status(out: Path) -> None:
    """Say how far the run in OUT is."""
    from normpipe.cli.run import summary_text
    from normpipe.engine.lock import is_locked
    from normpipe.engine.run import read_summary

    click.echo("a run is writing here now" if is_locked(out) else "no run is writing here now")
    click.echo(summary_text(read_summary(out)))


@click.command(epilog="\b\nExample:\n  normpipe show out/ A000014 -o A000014.png")
@_OUT
@click.argument("sample_id")
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write the pictures as PNG."
)
def show(out: Path, sample_id: str, output: Path | None) -> None:
    """Print all columns of a sample's rows, and with -o write its pictures side by side."""
    from normpipe.errors import UsageError
    from normpipe.shards.reader import find_rows
    from normpipe.shards.show import describe_row, side_by_side

    rows = find_rows(out, sample_id)
    if not rows:
        raise UsageError(f"{out.name}: no sample {sample_id!r} among the committed shards")
    for row in rows:
        click.echo(describe_row(row))
    if output is not None:
        output.write_bytes(side_by_side(rows))
        click.echo(f"wrote {output.name}")


@click.command(epilog="\b\nExamples:\n  normpipe export out/ pictures/\n  normpipe export out/ tars/ --as webdataset")
@_OUT
@click.argument("target", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--as", "layout", type=click.Choice(["folder", "webdataset"]), default="folder", show_default=True)
def export(out: Path, target: Path, layout: Literal["folder", "webdataset"]) -> None:
    """Write the pairs of OUT as image files and labels.csv, or as WebDataset tar files."""
    from normpipe.shards.export import export_folder, export_webdataset

    count = export_folder(out, target) if layout == "folder" else export_webdataset(out, target)
    click.echo(f"exported {count} pairs to {target.name}")
