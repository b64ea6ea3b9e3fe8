"""A trained classifier as a folder: the network's configuration and weights, and what a predictor must know besides.

`load_classifier` is stricter than the library that wrote the files: what is missing, damaged or of another network is an error,
where diffusers would fill in random weights with a warning; nothing but JSON and safetensors is read. All but the weights
themselves is looked at without torch, so that the process that plans a prediction need not load it.
"""

import hashlib
import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from normpipe.classify.arms import Arm
from normpipe.classify.card import Card, card_text
from normpipe.classify.labels import LabelSpace, Task
from normpipe.classify.networks.options import LnlOptions, NetworkOptions, NorfaceOptions
from normpipe.config import Section
from normpipe.errors import ModelUnavailableError, UsageError
from normpipe.shards.atomic import sha256_of, write_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from normpipe.classify.networks.build import Network

FORMAT_VERSION = 1

CLASSIFIER_FILE = "classifier.json"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
CARD_FILE = "README.md"

FILES = (CLASSIFIER_FILE, CONFIG_FILE, WEIGHTS_FILE)
"""What is read; the card is for people."""

_KINDS = {"NorfaceClassifier": "norface", "LnlClassifier": "lnl"}
_OPTIONS: TypeAdapter[NetworkOptions] = TypeAdapter(NetworkOptions)
_LIBRARIES = ("torch", "diffusers", "safetensors")
_HUB = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+)@(?P<commit>[0-9a-f]{40})")
_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
_REMEDY = "name a folder that `normpipe classify train` wrote"
_ANOTHER_NETWORK = "weights and options are of different networks; save them together"


@dataclass(frozen=True, slots=True)
class SavedClassifier:
    """What a predictor must know besides the network.

    Attributes:
        arm: Which pictures of a pair it sees.
        size: Pixels along the side of a picture.
        space: Task, and the labels in the order of the outputs.
    """

    arm: Arm
    size: int
    space: LabelSpace


class _Told(Section):
    """classifier.json."""

    format_version: int
    arm: Arm
    size: Annotated[int, Field(ge=16, le=1024)]
    task: Task
    labels: tuple[str, ...]


def save_classifier(folder: Path, network: "Network", classifier: SavedClassifier, card: Card) -> None:
    """Write a classifier, whole or not at all; one that is there already is replaced.

    Args:
        folder: Its place; the folder above it must exist.
        network: Its weights are written as they are.
        classifier: What it was trained for, which must be what the network was built for.
        card: What is told of it to people.

    Raises:
        UsageError: the weights cannot be written.
    """
    from safetensors import SafetensorError

    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        network.save_pretrained(part)
    except SafetensorError as error:
        raise UsageError(f"{folder.name}: cannot write the weights ({error}); free some space and go on") from error
    space = classifier.space
    told = _Told(format_version=FORMAT_VERSION, arm=classifier.arm, size=classifier.size, task=space.task, labels=space.names)
    write_bytes(part / CLASSIFIER_FILE, (told.model_dump_json(indent=2) + "\n").encode())
    parameters = sum(weight.numel() for weight in network.parameters())
    text = card_text(type(network).__name__, parameters, classifier.arm, classifier.size, space, card)
    write_bytes(part / CARD_FILE, text.encode())
    _check_fit(part, folder.name)  # what was given may be of another network
    for path in part.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    part.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def classifier_folder(where: str | Path) -> Path:
    """The folder of a classifier, whose files are there, of the right kind, and fit each other as far as torch is not needed.

    Args:
        where: A folder, or `hf://owner/name@commit` for a repository of the Hugging Face hub, whose files are fetched unless
            they are in its cache.

    Raises:
        ModelUnavailableError: there is no such folder or repository, or a package that reads it is missing.
        UsageError: it does not hold a classifier in safetensors.
    """
    name = shown_classifier(where)
    missing = [library for library in _LIBRARIES if find_spec(library) is None]
    if missing:
        raise ModelUnavailableError(f"classifier {name}: needs {' and '.join(missing)}: pip install 'normpipe[classify]'")
    folder = _fetched(str(where)) if str(where).startswith("hf://") else Path(where)
    if not folder.is_dir():
        raise ModelUnavailableError(f"classifier {name}: no such folder; {_REMEDY}")
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        if path.suffix in _PICKLES:
            place = path.relative_to(folder).as_posix()
            raise UsageError(f"classifier {name}: {place} is a pickle, which may run code; save the weights as safetensors")
    _check_fit(folder, name)
    _check_header(folder, name)
    return folder


def shown_classifier(where: str | Path) -> str:
    """The classifier as messages name it, without the folders above."""
    return str(where) if str(where).startswith("hf://") else Path(where).absolute().name


def read_classifier(folder: Path) -> SavedClassifier:
    """What the folder says of its classifier.

    Raises:
        UsageError: classifier.json is missing or damaged, or of another format.
    """
    name = shown_classifier(folder)
    document = _document(folder, CLASSIFIER_FILE, name)
    found = document.get("format_version")
    if found != FORMAT_VERSION:
        raise UsageError(
            f"classifier {name}: {CLASSIFIER_FILE} is of format {found}, this version reads {FORMAT_VERSION}; update normpipe"
        )
    try:
        told = _Told.model_validate(document)
        return SavedClassifier(told.arm, told.size, LabelSpace(told.task, told.labels))
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise UsageError(f"classifier {name}: {CLASSIFIER_FILE}: {key} cannot be right; {_REMEDY}") from error
    except UsageError as error:
        raise UsageError(f"classifier {name}: {CLASSIFIER_FILE}: {error}") from error


def classifier_sha256(folder: Path) -> str:
    """Hex digest over all files that are read."""
    return hashlib.sha256(json.dumps({file: sha256_of(folder / file) for file in FILES}).encode()).hexdigest()


def network_options(folder: Path) -> NetworkOptions:
    """What network the folder holds.

    Raises:
        UsageError: config.json is missing or damaged, or describes no network that is known here.
    """
    name = shown_classifier(folder)
    document = _document(folder, CONFIG_FILE, name)
    kind = _KINDS.get(str(document.get("_class_name")))
    if kind is None:
        raise UsageError(
            f"classifier {name}: {CONFIG_FILE} is of {document.get('_class_name')}, not of {' or '.join(_KINDS)}; {_REMEDY}"
        )
    known = (NorfaceOptions if kind == "norface" else LnlOptions).model_fields
    given = {key: value for key, value in document.items() if key in known}
    try:
        return _OPTIONS.validate_python({**given, "kind": kind})
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"][1:]))
        raise UsageError(f"classifier {name}: {CONFIG_FILE}: {key} cannot be right; {_REMEDY}") from error


def load_classifier(where: str | Path) -> tuple["Network", SavedClassifier]:
    """A classifier, every weight of it from its file, in evaluation mode.

    Args:
        where: See classifier_folder.

    Raises:
        ModelUnavailableError: there is no such folder or repository, or a package is missing.
        UsageError: a file is missing, damaged, a pickle, or of another network.
    """
    folder, name = classifier_folder(where), shown_classifier(where)
    classifier = read_classifier(folder)
    from safetensors.torch import load_file

    from normpipe.classify.networks.build import build_network

    try:
        network = build_network(network_options(folder), classifier.space, classifier.arm.views, classifier.size, seed=0)
    except (ArithmeticError, AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"classifier {name}: no network can be made of {CONFIG_FILE}; {_REMEDY}") from error
    state = load_file(folder / WEIGHTS_FILE)
    _check_state(state, network.state_dict(), name)
    network.load_state_dict(state)
    network.eval().requires_grad_(requires_grad=False)
    return network, classifier


def parameter_count(folder: Path) -> int:
    """How many numbers the network of a folder has learnt; errors as of classifier_folder."""
    from safetensors import safe_open

    with safe_open(classifier_folder(folder) / WEIGHTS_FILE, framework="numpy") as weights:
        return sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118 (no mapping)


def _check_state(state: Mapping[str, "Tensor"], expected: Mapping[str, "Tensor"], name: str) -> None:
    for key in sorted(set(state) ^ set(expected)):
        trouble = "is missing" if key in expected else "is unknown"
        raise UsageError(f"classifier {name}: the tensor {key} {trouble}: {_ANOTHER_NETWORK}")
    for key, tensor in state.items():
        wanted = expected[key]
        if tensor.shape != wanted.shape or tensor.is_floating_point() != wanted.is_floating_point():
            shapes = f"{tuple(tensor.shape)} of {tensor.dtype}, not {tuple(wanted.shape)} of {wanted.dtype}"
            raise UsageError(f"classifier {name}: the tensor {key} is {shapes}: {_ANOTHER_NETWORK}")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UsageError(f"classifier {name}: the tensor {key} holds what is no number; train it again")


def _check_fit(folder: Path, name: str) -> None:
    """What both files say of the network must be the same."""
    classifier, config = read_classifier(folder), _document(folder, CONFIG_FILE, name)
    network_options(folder)
    expected: dict[str, JsonValue] = {
        "labels": list(classifier.space.names),
        "views": classifier.arm.views,
        "task": classifier.space.task.value,
        "side": classifier.size,
    }
    for key, value in expected.items():
        if key in config and config[key] != value:
            raise UsageError(f"classifier {name}: {key} of {CONFIG_FILE} and {CLASSIFIER_FILE} differ; save them together")


def _check_header(folder: Path, name: str) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / WEIGHTS_FILE, framework="numpy"):
            pass
    except FileNotFoundError as error:
        raise UsageError(f"classifier {name}: {WEIGHTS_FILE} is missing; {_REMEDY}") from error
    except (SafetensorError, OSError) as error:
        raise UsageError(f"classifier {name}: {WEIGHTS_FILE} is damaged; get it again") from error


def _document(folder: Path, file: str, name: str) -> dict[str, JsonValue]:
    try:
        document = json.loads((folder / file).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"classifier {name}: {file} is missing; {_REMEDY}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"classifier {name}: {file} cannot be read as JSON; get it again") from error
    if not isinstance(document, dict):
        raise UsageError(f"classifier {name}: {file} cannot be read as a JSON object; get it again")
    return document


def _fetched(where: str) -> Path:
    """The hub's files, from its cache where that has them."""
    found = _HUB.fullmatch(where)
    if found is None:
        raise UsageError(f"classifier {where}: write hf://owner/name@commit, with all 40 digits of the commit")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError

    try:
        files = [Path(hf_hub_download(found["name"], file, revision=found["commit"])) for file in FILES]
    except (OSError, HFValidationError) as error:  # what the hub answers, no network, no room
        raise ModelUnavailableError(
            f"classifier {where}: the hub does not give it ({type(error).__name__}); check name and network, or name a folder"
        ) from error
    return files[0].parent
