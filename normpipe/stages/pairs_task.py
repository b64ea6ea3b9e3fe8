"""Normalizing faces as a task of the engine: a shard of manifest rows becomes a part of both tables."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from normpipe.config import Pipeline
from normpipe.engine.tasks import Advance, OutputFile, Shard, ShardResult
from normpipe.engine.threads import limit_libraries
from normpipe.errors import IncompatibleRunError
from normpipe.faces.build import build_detector, build_landmarker
from normpipe.normalizers.build import build_normalizer
from normpipe.records import FACES_SCHEMA, PAIRS_SCHEMA, Reason
from normpipe.shards.reader import read_slice
from normpipe.shards.writer import ShardWriter
from normpipe.sources.root import Root
from normpipe.stages.environment import environment
from normpipe.stages.pipeline import Models, StageClock, run_stages

MANIFEST_FILE = "manifest.parquet"
FACES_FOLDER = "faces"
SHARDS_FOLDER = "shards"


def build_models(pipeline: Pipeline) -> Models:
    """The models that a configuration names; the normalizer is not yet prepared."""
    device = pipeline.execution.device
    return Models(
        detector=build_detector(pipeline.detect, device),
        landmarker=build_landmarker(pipeline.detect, device),
        normalizer=build_normalizer(pipeline),
    )


@dataclass(slots=True)
class PairsTask:
    """A ShardTask; workers get their own copy and load their own models.

    Attributes:
        out: The run's folder, which holds the manifest's copy and takes the shards.
        root: Where the manifest's files are.
        pipeline: Configuration.
        environment: What the plan says of the environment; a worker that differs refuses.
        build: Makes the models on the worker.
    """

    out: Path
    root: Root
    pipeline: Pipeline
    environment: dict[str, str]
    build: Callable[[Pipeline], Models] = build_models
    _models: Models | None = field(default=None, init=False, repr=False)

    def prepare(self) -> None:
        """Set thread counts and load the models.

        Raises:
            IncompatibleRunError: this worker would write other bytes than the plan's environment.
            NormpipeError: a model is missing or unusable.
        """
        limit_libraries()
        here = environment(self.pipeline)
        different = [name for name in self.environment if self.environment[name] != here.get(name)]
        if different:
            raise IncompatibleRunError(f"a worker's environment differs from the plan's in: {', '.join(different)}")
        self._models = self.build(self.pipeline)
        self._models.normalizer.prepare(self.pipeline.execution.device)

    def run(self, shard: Shard, advance: Advance, excluded: Mapping[int, Reason]) -> ShardResult:
        """Write both parts of one shard."""
        assert self._models is not None, "prepare comes first"
        clock = StageClock()
        faces_path, pairs_path = (f"{folder}/{shard.name}.parquet" for folder in (FACES_FOLDER, SHARDS_FOLDER))
        rows = 0
        failed: Counter[Reason] = Counter()
        with ExitStack() as stack:
            faces = stack.enter_context(ShardWriter(self.out / faces_path, FACES_SCHEMA))
            pairs = stack.enter_context(ShardWriter(self.out / pairs_path, PAIRS_SCHEMA))
            manifest = read_slice(self.out / MANIFEST_FILE, shard.start, shard.stop)
            for done in run_stages(manifest, self.root, self.pipeline, self._models, clock):
                with clock.measure("write"):
                    faces.append(done.faces)
                    pairs.append(done.pairs)
                reasons = [failure.reason for failure in done.failures if failure is not None]
                failed.update(reasons)
                rows += len(done.failures)
                advance(done.frames, len(done.failures) - len(reasons), len(reasons))
            with clock.measure("write"):
                stack.close()
        files = tuple(
            OutputFile(path, writer.written.sha256, writer.written.size)
            for path, writer in ((faces_path, faces), (pairs_path, pairs))
        )
        return ShardResult(files, rows, rows - failed.total(), dict(failed), dict(clock.seconds))

    def probe(self, row: int) -> None:
        """Process one manifest row alone."""
        assert self._models is not None, "prepare comes first"
        manifest = read_slice(self.out / MANIFEST_FILE, row, row + 1)
        for _ in run_stages(manifest, self.root, self.pipeline, self._models, StageClock()):
            pass
