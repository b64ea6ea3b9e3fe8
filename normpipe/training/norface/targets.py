"""Pictures that the network learns to draw, made by the teacher beforehand: of some examples, one at each strength.

A picture takes ten milliseconds, so each is drawn once, by several processes, into parts as the examples' are: what a part
depends on stands in its fingerprint, and what is there is not made again.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from normpipe.batches import Floats, Image
from normpipe.engine.fingerprint import Fingerprint
from normpipe.normalizers.mean_face.model import load_model, model_sha256
from normpipe.shards.atomic import remove_leftovers
from normpipe.training.norface.examples import ExampleSet, decoded_picture, encoded_picture, holds, read_tables, write_table
from normpipe.training.norface.processes import done_in_processes
from normpipe.training.norface.teacher import Layers, Teacher

ALGORITHM_VERSION = 1

STRENGTHS = (0.0, 0.5, 1.0)
PART_EXAMPLES = 100

TARGETS_SCHEMA = pa.schema(
    [
        pa.field("example_id", pa.string(), nullable=False),
        pa.field("strength", pa.float32(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class TargetSet:
    """Drawings to learn, n examples times the three strengths, the strengths of one example together.

    Attributes:
        rows: (n,) which examples.
        passed: (3 n, 121) float32, what of their codes passed.
        encoded: 3 n pictures as the files' bytes.
    """

    rows: NDArray[np.intp]
    passed: Floats
    encoded: pa.ChunkedArray

    def __len__(self) -> int:
        return len(self.passed)

    def picture(self, index: int) -> Image:
        """(side, side, 3) uint8 RGB."""
        return decoded_picture(self.encoded[index].as_py())


@dataclass(frozen=True, slots=True)
class _Order:
    """All that the pictures of m examples are drawn from."""

    ids: tuple[str, ...]
    encoded: tuple[bytes, ...]
    landmarks: NDArray[np.float16]
    points: Floats
    layers: Layers

    def fingerprint(self) -> str:
        """What the part's bytes depend on."""
        digest = hashlib.sha256("\n".join(self.ids).encode())
        for image in self.encoded:
            digest.update(hashlib.sha256(image).digest())
        for array in (self.landmarks, self.points, *(getattr(self.layers, field.name) for field in fields(Layers))):
            digest.update(np.ascontiguousarray(array).data)
        parts = {"algorithm": str(ALGORITHM_VERSION), "mean_face": model_sha256(), "content": digest.hexdigest()}
        return Fingerprint(parts).digest


def build_targets(
    examples: ExampleSet,
    rows: NDArray[np.intp],
    passed: Floats,
    teacher: Teacher,
    layers: Layers,
    folder: Path,
    workers: int,
    advance: Callable[[int, int], None],
) -> list[Path]:
    """Draw the targets that are missing or would be others.

    Args:
        examples: All of them.
        rows: (n,) which are drawn.
        passed: (3 n, 121) float32, what of their codes passes, for each example at the three strengths.
        teacher: Says where landmarks go.
        layers: The common face.
        folder: Where the parts are; made if it is not there. Parts beyond the last one are removed.
        workers: Processes.
        advance: Told how many targets there are by now, and of how many.

    Returns:
        The parts; what `read_targets` takes.

    Raises:
        NormpipeError: a process died.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    per = len(STRENGTHS)
    parts, tasks, counts = [], [], []
    for number, start in enumerate(range(0, len(rows), PART_EXAMPLES)):
        own = rows[start : start + PART_EXAMPLES]
        points = np.stack([teacher.layout.points(each) for each in passed[per * start : per * (start + len(own))]])
        order = _Order(
            tuple(examples.ids[own].tolist()),
            tuple(examples.encoded.take(pa.array(own)).to_pylist()),
            examples.landmarks[own],
            points.reshape(len(own), per, *points.shape[1:]),
            layers,
        )
        target = folder / f"part-{number:05d}.parquet"
        parts.append(target)
        if not holds(target, order.fingerprint()):
            tasks.append(partial(_draw_part, order, target))
            counts.append(per * len(own))
    done = len(passed) - sum(counts)
    advance(done, len(passed))
    with closing(done_in_processes(tasks, workers, folder.name)) as drawn:
        for number in drawn:
            done += counts[number]
            advance(done, len(passed))
    for path in set(folder.glob("part-*.parquet")) - set(parts):
        path.unlink()
    return parts


def read_targets(parts: Sequence[Path], rows: NDArray[np.intp], passed: Floats) -> TargetSet:
    """Read what `build_targets` made of the same arguments. Memory holds the encoded pictures.

    Raises:
        UsageError: a part is missing or damaged.
    """
    pictures = pa.schema([TARGETS_SCHEMA.field("image")])
    table = read_tables(parts, pictures, "this part of the targets is missing or damaged; train again")
    return TargetSet(rows, passed, table["image"])


def drawn_evenly(kinds: NDArray[np.str_], count: int, seed: int) -> NDArray[np.intp]:
    """Numbers of at most `count` examples, rising, as many of each kind as there are enough of it."""
    random = np.random.default_rng(seed)
    found = sorted((np.flatnonzero(kinds == kind) for kind in np.unique(kinds)), key=len)
    chosen: list[NDArray[np.intp]] = []
    for number, rows in enumerate(found):
        share = min(len(rows), (count - sum(len(each) for each in chosen)) // (len(found) - number))
        chosen.append(random.permutation(rows)[:share])
    return np.sort(np.concatenate(chosen))


def _draw_part(order: _Order, target: Path) -> None:
    """Draw one part, in this process."""
    model = load_model()
    pictures = [
        encoded_picture(order.layers.picture(points, decoded_picture(encoded), landmarks.astype(np.float32), model))
        for encoded, landmarks, own in zip(order.encoded, order.landmarks, order.points, strict=True)
        for points in own
    ]
    ids = np.repeat(order.ids, len(STRENGTHS)).tolist()
    columns = [
        pa.array(ids, pa.string()),
        pa.array(STRENGTHS * len(order.ids), pa.float32()),
        pa.array(pictures, pa.binary()),
    ]
    write_table(target, pa.Table.from_arrays(columns, schema=TARGETS_SCHEMA), ["strength"], order.fingerprint())
