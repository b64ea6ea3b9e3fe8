"""`normpipe models`: what the model store holds, bringing models into it, checking them and the embedded ones."""

from pathlib import Path

import click

from normpipe.assets import store as model_store
from normpipe.assets.registry import REGISTRY, ModelEntry
from normpipe.assets.store import ModelState
from normpipe.errors import ModelUnavailableError, UsageError
from normpipe.faces.networks import EMBEDDED_NETWORKS

_store_option = click.option(
    "--store",
    "--offline-folder",
    "store",
    type=click.Path(file_okay=False, path_type=Path),
    envvar=model_store.STORE_VARIABLE,
    help=f"Folder of the model store.  [env: {model_store.STORE_VARIABLE}; default: in the user's data folder]",
)


@click.group(epilog="\b\nExample:\n  normpipe models verify")
def models() -> None:
    """Models: embedded ones ship with normpipe, others live in a store that only `pull` writes."""


@models.command("list", epilog="\b\nExample:\n  normpipe models list --store /data/models")
@_store_option
def list_models(store: Path | None) -> None:
    """Show every known model, its terms and whether it is there."""
    folder = model_store.store_folder(store)
    click.echo(f"store: {click.format_filename(folder)}")
    for file in EMBEDDED_NETWORKS:
        click.echo(f"{file.name}  [embedded]  {file.size:,} bytes\n    terms: declared Apache-2.0 by the wheel that carried it")
    for model in REGISTRY:
        size = "size not known" if model.size is None else f"{model.size:,} bytes"
        click.echo(
            f"{model.name}  [{model_store.state(model, folder)}]  {size}\n    file:  {model.file}\n    terms: {model.licence}"
        )
        click.echo(f"    use:   {model.note}")
        if gaps := _gaps(model):
            click.echo(f"    {gaps}")


@models.command(epilog="\b\nExample:\n  normpipe models pull mediapipe-face-landmarker --from face_landmarker.task")
@click.argument("name")
@click.option(
    "--from", "source", type=click.Path(dir_okay=False, path_type=Path), help="A file you have, instead of the network."
)
@_store_option
def pull(name: str, source: Path | None, store: Path | None) -> None:
    """Bring a model into the store, after its hash was checked."""
    model = model_store.entry(name)
    click.echo(f"{model.name}: terms: {model.licence}")
    model_store.pull(model, model_store.store_folder(store), source)
    click.echo(f"{model.name}: stored as {model.file}")


@models.command(epilog="\b\nExample:\n  normpipe models verify --store /data/models")
@_store_option
def verify(store: Path | None) -> None:
    """Check the embedded weights and all models of the store against their hashes; fails if any is damaged."""
    damaged = []
    for file in EMBEDDED_NETWORKS:
        try:
            file.read()
        except ModelUnavailableError:
            damaged.append(file.name)
        click.echo(f"{file.name}: {ModelState.DAMAGED if file.name in damaged else ModelState.OK}")
    folder = model_store.store_folder(store)
    for model in REGISTRY:
        found = model_store.state(model, folder)
        click.echo(f"{model.name}: {found}")
        if found is ModelState.DAMAGED:
            damaged.append(model.name)
    if damaged:
        raise UsageError(f"damaged: {', '.join(damaged)}; delete the file and pull it again, or reinstall normpipe")


def _gaps(model: ModelEntry) -> str:
    missing = [what for what, value in (("hash", model.sha256), ("address", model.url)) if value is None]
    return f"no verified {' or '.join(missing)} is known: cannot be pulled from the network" if missing else ""
