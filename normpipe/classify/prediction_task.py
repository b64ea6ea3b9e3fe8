"""Predicting as a task of the engine: a part of the pairs becomes a part of predictions, row by row.

A row's place in its batch follows from its number in the part alone, and a row without pictures leaves its place empty: so
what is said of a row depends neither on workers nor on what has become of other rows.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from normpipe.classify.predicted_parts import Part
from normpipe.classify.predicted_rows import (
    PREDICTIONS_FOLDER,
    STORED_SCHEMA,
    predictions_batch,
    predictions_schema,
    stored_failures,
)
from normpipe.classify.saved import classifier_folder, classifier_sha256
from normpipe.config import Execution, Pipeline
from normpipe.engine.tasks import Advance, OutputFile, Shard, ShardResult
from normpipe.engine.threads import limit_libraries
from normpipe.errors import IncompatibleRunError
from normpipe.records import Failure, Reason
from normpipe.shards.writer import ShardWriter
from normpipe.stages.environment import environment, library_version

if TYPE_CHECKING:
    from normpipe.classify.predictor import Predictor, Sample

ALGORITHM_VERSION = 2

Device = Literal["cpu", "cuda"]

_LIBRARIES = ("torch", "diffusers", "transformers", "timm")
_SHARED = ("numpy", "opencv-python", "pyarrow", "processor", "device")


@dataclass(slots=True)
class PredictionTask:
    """A ShardTask that writes `predictions/`.

    Attributes:
        out: The folder of the predictions.
        parts: What is looked at, a part for each shard of the plan.
        starts: First input row of each.
        side: Pixels along the side of the pictures.
        classifier: Its folder, or `hf://owner/name@commit`.
        sha256: Of its files; a worker that has others refuses.
        environment: What the plan says of the environment; a worker that differs refuses.
        device: Where the network is, `cpu` or `cuda`.
    """

    out: Path
    parts: tuple[Part, ...]
    starts: tuple[int, ...]
    side: int
    classifier: str
    sha256: str
    environment: dict[str, str]
    device: Device
    _loaded: "Predictor | None" = field(default=None, init=False, repr=False)

    def prepare(self) -> None:
        """Set thread counts and load the classifier.

        Raises:
            IncompatibleRunError: this worker would predict otherwise than the plan says.
            NormpipeError: the classifier is missing or unusable, there is no such device, or too little memory on it.
        """
        limit_libraries()
        here = prediction_environment(self.device)
        different = [name for name in self.environment if self.environment[name] != here.get(name)]
        if different:
            raise IncompatibleRunError(f"a worker's environment differs from the plan's in: {', '.join(different)}")
        if classifier_sha256(classifier_folder(self.classifier)) != self.sha256:
            raise IncompatibleRunError("a worker has other files than the plan of: classifier; give all the same")
        from normpipe.classify.predictor import Predictor

        self._loaded = Predictor(self.classifier, self.device)

    def run(self, shard: Shard, advance: Advance, excluded: Mapping[int, Reason]) -> ShardResult:
        """Predict one part."""
        began = perf_counter()
        part = self.parts[shard.index]
        starts = part.starts()
        reasons = {
            row: reason
            for frame, reason in excluded.items()
            for row in range(starts[frame - shard.start], starts[frame - shard.start + 1])
        }
        failed: Counter[Reason] = Counter()
        settled: Counter[Reason] = Counter()
        rows = frames = 0
        path = f"{PREDICTIONS_FOLDER}/{shard.name}.parquet"
        predictor = self._predictor
        space = predictor.classifier.space
        with ShardWriter(self.out / path, predictions_schema(space)) as writer:
            for batch in part.batches(STORED_SCHEMA, self._pictures):
                stored = stored_failures(batch, str(part.file))
                found = self._samples(batch, stored, [reasons.get(rows + number) for number in range(batch.num_rows)])
                failures = [each if isinstance(each, Failure) else None for each in found]
                samples = [None if isinstance(each, Failure) else each for each in found]
                writer.append(predictions_batch(batch, failures, predictor.scores(samples), space))
                settled.update(failure.reason for failure in stored if failure is not None)
                lost = [failure.reason for failure in failures if failure is not None]
                failed.update(lost)
                rows += batch.num_rows
                done = int(np.searchsorted(starts[1:], rows, side="right"))
                advance(done - frames, batch.num_rows - len(lost), len(lost))
                frames = done
        written = writer.written
        return ShardResult(
            files=(OutputFile(path, written.sha256, written.size),),
            rows=rows,
            ok=rows - failed.total(),
            failed=dict(failed),
            seconds_by_stage={"predict": perf_counter() - began},
            settled=dict(settled),  # whoever wrote the pairs is done with them
        )

    def probe(self, row: int) -> None:
        """Predict one frame, or one row where these count, alone."""
        index = bisect_right(self.starts, row) - 1
        part, place = self.parts[index], row - self.starts[index]
        low, high = part.starts()[place : place + 2].tolist()
        for batch in part.batches(STORED_SCHEMA, self._pictures, places=range(low, high), most=1):
            (found,) = self._samples(batch, stored_failures(batch, str(part.file)), [None])
            self._predictor.scores([None if isinstance(found, Failure) else found])

    def _samples(
        self, batch: pa.RecordBatch, stored: Sequence[Failure | None], excluded: Sequence[Reason | None]
    ) -> list["Sample | Failure"]:
        """The pictures of each row, or why there are none."""
        names = self._pictures
        contents = zip(*(batch[name].to_pylist() for name in names), strict=True)
        found: list[Sample | Failure] = []
        for failure, reason, pictures in zip(stored, excluded, contents, strict=True):
            if failure is not None:
                found.append(failure)
            elif reason is not None:
                found.append(Failure(reason))
            else:
                found.append(self._predictor.sample(dict(zip(names, pictures, strict=True)), self.side))
        return found

    @property
    def _predictor(self) -> "Predictor":
        assert self._loaded is not None, "prepare comes first"
        return self._loaded

    @property
    def _pictures(self) -> list[str]:
        """Columns of pictures that the classifier sees, each once."""
        return list(dict.fromkeys(self._predictor.classifier.arm.columns))


def prediction_environment(device: Device) -> dict[str, str]:
    """Libraries, processor and device that decide about scores."""
    used = environment(Pipeline(execution=Execution(device=device)))
    return {name: used[name] for name in _SHARED} | {library: library_version(library) for library in _LIBRARIES}
