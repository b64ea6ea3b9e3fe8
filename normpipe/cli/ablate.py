"""`normpipe classify ablate`: what the parts of a classifier are worth."""

import sys
from importlib.util import find_spec
from pathlib import Path

import click

from normpipe.engine.signals import Interrupted, interruptible
from normpipe.engine.threads import limit_environment
from normpipe.errors import ModelUnavailableError

_EPILOG = """
\b
Examples:
  normpipe classify ablate pipelines/classify-emotion.yaml -o ablation/ --set 'data=[runs/raf-db]' --set protocol=raf-db
  normpipe classify ablate au.yaml -o ablation/ --seeds 5 --variants backbones.yaml
  normpipe classify ablate au.yaml -o ablation/ --cells |
    xargs -P 4 -I {} normpipe classify ablate au.yaml -o ablation/ --cell {}

--cell trains single cells of the grid, in as many processes or jobs at once as there is room for; the same command without
it trains what is left, and writes the figures. It also resumes an interrupted ablation.
"""

_NEEDED = ("torch", "accelerate", "diffusers", "safetensors", "sklearn", "skimage", "matplotlib", "threadpoolctl")


@click.command(epilog=_EPILOG)
@click.argument("config", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, metavar="OUT", type=click.Path(file_okay=False, path_type=Path), help="Folder.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Override one key of CONFIG.")
@click.option("--seeds", metavar="N", default=3, show_default=True, type=click.IntRange(1), help="Trainings of each variant.")
@click.option("--variants", metavar="FILE", type=click.Path(path_type=Path), help="What to compare. [the arms, the mixtures]")
@click.option("--floor/--no-floor", default=True, show_default=True, help="Compare with a plain classifier, too.")
@click.option("--cells", "listed", is_flag=True, help="Name the cells that are not done, and end.")
@click.option("--cell", "chosen", metavar="NAME", multiple=True, help="Train this cell of the grid only.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Where to train.")
@click.option("--takeover", is_flag=True, help="Take OUT over from a training that gives no sign of life (no locks there).")
def ablate(
    *,
    config: Path,
    out: Path,
    settings: tuple[str, ...],
    seeds: int,
    variants: Path | None,
    floor: bool,
    listed: bool,
    chosen: tuple[str, ...],
    device: str,
    takeover: bool,
) -> None:
    """Train the training file CONFIG with every arm, without its mixtures of experts, and with several seeds; compare them.

    OUT/ablation.md has the tables, OUT/plots the charts, OUT/ablation.json all figures.
    """
    limit_environment()  # before numpy, so the heavy imports stand below
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ModelUnavailableError(f"an ablation needs {' and '.join(missing)}: pip install 'normpipe[classify]'")
    from normpipe.classify.ablation import load_ablation

    grid = load_ablation(config, settings, seeds, variants, floors=floor)
    try:
        with interruptible():
            from normpipe.classify.ablation_run import compare, compared, pending, train_cells
            from normpipe.classify.session import Means

            if listed:
                for cell in pending(grid, out):
                    click.echo(cell)
                return
            means = Means(device, lambda line: click.echo(line, err=True), takeover)
            found = compared(grid)  # before hours of training
            train_cells(grid, chosen or pending(grid, out), out, means)
            if not chosen:
                click.echo(click.format_filename(compare(found, out, means)))
    except Interrupted as stop:
        click.echo("interrupted; the same command resumes the ablation", err=True)
        sys.exit(stop.exit_code)
