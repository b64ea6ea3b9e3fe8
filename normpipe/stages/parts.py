"""What the tasks of this package share: a prepared process, and micro-batches of a shard written as parts of tables."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from normpipe.config import Pipeline
from normpipe.engine.tasks import Advance, OutputFile, Shard, ShardResult
from normpipe.engine.threads import limit_libraries
from normpipe.errors import IncompatibleRunError
from normpipe.faces.build import build_detector, build_landmarker
from normpipe.normalizers.build import build_normalizer
from normpipe.records import Reason
from normpipe.shards.reader import read_slice
from normpipe.shards.writer import ShardWriter
from normpipe.sources.root import Root
from normpipe.stages.environment import environment
from normpipe.stages.pipeline import Models, Rows, StageClock
from normpipe.stages.source_check import sources_digest

MANIFEST_FILE = "manifest.parquet"
FACES_FOLDER = "faces"
SHARDS_FOLDER = "shards"
ANALYSIS_FOLDER = "analysis"


def build_models(pipeline: Pipeline) -> Models:
    """The models that a configuration names; the normalizer is not yet prepared."""
    device = pipeline.execution.device
    return Models(
        detector=build_detector(pipeline.detect, device),
        landmarker=build_landmarker(pipeline.detect, device),
        normalizer=build_normalizer(pipeline),
    )


def fingerprints_of(models: Models) -> dict[str, str]:
    """What of the models decides about a run's bytes, by name."""
    return {
        "detector": models.detector.fingerprint,
        "landmarker": models.landmarker.fingerprint,
        "normalizer": models.normalizer.fingerprint,
    }


@dataclass(slots=True)
class StageTask:
    """What the tasks of this package have in common; workers get their own copy and load their own models.

    Attributes:
        out: The run's folder, which holds the manifest's copy and takes the shards.
        root: Where the manifest's files are.
        pipeline: Configuration.
        environment: What the plan says of the environment; a worker that differs refuses.
        fingerprints: What the plan says of the models, see `fingerprints_of`; a worker that finds others refuses.
        build: Makes the models on the worker.
        withdrawn: Manifest rows whose people have withdrawn consent; they are not touched.
    """

    out: Path
    root: Root
    pipeline: Pipeline
    environment: dict[str, str]
    fingerprints: dict[str, str]
    build: Callable[[Pipeline], Models] = build_models
    withdrawn: frozenset[int] = frozenset()
    _models: Models | None = field(default=None, init=False, repr=False)

    def prepare(self) -> None:
        """Set thread counts and make the models.

        Raises:
            IncompatibleRunError: this worker would write other bytes than the plan's environment, and may not; or its files of
                a model are others.
            NormpipeError: a model is missing or unusable.
        """
        limit_libraries()
        here = environment(self.pipeline)
        different = [name for name in self.environment if self.environment[name] != here.get(name)]
        if different and not self.pipeline.execution.allow_mixed:
            raise IncompatibleRunError(f"a worker's environment differs from the plan's in: {', '.join(different)}")
        models = self.build(self.pipeline)
        found = fingerprints_of(models)
        other = [name for name in self.fingerprints if self.fingerprints[name] != found[name]]
        if other:
            raise IncompatibleRunError(f"a worker has other files than the plan of: {', '.join(other)}; give all the same")
        self._models = models

    @property
    def models(self) -> Models:
        """The models of this process."""
        assert self._models is not None, "prepare comes first"
        return self._models

    def untouched(self, shard: Shard, excluded: Mapping[int, Reason]) -> dict[int, Reason]:
        """Rows of a shard that fail without being looked at: the excluded ones and those that were withdrawn."""
        withdrawn = self.withdrawn.intersection(range(shard.start, shard.stop))
        return {**excluded, **dict.fromkeys(sorted(withdrawn), Reason.WITHDRAWN)}

    def manifest(self, start: int, stop: int) -> pa.Table:
        """Rows of the run's copy of the manifest."""
        return read_slice(self.out / MANIFEST_FILE, start, stop)


def write_parts(
    task: StageTask,
    shard: Shard,
    tables: Mapping[str, pa.Schema],
    stages: Callable[[pa.Table], Iterator[Rows]],
    clock: StageClock,
    advance: Advance,
    settled: Mapping[Reason, int] | None = None,
) -> ShardResult:
    """Run a shard's rows through the stages and write one part of each table, atomically.

    Args:
        task: Where, and of what.
        shard: Which rows.
        tables: Schema of each table by its folder, in the order of `Rows.batches`.
        stages: Makes micro-batches of the shard's manifest rows.
        clock: Takes the seconds of writing, and has those of the stages.
        advance: Told of each micro-batch when it is written.
        settled: See ShardResult.
    """
    manifest = task.manifest(shard.start, shard.stop)
    sources = sources_digest(task.root, manifest["uri"].to_pylist())
    paths = [f"{folder}/{shard.name}.parquet" for folder in tables]
    rows = 0
    failed: Counter[Reason] = Counter()
    with ExitStack() as stack:
        writers = [
            stack.enter_context(ShardWriter(task.out / path, schema))
            for path, schema in zip(paths, tables.values(), strict=True)
        ]
        for done in stages(manifest):
            with clock.measure("write"):
                for writer, batch in zip(writers, done.batches, strict=True):
                    writer.append(batch)
            reasons = [failure.reason for failure in done.failures if failure is not None]
            failed.update(reasons)
            rows += len(done.failures)
            advance(done.frames, len(done.failures) - len(reasons), len(reasons))
        with clock.measure("write"):
            stack.close()
    written = [writer.written for writer in writers]
    files = tuple(OutputFile(path, file.sha256, file.size) for path, file in zip(paths, written, strict=True))
    return ShardResult(files, rows, rows - failed.total(), dict(failed), dict(clock.seconds), sources, dict(settled or {}))
