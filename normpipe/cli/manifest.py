"""`normpipe manifest`: build a manifest from a dataset on disk, look at one, check one."""

from collections.abc import Callable, Sequence
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from normpipe.errors import UsageError
from normpipe.records import LABEL_SCHEMA
from normpipe.sources.folder import FolderManifest, PathLabels, build_folder
from normpipe.sources.manifest import check_manifest, read_manifest, write_manifest
from normpipe.sources.media import Kind
from normpipe.sources.root import Root, existing_root
from normpipe.sources.table import TableForm, build_table
from normpipe.sources.video import Sampling

_Command = Callable[..., None]

_LEVEL = click.Choice(["parent", "grandparent"])
_OUTPUT = click.Path(dir_okay=False, path_type=Path)
_SOURCE_OPTIONS = (
    click.option("-o", "--output", type=_OUTPUT, required=True, help="Parquet file to write."),
    click.option("--dataset", help="Name of the dataset, for all rows."),
    click.option(
        "--emotion", "emotions", multiple=True, metavar="RAW=NAME", help="Common name of a raw emotion; RAW= for none."
    ),
    click.option("--stride", type=click.IntRange(min=1), help="Take every N-th frame of a clip."),
    click.option("--fps", type=click.FloatRange(min=0, min_open=True), help="Take so many frames of a clip per second."),
)
_PATH_OPTIONS = (
    click.option("--glob", help='Take only files that match, such as "**/*.jpg".'),
    click.option("--subject-from", type=_LEVEL, help="Folder that names the subject."),
    click.option("--emotion-from", type=_LEVEL, help="Folder that names the emotion."),
    click.option("--split-from", type=_LEVEL, help="Folder that names the split."),
    click.option("--pattern", help="Regular expression with groups named subject, sequence, emotion, split or dataset."),
)


def _options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group()
def manifest() -> None:
    """Build, show and check manifests: the tables of frames and labels that runs start from."""


@manifest.group(epilog="Example: normpipe manifest build folder photos/ -o photos.parquet")
def build() -> None:
    """Make a manifest from a dataset on disk."""


def _media_command(name: str, kinds: frozenset[Kind], description: str, example: str) -> None:
    @build.command(name, help=description, epilog=f"Example: {example}")
    @click.argument("root")
    @_options(*_SOURCE_OPTIONS, *_PATH_OPTIONS)
    def command(
        *,
        root: str,
        output: Path,
        dataset: str | None,
        emotions: Sequence[str],
        stride: int | None,
        fps: float | None,
        glob: str | None,
        subject_from: str | None,
        emotion_from: str | None,
        split_from: str | None,
        pattern: str | None,
    ) -> None:
        levels = {"subject": subject_from, "emotion": emotion_from, "split": split_from}
        labels = PathLabels(
            levels={field: level for field, level in levels.items() if level is not None},
            pattern=pattern,
            emotions=_pairs("--emotion", emotions),
            dataset=dataset,
        )
        built = build_folder(Root(root), glob=glob, kinds=kinds, sampling=_sampling(stride, fps), labels=labels)
        if built.table.num_rows == 0:
            raise UsageError(f"ROOT holds no media to take ({built.hidden} hidden files, {built.other} others)")
        _save(built.table, output)
        _report(built)


_media_command(
    "folder",
    frozenset({Kind.STILL, Kind.VIDEO}),
    "All images and clips below ROOT, a folder or an fsspec URL.",
    "normpipe manifest build folder raf/ -o raf.parquet --split-from grandparent --emotion-from parent",
)
_media_command(
    "video",
    frozenset({Kind.VIDEO}),
    "Frames of all clips below ROOT: videos, animated GIF, WebP, PNG and AVIF. Stills are left out.",
    "normpipe manifest build video clips/ -o clips.parquet --fps 5 --pattern '(?P<subject>S[0-9]+)/'",
)


@build.command(
    epilog="Example: normpipe manifest build table images/ --table labels.csv -o m.parquet --map path=uri"
    " --map person=subject --map AU12=au_occurrence_12 --missing 9 --emotion 0=neutral"
)
@click.argument("root")
@click.option("--table", "source", type=_OUTPUT, required=True, help="CSV, TSV, JSONL or Parquet.")
@click.option(
    "--map", "columns", multiple=True, metavar="COLUMN=NAME", help="Which column of the table is which of the manifest."
)
@click.option("--missing", multiple=True, metavar="VALUE", help="A cell with this value means: not annotated.")
@_options(*_SOURCE_OPTIONS)
def table(
    *,
    root: str,
    source: Path,
    columns: Sequence[str],
    missing: Sequence[str],
    output: Path,
    dataset: str | None,
    emotions: Sequence[str],
    stride: int | None,
    fps: float | None,
) -> None:
    """Files below ROOT that a label table names. A row that names a clip without a frame becomes one row per frame."""
    form = TableForm(
        columns=_pairs("--map", columns), emotions=_pairs("--emotion", emotions), missing=frozenset(missing), dataset=dataset
    )
    built = build_table(source, existing_root(root), form, _sampling(stride, fps))
    _save(built.table, output)
    if built.unused:
        click.echo(f"columns not used: {', '.join(built.unused)}")
    if built.broken:
        click.echo(f"{built.broken} clips cannot be decoded: one row each")


@manifest.command(epilog="Example: normpipe manifest show photos.parquet")
@click.argument("file", type=_OUTPUT)
@click.option("-n", "--rows", type=click.IntRange(min=0), default=5, show_default=True, help="How many rows to show.")
def show(file: Path, rows: int) -> None:
    """What a manifest holds: rows, people, labels, first rows."""
    content = read_manifest(file)
    console = Console()
    console.print(_summary(content))
    labels = _label_coverage(content)
    if labels.row_count:
        console.print(labels)
    if rows and content.num_rows:
        console.print(_first_rows(content.slice(0, rows)))


@manifest.command(epilog="Example: normpipe manifest check labels.csv --root images/")
@click.argument("file", type=_OUTPUT)
@click.option("--root", help="ROOT of its files; without it, whether they exist is not checked.")
def check(file: Path, root: str | None) -> None:
    """Find what is wrong with a manifest, line by line; exit code 2 if anything is."""
    check_manifest(file, None if root is None else existing_root(root)).raise_if_any()
    click.echo(f"{file.name}: ok")


def _pairs(option: str, values: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for value in values:
        left, equals, right = value.rpartition("=")
        if not equals or not left:
            raise UsageError(f"{option} {value}: write {option} LEFT=RIGHT")
        pairs[left] = right
    return pairs


def _sampling(stride: int | None, fps: float | None) -> Sampling:
    if stride is not None and fps is not None:
        raise UsageError("--stride and --fps exclude each other: give one")
    return Sampling(stride=stride or 1, rate=fps)


def _report(built: FolderManifest) -> None:
    click.echo(f"{built.stills} stills, {built.table.num_rows - built.stills} frames of {built.clips} clips")
    notes = {
        "hidden files": built.hidden,
        "other files not taken": built.other,
        "clips that cannot be decoded: one row each": built.broken,
        "files that --pattern does not match": built.unmatched,
    }
    for note, count in notes.items():
        if count:
            click.echo(f"{count} {note}")


def _save(content: pa.Table, output: Path) -> None:
    try:
        written = write_manifest(content, output)
    except OSError as error:
        raise UsageError(f"{output.name}: cannot be written ({error.strerror})") from error
    click.echo(f"{output.name}: {content.num_rows} rows, {written.size} bytes, sha256 {written.sha256}")


def _summary(content: pa.Table) -> Table:
    grid = Table(show_header=False, box=None)
    clips = pc.is_valid(content.column("frame"))
    frames = pc.sum(clips).as_py() or 0
    grid.add_row("rows", f"{content.num_rows:,}")
    grid.add_row("stills", f"{content.num_rows - frames:,}")
    grid.add_row("frames of clips", f"{frames:,} of {pc.count_distinct(content.column('uri').filter(clips)).as_py():,} clips")
    grid.add_row("subjects", f"{pc.count_distinct(content.column('subject')).as_py():,}")
    for name in ("dataset", "split"):
        grid.add_row(f"{name}s", _counted(content.column(name)))
    return grid


def _counted(column: pa.ChunkedArray, most: int = 10) -> str:
    counts = {item["values"]: item["counts"] for item in pc.value_counts(column.drop_null()).to_pylist()}
    shown = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    text = ", ".join(f"{name} {count:,}" for name, count in shown[:most])
    return (text + (f" and {len(shown) - most} more" if len(shown) > most else "")) or "-"


def _label_coverage(content: pa.Table) -> Table:
    grid = Table("label", "annotated", "share", "values", title="labels")
    for name in LABEL_SCHEMA.names:
        column = content.column(name)
        annotated = len(column) - column.null_count
        if annotated:
            grid.add_row(name, f"{annotated:,}", f"{annotated / len(column):.1%}", _values(column))
    return grid


def _values(column: pa.ChunkedArray) -> str:
    if pa.types.is_string(column.type):
        return _counted(column)
    if pa.types.is_integer(column.type):
        return f"{pc.sum(column).as_py():,} present"
    if pa.types.is_floating(column.type):
        limits = pc.min_max(column).as_py()
        return f"{limits['min']:g} to {limits['max']:g}, mean {pc.mean(column).as_py():.3g}"
    return ""


def _first_rows(content: pa.Table) -> Table:
    names = [name for name in content.column_names if content.column(name).null_count < content.num_rows]
    grid = Table("column", *(str(row) for row in range(1, content.num_rows + 1)), title="first rows")
    for name in names:
        grid.add_row(name, *("" if value is None else str(value) for value in content.column(name).to_pylist()))
    return grid
