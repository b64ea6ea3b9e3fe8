"""What norface learns from: one row is a picture of a face and what is known to be true of it.

Examples are of three kinds, since none of them has everything. Heads are rendered, so that their expression is known to the
last weight, but they are no photos. Warps are photos to which the rig's expressions are done: real skin, known expression, but
little variety of pose. Photos are real, and all that is known of them is how mean_face reads them.

The builder (build.py) writes parts of these rows, the training loop reads them back; both know of each other only what is here.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field, model_validator

from normpipe.batches import Floats, Image
from normpipe.config import Section
from normpipe.errors import UsageError
from normpipe.records import LANDMARK_COUNT
from normpipe.shards.atomic import AtomicFile, sha256_of, write_bytes

EXPRESSION_SHAPES = 57
"""Of the rig, in its own order."""

SHAPE_TERMS = 40
"""Rank of mean_face's estimate of the shape."""

DETAIL_TERMS = 24
"""Rank of mean_face's estimate of the wrinkles."""

_QUALITY = 95


class Examples(Section):
    """Section `examples` of a training file: of what the network learns, and how much.

    `runs` are folders of finished runs of `normpipe run` under the normalizer mean_face: each of their pairs becomes a photo.
    The first is the run of the portraits, whose people give the heads their skins and are warped. `rig` is the path of
    `ict_facekit.npz`, which heads and warps need. `heads` and `warps` say how many there are. `side` is that of the pictures.
    """

    runs: Annotated[tuple[str, ...], Field(min_length=1)]
    rig: str | None = None
    heads: Annotated[int, Field(ge=0)] = 0
    warps: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0)] = 0
    side: Annotated[int, Field(ge=64, le=1024)] = 128

    @model_validator(mode="after")
    def _drawn_from_a_rig(self) -> Self:
        if self.rig is None and (self.heads or self.warps):
            raise ValueError("heads and warps are made with the rig: give rig, the path of ict_facekit.npz")
        return self


class Kind(StrEnum):
    """Where an example comes from."""

    HEAD = "head"
    WARP = "warp"
    PHOTO = "photo"


EXAMPLES_SCHEMA = pa.schema(
    [
        pa.field("example_id", pa.string(), nullable=False),
        pa.field("person", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
        pa.field("expression", pa.list_(pa.float32(), EXPRESSION_SHAPES), nullable=False),
        pa.field("shape", pa.list_(pa.float32(), SHAPE_TERMS), nullable=False),
        pa.field("detail", pa.list_(pa.float32(), DETAIL_TERMS), nullable=False),
        pa.field("landmarks", pa.list_(pa.float16(), 3 * LANDMARK_COUNT), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Example:
    """One picture with its truths.

    Attributes:
        example_id: Its kind and number, of a photo the run and the sample; unique.
        person: Who it shows; examples of one person belong on one side of a split.
        kind: Where it comes from.
        image: (side, side, 3) uint8 RGB aligned crop.
        expression: (57,) float32, the rig's weights, 0 to 1; NaN where they are not known.
        shape: (40,) float32, mean_face's estimate of the expression's shape, see read_face.
        detail: (24,) float32, that of its wrinkles.
        landmarks: (468, 3) float32, in sides of the crop.
    """

    example_id: str
    person: str
    kind: Kind
    image: Image
    expression: Floats
    shape: Floats
    detail: Floats
    landmarks: Floats


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """n examples, their pictures still encoded.

    Attributes:
        ids: (n,) str.
        people: (n,) str.
        kinds: (n,) str, values of Kind.
        encoded: n pictures as the files' bytes.
        expression: (n, 57) float32, NaN where not known.
        shape: (n, 40) float32.
        detail: (n, 24) float32.
        landmarks: (n, 468, 3) float16, in sides of the crop.
    """

    ids: NDArray[np.str_]
    people: NDArray[np.str_]
    kinds: NDArray[np.str_]
    encoded: pa.ChunkedArray
    expression: Floats
    shape: Floats
    detail: Floats
    landmarks: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.ids)

    def picture(self, index: int) -> Image:
        """(side, side, 3) uint8 RGB picture of one example."""
        return decoded_picture(self.encoded[index].as_py())


def shrunk(image: Image, side: int) -> Image:
    """A square picture at the examples' side, which is not larger than its own."""
    return (
        image if image.shape[0] == side else np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    )


def write_part(target: Path, examples: Sequence[Example], fingerprint: str) -> None:
    """Write examples to one file, the same bytes for the same examples.

    Args:
        target: Where it appears, whole or not at all.
        examples: Its rows, at least one.
        fingerprint: What tells this part from one made otherwise. It is written last, into a note beside the part.
    """
    columns = [
        pa.array([example.example_id for example in examples], pa.string()),
        pa.array([example.person for example in examples], pa.string()),
        pa.array([example.kind.value for example in examples], pa.string()),
        pa.array([encoded_picture(example.image) for example in examples], pa.binary()),
        *(
            _lists(np.stack([getattr(example, name).reshape(-1) for example in examples]), EXAMPLES_SCHEMA.field(name).type)
            for name in ("expression", "shape", "detail", "landmarks")
        ),
    ]
    write_table(target, pa.Table.from_arrays(columns, schema=EXAMPLES_SCHEMA), ["person", "kind"], fingerprint)


def write_table(target: Path, table: pa.Table, repeated: Sequence[str], fingerprint: str) -> None:
    """Write a part of any columns, of which `image` holds pictures and those `repeated` few values; else as `write_part`."""
    compression = {name: "none" if name == "image" else "zstd" for name in _leaves(table)}
    with AtomicFile(target) as file:
        pq.write_table(table, file, compression=compression, use_dictionary=list(repeated), write_statistics=False)
    assert file.written is not None
    note = {"fingerprint": fingerprint, "sha256": file.written.sha256}
    write_bytes(_note(target), (json.dumps(note, indent=2) + "\n").encode())


def holds(part: Path, fingerprint: str) -> bool:
    """Whether the file was written under the fingerprint and is still what it was. Reads it all."""
    try:
        note = json.loads(_note(part).read_bytes())
        return bool(note == {"fingerprint": fingerprint, "sha256": sha256_of(part)})
    except (OSError, ValueError):
        return False


def read_examples(parts: Sequence[Path]) -> ExampleSet:
    """Read the parts that `build_examples` names, in their order. Memory holds the encoded pictures.

    Raises:
        UsageError: a part is missing or damaged.
    """
    table = read_tables(parts, EXAMPLES_SCHEMA, "this part of the examples is missing or damaged; build the examples again")
    ids, people, kinds = (np.array(table[name].to_pylist(), np.str_) for name in ("example_id", "person", "kind"))
    expression, shape, detail, landmarks = (_rows(table[name]) for name in ("expression", "shape", "detail", "landmarks"))
    return ExampleSet(
        ids=ids,
        people=people,
        kinds=kinds,
        encoded=table["image"],
        expression=expression.astype(np.float32, copy=False),
        shape=shape.astype(np.float32, copy=False),
        detail=detail.astype(np.float32, copy=False),
        landmarks=landmarks.reshape(-1, LANDMARK_COUNT, 3).astype(np.float16, copy=False),
    )


def read_tables(parts: Sequence[Path], schema: pa.Schema, trouble: str) -> pa.Table:
    """The rows of parts that `write_table` wrote, in their order, in the columns of the schema.

    Raises:
        UsageError: a part is missing or damaged; the message is its name and `trouble`.
    """
    tables = []
    for part in parts:
        try:
            with pq.ParquetFile(part) as file:
                tables.append(file.read(columns=schema.names).replace_schema_metadata(None).cast(schema))
        except (OSError, ValueError) as error:  # Arrow raises either, by what is damaged
            raise UsageError(f"{part.name}: {trouble}") from error
    return pa.concat_tables([schema.empty_table(), *tables])


def _note(part: Path) -> Path:
    return part.with_suffix(".json")


def encoded_picture(image: Image) -> bytes:
    """JPEG without subsampled chroma: at this side, half the resolution would leave little of the lips' colour."""
    full = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    done, buffer = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY, *full])
    assert done, "OpenCV encodes every 8-bit RGB image"
    return buffer.tobytes()


def decoded_picture(content: bytes) -> Image:
    """The inverse of `encoded_picture`, but for what JPEG loses."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert image is not None, "parts hold pictures"
    return np.asarray(image, np.uint8)


def _lists(values: Floats, kind: pa.DataType) -> pa.Array:
    """(n, length) numbers as a fixed-size list column."""
    flat = np.ascontiguousarray(values).reshape(-1).astype(kind.value_type.to_pandas_dtype())
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, kind.value_type), type=kind)


def _rows(column: pa.ChunkedArray) -> NDArray[np.floating]:
    """The inverse of `_lists`, of whole columns."""
    flat = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate(flat).reshape(-1, column.type.list_size)


def _leaves(table: pa.Table) -> list[str]:
    sink = pa.BufferOutputStream()
    pq.write_table(table.schema.empty_table(), sink)
    return [column.path for column in pq.ParquetFile(sink.getvalue()).schema]
