"""The pipeline file's model: pipelines/*.yaml becomes a Pipeline, and errors name file, line and key.

Everything under `Pipeline` except `execution` and `gates` decides about the output's bytes and enters the fingerprint;
`execution` says where and how fast the work is done, `gates` when its outcome is good enough, and they do not.
"""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from normpipe.errors import UsageError


class Section(BaseModel):
    """A mapping of the file, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: object, info: ValidationInfo) -> object:
        """`true` is no number, although Python takes it for 1."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("true and false are no values of this key")
        return value


class FacePolicy(StrEnum):
    """Which faces of a frame become rows."""

    LARGEST = "largest"
    CENTRAL = "central"
    ALL = "all"
    BOX = "box"
    TRACK = "track"


class Decode(Section):
    """Reading frames."""

    max_pixels: Annotated[int, Field(gt=0)] = 200_000_000


class Detect(Section):
    """Finding faces and their landmarks. `insightface_pack` names a pack of the model store.

    `smoothing` (policy `track`) is how many neighbouring frames of the clip steady the landmarks of each; 0 leaves them as
    they were found.
    """

    detector: Literal["embedded", "insightface", "mediapipe"] = "embedded"
    landmarker: Literal["embedded", "mediapipe"] = "embedded"
    policy: FacePolicy = FacePolicy.LARGEST
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.5
    smoothing: Annotated[int, Field(ge=0, le=99)] = 0
    insightface_pack: str = "buffalo_l"

    @model_validator(mode="after")
    def _smoothing_needs_tracks(self) -> Self:
        if self.smoothing and self.policy is not FacePolicy.TRACK:
            raise ValueError("detect.smoothing steadies one person through a clip: it needs detect.policy: track")
        return self


class Align(Section):
    """Cutting the face out. `margin` is the room around the template's face, as a share of the crop's side."""

    margin: Annotated[float, Field(ge=0, le=0.4)] = 0.1


class Normalize(Section):
    """Rendering the face again.

    `detail` is the share of the source's wrinkles that is drawn: 0 leaves geometry alone.
    `identity` is the path of a photo whose face replaces the common identity. `background` is RGB.
    `own_neutral` measures expression from each subject's own neutral face, estimated from all of that subject's rows;
    `neutral_labels` lets those that the manifest labels neutral decide alone where there are any. `weights` (norface) is a
    folder that `NorfacePipeline.save_pretrained` wrote, or `hf://owner/name@commit` on the Hugging Face hub; those that
    ship with the package unless given. `batch` (norface) is how many faces pass the network at once: it decides about
    memory, and about the pictures by rounding. `decoder` (norface) says who draws what the network has read: the face mesh,
    exactly, or the network too.
    """

    normalizer: str = "mean_face"
    identity: str | None = None
    own_neutral: bool = False
    neutral_labels: bool = False
    weights: str | None = None
    batch: Annotated[int, Field(ge=1, le=1024)] = 16
    decoder: Literal["mesh", "network"] = "mesh"
    detail: Annotated[float, Field(ge=0, le=1)] = 0.5
    background: tuple[
        Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)], Annotated[int, Field(ge=0, le=255)]
    ] = (61, 61, 61)


class Quality(Section):
    """Measuring the pair. `remeasure` runs the landmarker on the normalized image (pose and score after)."""

    remeasure: bool = True


class Encode(Section):
    """Image bytes in the shards. `quality` is JPEG's or WebP's; PNG ignores it."""

    format: Literal["jpeg", "png", "webp"] = "jpeg"
    quality: Annotated[int, Field(ge=1, le=100)] = 92


class Execution(Section):
    """Where the work is done; never changes a byte of the output, except by the failures that `attempts` lets through.

    `deadline` is how many seconds a worker may go without progress before it is taken as hung. A shard with rows that failed
    for a reason of the environment is tried again after `retry_pause` seconds, then by the next runs, and committed with its
    failures by the run that is attempt number `attempts`. `allow_mixed` lets workers of other environments join: then decoded
    rows agree within a tolerance, not byte by byte.
    """

    workers: Annotated[int, Field(ge=1)] = 1
    scheduler: str | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    deadline: Annotated[float, Field(gt=0)] = 300.0
    attempts: Annotated[int, Field(ge=1)] = 3
    retry_pause: Annotated[float, Field(ge=0)] = 5.0
    allow_mixed: bool = False


class Gates(Section):
    """When a run whose shards are all committed still counts as failed; never changes a byte of the output.

    All but the first are judged by `normpipe audit` (docs/audit.md): a figure passes if its whole interval does, and one that
    cannot be measured does not pass. None asks for nothing.
    """

    max_failed_fraction: Annotated[float, Field(ge=0, le=1)] = 1.0
    max_identity_auc: Annotated[float, Field(ge=0, le=1)] | None = None
    max_rank_one: Annotated[float, Field(ge=0, le=1)] | None = None
    min_expression_correlation: Annotated[float, Field(ge=0, le=1)] | None = None
    min_expression_slope: Annotated[float, Field(ge=0, le=1)] | None = None
    max_group_failure_gap: Annotated[float, Field(ge=0, le=1)] | None = None


class Pipeline(Section):
    """A whole pipeline file."""

    version: Literal[1] = 1
    size: Annotated[int, Field(ge=64, le=1024)] = 256
    seed: Annotated[int, Field(ge=0)] = 0
    shard_size: Annotated[int, Field(ge=1)] = 2048
    limit: Annotated[int, Field(ge=1)] | None = None
    decode: Decode = Decode()
    detect: Detect = Detect()
    align: Align = Align()
    normalize: Normalize = Normalize()
    quality: Quality = Quality()
    encode: Encode = Encode()
    execution: Execution = Execution()
    gates: Gates = Gates()


_File = TypeVar("_File", bound=Section)


def load_pipeline(path: Path | None, overrides: Sequence[str] = ()) -> Pipeline:
    """Read a pipeline file and apply `key=value` overrides (dotted keys, YAML values); the overrides win.

    Raises:
        UsageError: the file is missing, is not YAML, or a key or value is wrong; the message names file, line and key.
    """
    return load_document(Pipeline, path, overrides, "pipeline file", "docs/normalize.md")


def load_document(
    kind: type[_File], path: Path | None, overrides: Sequence[str], called: str, listed: str, given_by: str = "--set"
) -> _File:
    """Read a file of another kind; arguments and errors as for load_pipeline.

    Args:
        kind: Its model.
        path: None for a file without any key.
        overrides: `key=value` each.
        called: What messages call such a file.
        listed: The file of the repository that lists its keys.
        given_by: What messages call the place of the overrides.
    """
    text = ""
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{path}: cannot read the {called} ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{path}: not UTF-8 text; save the {called} as UTF-8") from error
    where = str(path) if path is not None else "defaults"
    try:
        document = yaml.safe_load(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader) if text else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{where}, line {line}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{where}: not valid YAML: it holds control characters") from error
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise UsageError(f"{where}: a {called} is a mapping of keys to values")
    overridden = set()
    for override in overrides:
        overridden.add(_apply(document, override, given_by))
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = min(error.errors(), key=lambda each: each["type"] == "missing")  # a misspelt key tells why another is missing
        keys = tuple(str(part) for part in first["loc"])
        dotted = ".".join(keys)
        # A wrong section is reported above the key that was given, a wrong item of a list below it.
        given = [key for key in overridden if f"{key}.".startswith(f"{dotted}.") or dotted.startswith(f"{key}.")]
        if given:
            place = f"{given_by} {min(given)}"
        else:
            key_line = _line_of(node, keys)
            place = f"{where}, line {key_line}, {dotted}" if key_line else f"{where}, {dotted}"
        # What pydantic says in its own terms.
        plain = {
            "extra_forbidden": f"there is no such key; {listed} lists all",
            "model_type": "this is a section: give it keys of its own",
        }
        raise UsageError(f"{place}: {plain.get(first['type'], first['msg'])}") from error


def _apply(document: dict[object, object], override: str, given_by: str) -> str:
    dotted, equals, value = override.partition("=")
    if not equals or not dotted:
        raise UsageError(f"{given_by} {override}: write key=value, for example --set encode.quality=95")
    *parents, last = dotted.split(".")
    target = document
    for parent in parents:
        child = target.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UsageError(f"{given_by} {dotted}: {parent} is not a section")
        target = child
    try:
        target[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"{given_by} {dotted}: {value!r} is not a YAML value") from error
    return dotted


def _line_of(node: yaml.Node | None, keys: Sequence[str]) -> int | None:
    """Line (from 1) of the deepest of the nested keys that the document has."""
    line = None
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            break
        for key_node, value_node in node.value:
            if key_node.value == key:
                line, node = key_node.start_mark.line + 1, value_node
                break
        else:
            break
    return line
