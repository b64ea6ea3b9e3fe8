"""The model store: a folder of model files that the user pulled or put there, checked by hash.

Nothing is ever fetched while a pipeline runs: a missing model is an error that says which command brings it. The folder is, in
this order, the one given, the environment variable NORMPIPE_MODELS, or the user's data folder.
"""

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import IO

import platformdirs

from normpipe.assets.registry import REGISTRY, ModelEntry
from normpipe.errors import ModelUnavailableError, UsageError
from normpipe.shards.atomic import sha256_of

STORE_VARIABLE = "NORMPIPE_MODELS"

_CHUNK = 1 << 20
_TIMEOUT = 30.0


class ModelState(StrEnum):
    """What a check of one file found."""

    OK = "ok"
    UNVERIFIED = "present, no verified hash known"
    DAMAGED = "damaged"
    ABSENT = "absent"


def store_folder(chosen: Path | None = None) -> Path:
    """The folder in use; it need not exist."""
    if chosen is not None:
        return chosen
    from_environment = os.environ.get(STORE_VARIABLE)
    return Path(from_environment) if from_environment else platformdirs.user_data_path("normpipe", appauthor=False) / "models"


def entry(name: str, registry: Sequence[ModelEntry] = REGISTRY) -> ModelEntry:
    """The registry's entry of that name.

    Raises:
        UsageError: there is none.
    """
    for candidate in registry:
        if candidate.name == name:
            return candidate
    raise UsageError(f"no model is called {name!r}; known: {', '.join(candidate.name for candidate in registry)}")


def state(model: ModelEntry, store: Path) -> ModelState:
    """Check one file of the store."""
    path = store / model.file
    if not path.is_file():
        return ModelState.ABSENT
    if model.sha256 is None:
        return ModelState.UNVERIFIED
    return ModelState.OK if sha256_of(path) == model.sha256 else ModelState.DAMAGED


def locate(name: str, store: Path | None = None) -> Path:
    """Path of a model that is in the store and whose hash, where one is known, is right.

    Raises:
        ModelUnavailableError: it is absent or damaged.
    """
    model = entry(name)
    folder = store_folder(store)
    found = state(model, folder)
    if found in (ModelState.ABSENT, ModelState.DAMAGED):
        raise ModelUnavailableError(f"model {name} is {found} in the model store: see `normpipe models list`")
    return folder / model.file


def pull(model: ModelEntry, store: Path, source: Path | None = None) -> Path:
    """Bring a model into the store, whole or not at all: temporary file, hash, fsync, rename.

    Args:
        model: Its hash must be known.
        store: Folder, made if absent.
        source: A file that the user already has, instead of the entry's address.

    Raises:
        UsageError: the entry has no verified hash or address, the source cannot be read, or its hash is wrong.
    """
    if model.sha256 is None:
        raise UsageError(f"{model.name}: no verified hash is known, so it is not pulled; put it into the store as {model.file}")
    if source is None and model.url is None:
        raise UsageError(
            f"{model.name}: no verified address is known; fetch it yourself, then `models pull {model.name} --from FILE`"
        )
    target = store / model.file
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=".pull-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as written:
            with _opened(model, source) as incoming:
                digest = _copy(incoming, written)
            if digest != model.sha256:
                raise UsageError(
                    f"{model.name}: the sha256 of what was read is {digest}, expected {model.sha256}; nothing stored"
                )
            written.flush()
            os.fsync(written.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except (OSError, urllib.error.URLError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error.strerror
        raise UsageError(f"{model.name}: cannot be read or stored ({reason}); nothing stored") from error
    finally:
        Path(temporary).unlink(missing_ok=True)
    return target


def _opened(model: ModelEntry, source: Path | None) -> IO[bytes]:
    if source is not None:
        return source.open("rb")
    assert model.url is not None
    if not model.url.startswith("https://"):
        raise UsageError(f"{model.name}: only https addresses are fetched")
    opened: IO[bytes] = urllib.request.urlopen(model.url, timeout=_TIMEOUT)  # noqa: S310 (https checked above)
    return opened


def _copy(incoming: IO[bytes], written: IO[bytes]) -> str:
    """Copy all and return the sha256."""
    digest = hashlib.sha256()
    while chunk := incoming.read(_CHUNK):
        digest.update(chunk)
        written.write(chunk)
    return digest.hexdigest()
