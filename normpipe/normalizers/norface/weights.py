"""Where a network's files lie, and what can be said of them before torch is loaded.

A run is planned, and refused, from here: the process that plans hashes the files and needs no network. A folder holds what
`NorfacePipeline.save_pretrained` writes: model_index.json and, for each part, its configuration and its weights in safetensors.
Weights in pickles are refused, since reading one runs its code.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

from normpipe.errors import ModelUnavailableError, UsageError
from normpipe.shards.atomic import sha256_of

SHIPPED = Path(__file__).resolve().parents[2] / "assets" / "norface"

INDEX_FILE = "model_index.json"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"

FLOW_DECODER = "FlowDecoder"

PARTS: Mapping[str, tuple[str, ...]] = {
    "encoder": ("FaceEncoder",),
    "merger": ("ExpressionMerger",),
    "decoder": ("WarpDecoder", FLOW_DECODER),
    "common_face": ("CommonFace",),
    "layout": ("FaceLayout",),
}
"""Folder of each part, and the classes of which it may be."""

FILES = (INDEX_FILE, *(f"{part}/{file}" for part in PARTS for file in (CONFIG_FILE, WEIGHTS_FILE)))

_CLASS_KEY = "_class_name"
_PIPELINE_CLASS = "NorfacePipeline"
_HUB = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
_REMEDY = "name a folder that NorfacePipeline.save_pretrained wrote"

Value = float | tuple[float, ...]


def weights_folder(where: str | Path | None) -> Path:
    """The folder of a network's files, all of them there and of the right kind.

    Args:
        where: A folder, or `hf://owner/name` or `hf://owner/name@revision` for a repository of the Hugging Face hub, whose
            files are fetched unless they are in its cache; None for the weights that ship with the package.

    Raises:
        ModelUnavailableError: there is no such folder or repository.
        UsageError: it does not hold a norface pipeline in safetensors.
    """
    if where is None:
        folder = SHIPPED
    elif str(where).startswith("hf://"):
        folder = _fetched(str(where))
    else:
        folder = Path(where)
        if not folder.is_dir():
            raise ModelUnavailableError(f"weights {shown_weights(where)}: no such folder; {_REMEDY}")
    name = shown_weights(where)
    _refuse_pickles(folder, name)
    _check_index(folder, name)
    for part in PARTS:
        part_config(folder, part, name)
        _check_header(folder, part, name)
    return folder


def shown_weights(where: str | Path | None) -> str:
    """The weights as messages name them, without the folders above."""
    if where is None:
        return "norface"
    return str(where) if str(where).startswith("hf://") else Path(where).absolute().name


def is_pinned(where: str | Path | None) -> bool:
    """Whether these weights stay what they are wherever and whenever they are looked for; a name on the hub may move."""
    found = _HUB.fullmatch(str(where))
    return found is None or re.fullmatch(r"[0-9a-f]{40}", found["revision"] or "") is not None


def weights_sha256(folder: Path) -> str:
    """Hex digest over all files that are read."""
    return hashlib.sha256(json.dumps({file: sha256_of(folder / file) for file in FILES}).encode()).hexdigest()


def part_config(folder: Path, part: str, name: str) -> dict[str, Value]:
    """A part's options, as its class takes them but for their names and ranges.

    Raises:
        UsageError: the file is missing or damaged, of another class, or an option is neither a number from 0 on nor a list of
            them.
    """
    place = f"{part}/{CONFIG_FILE}"
    part_class(folder, part, name)
    options: dict[str, Value] = {}
    for key, value in _document(folder, place, name).items():
        if key.startswith("_"):  # diffusers' own notes
            continue
        numbers = [number for number in (value if isinstance(value, list) else [value]) if _is_number(number)]
        if not numbers or (isinstance(value, list) and len(numbers) < len(value)):
            raise UsageError(f"weights {name}: {place}: {key} is neither a number from 0 on nor a list of them; {_REMEDY}")
        options[key] = tuple(numbers) if isinstance(value, list) else numbers[0]
    return options


def part_class(folder: Path, part: str, name: str) -> str:
    """The name of a part's class, one of PARTS.

    Raises:
        UsageError: the file is missing or damaged, or of another class.
    """
    place = f"{part}/{CONFIG_FILE}"
    found = _document(folder, place, name).get(_CLASS_KEY)
    if isinstance(found, str) and found in PARTS[part]:
        return found
    raise UsageError(f"weights {name}: {place} is of {found}, not of {' or '.join(PARTS[part])}; {_REMEDY}")


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _check_index(folder: Path, name: str) -> None:
    index = _document(folder, INDEX_FILE, name)
    if index.get(_CLASS_KEY) != _PIPELINE_CLASS:
        raise UsageError(f"weights {name}: {INDEX_FILE} is of {index.get(_CLASS_KEY)}, not of {_PIPELINE_CLASS}; {_REMEDY}")
    for part in PARTS:
        wanted, entry = part_class(folder, part, name), index.get(part)
        if not isinstance(entry, list) or entry[-1:] != [wanted]:
            raise UsageError(f"weights {name}: {INDEX_FILE} names no {wanted} as {part}; {_REMEDY}")


def _check_header(folder: Path, part: str, name: str) -> None:
    from safetensors import SafetensorError, safe_open

    place = f"{part}/{WEIGHTS_FILE}"
    try:
        with safe_open(folder / place, framework="numpy"):
            pass
    except FileNotFoundError as error:
        raise UsageError(f"weights {name}: {place} is missing; {_REMEDY}") from error
    except (SafetensorError, OSError) as error:
        raise UsageError(f"weights {name}: {place} is damaged; get it again") from error


def _refuse_pickles(folder: Path, name: str) -> None:
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        if path.suffix in _PICKLES:
            place = path.relative_to(folder).as_posix()
            raise UsageError(f"weights {name}: {place} is a pickle, which may run code; save the weights as safetensors")


def _document(folder: Path, place: str, name: str) -> dict[str, object]:
    try:
        document = json.loads((folder / place).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"weights {name}: {place} is missing; {_REMEDY}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"weights {name}: {place} cannot be read as JSON; get it again") from error
    if not isinstance(document, dict):
        raise UsageError(f"weights {name}: {place} cannot be read as a JSON object; get it again")
    return document


def _fetched(where: str) -> Path:
    """The hub's files, from its cache where that has them; a commit that the cache has is not asked for."""
    found = _HUB.fullmatch(where)
    if found is None:
        raise UsageError(f"weights {where}: write hf://owner/name or hf://owner/name@revision")
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HFValidationError
    except ImportError as error:
        raise ModelUnavailableError(f"weights {where}: the hub's client is missing: pip install 'normpipe[norface]'") from error
    try:
        folder = Path(hf_hub_download(found["name"], INDEX_FILE, revision=found["revision"])).parent
        for file in FILES[1:]:  # of the same commit, whatever happens to the revision meanwhile
            hf_hub_download(found["name"], file, revision=folder.name)
    except (OSError, HFValidationError) as error:  # what the hub answers, no network, no room
        raise ModelUnavailableError(
            f"weights {where}: the hub does not give them ({type(error).__name__}); check name and network, or name a folder"
        ) from error
    return folder
