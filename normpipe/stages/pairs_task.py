"""Normalizing faces as tasks of the engine.

`PairsTask` makes of a shard of manifest rows a part of both tables; it finds the faces itself, or takes them from a faces
table. `AnalyzeTask` finds the faces alone, for runs where something must be known of all of them before one is rendered.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa

from normpipe.engine.tasks import Advance, Shard, ShardResult
from normpipe.records import FACES_SCHEMA, PAIRS_SCHEMA, Reason
from normpipe.stages.decode import idle
from normpipe.stages.faces_table import FacesTable
from normpipe.stages.neutrals import NEUTRALS_FILE, Neutrals, read_neutrals
from normpipe.stages.parts import ANALYSIS_FOLDER, FACES_FOLDER, SHARDS_FOLDER, StageTask, write_parts
from normpipe.stages.pipeline import Flow, Rows, StageClock, analyze_stages, run_stages


@dataclass(slots=True)
class AnalyzeTask(StageTask):
    """A ShardTask that writes `analysis/`."""

    def run(self, shard: Shard, advance: Advance, excluded: Mapping[int, Reason]) -> ShardResult:
        """Write one part."""
        clock = StageClock()
        flow = _flow(self, clock, advance)
        local = {row - shard.start: reason for row, reason in self.untouched(shard, excluded).items()}
        stages = partial(analyze_stages, flow=flow, excluded=local)
        return write_parts(self, shard, {ANALYSIS_FOLDER: FACES_SCHEMA}, stages, clock, advance)

    def probe(self, row: int) -> None:
        """Process one manifest row alone."""
        for _ in analyze_stages(self.manifest(row, row + 1), _flow(self, StageClock()), {}):
            pass


@dataclass(slots=True)
class PairsTask(StageTask):
    """A ShardTask that writes `faces/` and `shards/`.

    Attributes:
        faces: The faces, where they are known already; None finds them.
    """

    faces: FacesTable | None = None
    _neutrals: Neutrals | None = field(default=None, init=False, repr=False)

    def prepare(self) -> None:
        """Set thread counts and load the models.

        Raises:
            IncompatibleRunError: this worker would write other bytes than the plan's environment.
            NormpipeError: a model is missing or unusable.
        """
        StageTask.prepare(self)
        self.models.normalizer.prepare(self.pipeline.execution.device)
        if self.pipeline.normalize.own_neutral:
            self._neutrals = read_neutrals(self.out / NEUTRALS_FILE)

    def run(self, shard: Shard, advance: Advance, excluded: Mapping[int, Reason]) -> ShardResult:
        """Write both parts of one shard."""
        clock = StageClock()
        flow = _flow(self, clock, advance)
        tables = {FACES_FOLDER: FACES_SCHEMA, SHARDS_FOLDER: PAIRS_SCHEMA}
        excluded = self.untouched(shard, excluded)
        untouchable = self._untouchable(shard.start, shard.stop)
        settled = Counter(reason for row, reason in untouchable.items() if row not in excluded)
        stages = partial(self._stages, flow=flow, start=shard.start, excluded={**untouchable, **excluded})
        return write_parts(self, shard, tables, stages, clock, advance, settled)

    def probe(self, row: int) -> None:
        """Process one manifest row alone."""
        flow = _flow(self, StageClock())
        for _ in self._stages(self.manifest(row, row + 1), flow, row, self._untouchable(row, row + 1)):
            pass

    def _untouchable(self, start: int, stop: int) -> dict[int, Reason]:
        return {} if self.faces is None else self.faces.untouchable(start, stop)

    def _stages(self, manifest: pa.Table, flow: Flow, start: int, excluded: Mapping[int, Reason]) -> Iterator[Rows]:
        stop = start + manifest.num_rows
        stored = None if self.faces is None else self.faces.frames(start, stop)
        local = {row - start: reason for row, reason in excluded.items()}
        return run_stages(manifest, flow, local, stored, self._neutrals)


def _flow(task: StageTask, clock: StageClock, advance: Advance | None = None) -> Flow:
    beat = idle if advance is None else partial(advance, 0, 0, 0)
    return Flow(task.root, task.pipeline, task.models, clock, beat)
