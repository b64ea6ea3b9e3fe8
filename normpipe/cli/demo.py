"""`normpipe demo`: the whole pipeline on sample photos that installed packages bring along."""

import importlib.util
from pathlib import Path

import click

from normpipe.cli.run import normalize
from normpipe.config import load_pipeline
from normpipe.errors import ModelUnavailableError, NormpipeError

# Package, file in it, name of the copy. The packages are located without being imported.
_PHOTOS = (
    ("insightface", "data/images/t1.jpg", "group.jpg"),
    ("skimage", "data/astronaut.png", "astronaut.png"),
)
_FACES = 7


@click.command(epilog="\b\nExample:\n  normpipe demo --out demo-out")
@click.option(
    "--out", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), default=Path("demo-out"), show_default=True
)
def demo(out: Path) -> None:
    """Normalize seven faces of two sample photos (packages insightface and scikit-image) and draw a contact sheet."""
    photos = out / "input"
    _copy_photos(photos)
    pipeline = load_pipeline(None, ["detect.policy=all", "shard_size=1"])
    run = out / "run"
    complete = normalize(str(photos), run, pipeline)

    from normpipe.engine.run import read_summary
    from normpipe.report.sheets import SheetOptions, write_contact_sheets
    from normpipe.sources.root import Root

    faces = read_summary(run).ok
    sheets = write_contact_sheets(run, Root(str(photos)), SheetOptions())
    if not complete or faces < _FACES:
        raise NormpipeError(f"{faces} of {_FACES} faces were normalized; see {run} with `normpipe status {run}`")
    click.echo(f"{faces} faces; look at {sheets['sample']}")


def _copy_photos(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for package, name, copy in _PHOTOS:
        (folder / copy).write_bytes(_package_file(package, name).read_bytes())


def _package_file(package: str, name: str) -> Path:
    """A file of an installed package, found without running any of the package's code."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        path = Path(folder) / name
        if path.is_file():
            return path
    raise ModelUnavailableError(f"the sample photo of {package} is not installed; run: pip install 'normpipe[demo]'")
