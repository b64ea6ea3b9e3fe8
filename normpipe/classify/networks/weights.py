"""Where a backbone's first weights come from: the normalizer's encoder, or a model that somebody else trained.

A folder says itself what it holds: what `NorfacePipeline.save_pretrained` wrote, a model of transformers (its config.json
names a `model_type`), or one of timm (its config.json names an `architecture`). Only JSON and safetensors are read. The hub
is asked only for what is named `hf://owner/name@commit` with the whole hash of the commit: a name alone may come to mean
other weights.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue, ValidationError

from normpipe.classify.networks.backbones import Backbone, NormalizerEncoder
from normpipe.classify.networks.options import BackboneOptions, NormalizerEncoderOptions, TimmOptions, TransformersOptions
from normpipe.classify.networks.pretrained import TimmBackbone, TransformersBackbone, unpooled
from normpipe.errors import ModelUnavailableError, UsageError
from normpipe.normalizers.norface.weights import INDEX_FILE, part_config, shown_weights, weights_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CONFIG_FILE = "config.json"
_PROCESSOR_FILE = "preprocessor_config.json"
_WEIGHTS_FILE = "model.safetensors"
_HUB = re.compile(r"hf://(?P<name>[\w.-]+/[\w.-]+)@(?P<commit>[0-9a-f]{40})")
_FETCHED = ["*.json", "*.safetensors"]

_NO_ARCHITECTURE = ("architectures", "dtype", "id2label", "label2id", "torch_dtype", "transformers_version")
"""Keys of a model's configuration that say nothing of its form: what it was used for, and how its numbers were stored."""
_SAME_ENCODER = {"vit_mae": "vit"}
"""Architectures that hide most of a picture at random, and those that they are when they do not."""


def pretrained_options(where: str | None) -> BackboneOptions:
    """What backbone the weights are of.

    Args:
        where: A folder, or `hf://owner/name@commit`; None for the normalizer's weights that ship with the package.

    Raises:
        ModelUnavailableError: there is no such folder or repository.
        UsageError: it holds nothing that is known here.
    """
    folder, name = _folder(where), shown_weights(where)
    if (folder / INDEX_FILE).exists():
        return NormalizerEncoderOptions.model_validate(part_config(weights_folder(folder), "encoder", name))
    document = _document(folder / _CONFIG_FILE, name)
    try:
        if "model_type" in document:
            return _transformers_options(document, _document(folder / _PROCESSOR_FILE, name, optional=True))
        return _timm_options(document)
    except ValidationError as error:
        raise UsageError(f"weights {name}: {_CONFIG_FILE} describes no model of transformers or timm") from error


def load_pretrained(backbone: Backbone, where: str | None) -> None:
    """Give a backbone its first weights.

    Args:
        backbone: Built from `pretrained_options` of the same place.
        where: See there.

    Raises:
        ModelUnavailableError: there is no such folder or repository.
        UsageError: the weights are missing, damaged, or of another network.
    """
    folder, name = _folder(where), shown_weights(where)
    match backbone:
        case NormalizerEncoder():
            _load_encoder(backbone, folder)
        case TransformersBackbone():
            _load_transformers(backbone, folder, name)
        case TimmBackbone():
            _load_timm(backbone, folder, name)
        case _:
            raise UsageError(f"weights {name}: this backbone starts from nothing; leave the weights out")


def _load_encoder(backbone: NormalizerEncoder, folder: Path) -> None:
    from normpipe.normalizers.norface.pipeline import NorfacePipeline

    backbone.encoder.load_state_dict(NorfacePipeline.from_pretrained(folder).encoder.state_dict())


def _load_transformers(backbone: TransformersBackbone, folder: Path, name: str) -> None:
    from safetensors import SafetensorError

    kind = cast("type[PreTrainedModel]", type(backbone.model))
    try:
        with _quiet():
            model, found = kind.from_pretrained(
                folder,
                config=backbone.model.config,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **unpooled(kind),
            )
    except (OSError, RuntimeError, SafetensorError, ValueError) as error:
        raise UsageError(f"weights {name}: no whole {kind.__name__} in safetensors is there; get it again") from error
    _refuse_holes([*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])], name)
    backbone.model.load_state_dict(model.state_dict())


def _load_timm(backbone: TimmBackbone, folder: Path, name: str) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(folder / _WEIGHTS_FILE)
        missing, _ = backbone.model.load_state_dict(state, strict=False)  # there may be a classifier that is not wanted
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"weights {name}: {_WEIGHTS_FILE} is missing, damaged or of another network; get it again") from error
    _refuse_holes(missing, name)


def _refuse_holes(missing: list[str], name: str) -> None:
    if missing:
        raise UsageError(f"weights {name}: the tensor {min(missing)} is missing or of another shape; get it again")


def _transformers_options(document: dict[str, JsonValue], processor: dict[str, JsonValue]) -> TransformersOptions:
    architecture = {key: value for key, value in document.items() if key[0] != "_" and key not in _NO_ARCHITECTURE}
    kind = str(architecture["model_type"])
    architecture["model_type"] = _SAME_ENCODER.get(kind, kind)
    sizes = (architecture.get("image_size"), processor.get("crop_size"), processor.get("size"))
    taken = {
        "side": next((side for side in map(_side, sizes) if side is not None), None),
        "mean": processor.get("image_mean"),
        "deviation": processor.get("image_std"),
    }
    given = {key: value for key, value in taken.items() if value is not None}
    return TransformersOptions.model_validate({"architecture": architecture, **given})


def _timm_options(document: dict[str, JsonValue]) -> TimmOptions:
    trained = document.get("pretrained_cfg")
    known = trained if isinstance(trained, dict) else {}
    taken = {"side": _side(known.get("input_size")), "mean": known.get("mean"), "deviation": known.get("std")}
    given = {key: value for key, value in taken.items() if value is not None}
    return TimmOptions.model_validate({"architecture": document.get("architecture"), **given})


def _side(size: JsonValue) -> int | None:
    """Of a size in any of the forms that libraries write: a number, a list that ends with it, or a mapping."""
    if isinstance(size, dict):
        size = size.get("height", size.get("shortest_edge"))
    if isinstance(size, list) and size:
        size = size[-1]
    return size if isinstance(size, int) else None


def _document(file: Path, name: str, *, optional: bool = False) -> dict[str, JsonValue]:
    if optional and not file.exists():
        return {}
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"weights {name}: {file.name} is missing; name a folder of a norface pipeline or of a model of transformers or timm"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"weights {name}: {file.name} cannot be read as JSON; get it again") from error
    if not isinstance(document, dict):
        raise UsageError(f"weights {name}: {file.name} cannot be read as a JSON object; get it again")
    return document


def _folder(where: str | None) -> Path:
    if where is None:
        return weights_folder(None)
    if where.startswith("hf://"):
        return _fetched(where)
    if not Path(where).is_dir():
        raise ModelUnavailableError(f"weights {shown_weights(where)}: no such folder")
    return Path(where)


def _fetched(where: str) -> Path:
    """The hub's files, from its cache where that has them."""
    found = _HUB.fullmatch(where)
    if found is None:
        raise UsageError(f"weights {where}: write hf://owner/name@commit, with all 40 digits of the commit")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(found["name"], revision=found["commit"], allow_patterns=_FETCHED))
    except (OSError, HFValidationError) as error:  # what the hub answers, no network, no room
        raise ModelUnavailableError(
            f"weights {where}: the hub does not give them ({type(error).__name__}); check name and network, or name a folder"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without progress bars, and reports that name folders."""
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
