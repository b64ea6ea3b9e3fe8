"""`normpipe status`, `show` and `export`: looking into a run's folder."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import click

from normpipe.errors import UsageError

_OUT = click.argument("out", metavar="OUT", type=click.Path(path_type=Path, file_okay=False, exists=True))


@click.command(epilog="\b\nExample:\n  normpipe status out/")
@_OUT
def status(out: Path) -> None:
    """Say how far the run in OUT is."""
    from normpipe.engine.lock import is_locked
    from normpipe.engine.progress import read_progress
    from normpipe.engine.summary import phases_done, read_summary

    summary = read_summary(out)
    live = is_locked(out)
    click.echo("a run is writing here now" if live else "no run is writing here now")
    if live and (now := read_progress(out)) is not None:
        click.echo(now.text)
    for phase, done in phases_done(out).items():
        click.echo(f"{phase}: {done}/{summary.shards} shards done")
    click.echo(summary.state if live else summary.text)


@click.command(epilog="\b\nExample:\n  normpipe show out/ A000014.jpg -o A000014.png --root photos/")
@_OUT
@click.argument("sample_id")
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write the pictures as PNG."
)
@click.option("--root", metavar="URL", help="Where the source files lie; adds the source to the pictures.")
def show(out: Path, sample_id: str, output: Path | None, root: str | None) -> None:
    """Print all columns of a sample's rows; with -o also write source, aligned crop and normalized image side by side."""
    from normpipe.shards.reader import find_rows, read_slice
    from normpipe.sources.root import existing_root, path_to_uri

    if any("\udc80" <= char <= "\udcff" for char in sample_id):
        sample_id = path_to_uri(sample_id)  # a file's name with bytes that are no UTF-8; ids hold them escaped
    source = None if root is None else existing_root(root)
    places = find_rows(out, sample_id)
    if not places:
        raise UsageError(f"{out.name}: no sample {sample_id!r} among the committed shards (`normpipe export` lists all)")
    for part, index in places:
        click.echo("\n".join(_columns(read_slice(part, index, index + 1).to_pylist()[0])))
    if output is None:
        return
    import cv2

    from normpipe.report.rows import read_rows
    from normpipe.report.side_by_side import side_by_side
    from normpipe.report.survey import RowAddress
    from normpipe.shards.atomic import write_bytes

    rows = read_rows(out, [RowAddress(part.stem, index) for part, index in places], source)
    picture = side_by_side(list(rows.values()))
    if picture is None:
        raise UsageError(f"{sample_id!r}: it failed and has no picture; the columns above say why")
    try:
        write_bytes(output, cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes())
    except OSError as error:
        raise UsageError(f"-o {output.name}: cannot be written ({error.strerror})") from error
    click.echo(f"wrote {output}")


def _columns(row: Mapping[str, object]) -> Iterator[str]:
    """Name and value of every column that has one; of an image, its size."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield f"{name}: {len(value['bytes'])} bytes"
        elif isinstance(value, list):
            yield f"{name}: {' '.join(f'{number:g}' for number in value)}"
        elif value is not None:
            yield f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}"


@click.command(epilog="\b\nExamples:\n  normpipe export out/ pictures/\n  normpipe export out/ tars/ --as webdataset")
@_OUT
@click.argument("target", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--as", "layout", type=click.Choice(["folder", "webdataset"]), default="folder", show_default=True)
def export(out: Path, target: Path, layout: Literal["folder", "webdataset"]) -> None:
    """Write the pairs of OUT as image files and labels.csv, or as WebDataset tar files."""
    from normpipe.shards.export import export_folder, export_webdataset

    count = export_folder(out, target) if layout == "folder" else export_webdataset(out, target)
    click.echo(f"exported {count} pairs to {target.name}")
