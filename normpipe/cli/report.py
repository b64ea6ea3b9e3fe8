"""`normpipe report`: look at a run."""

from pathlib import Path

import click

from normpipe.report.page import write_report
from normpipe.report.sheets import SheetOptions
from normpipe.sources.root import existing_root


@click.command()
@click.argument("out", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--root", metavar="URL", help="Where the source files lie; adds the source pictures to the contact sheets.")
@click.option("--sample", default=24, show_default=True, type=click.IntRange(1, 500), help="Most rows on each contact sheet.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the random sample.")
@click.option("--hash-ids", is_flag=True, help="Show hashes instead of sample ids, which may carry the source's names.")
def report(*, out: Path, root: str | None, sample: int, seed: int, hash_ids: bool) -> None:
    """Write contact sheets and a page with the run's figures to OUT/report.

    The page is one file with its pictures beside it; it opens from disk and needs no network.

    Example: normpipe report runs/raf-db --root /data/raf-db
    """
    options = SheetOptions(count=sample, seed=seed, hash_ids=hash_ids)
    click.echo(write_report(out, None if root is None else existing_root(root), options))
