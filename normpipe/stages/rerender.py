"""`run --faces RUN`: the faces of a finished run are rendered again, with another identity or strength, and none is sought.

What comes out is byte for byte what a whole run under the same configuration would write; therefore only a run whose faces
were found in the same way on the same rows will do, and its faces table must be as its journal says.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from normpipe.config import FacePolicy, Pipeline
from normpipe.engine.fingerprint import Fingerprint
from normpipe.engine.journal import Journal, ShardRecord, altered_files
from normpipe.engine.plan import Plan, read_plan
from normpipe.errors import IncompatibleRunError, UsageError
from normpipe.stages.environment import RENDERING_LIBRARIES
from normpipe.stages.faces_table import FacesTable
from normpipe.stages.parts import FACES_FOLDER

# Parts of a fingerprint, and beginnings of their names, that decide which faces are found.
_ANALYSIS = ("manifest", "config.decode.", "config.detect.", "detector", "landmarker", "environment.")
_ANALYSIS_STAGES = ("algorithm.decode", "algorithm.detect", "algorithm.tables")
_TRACKING = "algorithm.tracks"

_SHOWN_DIFFERENCES = 5


def analysis_fingerprint(whole: Fingerprint, pipeline: Pipeline) -> Fingerprint:
    """The part of a run's fingerprint that its faces depend on."""
    stages = (*_ANALYSIS_STAGES, _TRACKING) if pipeline.detect.policy is FacePolicy.TRACK else _ANALYSIS_STAGES
    rendering = {f"environment.{library}" for library in RENDERING_LIBRARIES}
    found = {name: value for name, value in whole.parts.items() if name in stages or name.startswith(_ANALYSIS)}
    return Fingerprint({name: value for name, value in found.items() if name not in rendering})


def finished_faces(run: Path, wanted: Fingerprint, pipeline: Pipeline) -> tuple[FacesTable, Plan]:
    """The faces table of a finished run, and its plan.

    Args:
        run: Folder of the run.
        wanted: Fingerprint of the run that is to render them.
        pipeline: Configuration of that run.

    Raises:
        UsageError: `run` is no run's folder.
        IncompatibleRunError: the run is not complete, other faces would be found now, or its table is damaged.
    """
    plan = read_plan(run)
    if plan is None:
        raise UsageError(f"--faces: {run.name} is not a run's folder (it has no plan.json)")
    differences = analysis_fingerprint(plan.fingerprint, pipeline).differences(analysis_fingerprint(wanted, pipeline))
    if differences:
        shown = "; ".join(differences[:_SHOWN_DIFFERENCES])
        raise IncompatibleRunError(f"--faces: the faces of {run.name} were found in another way ({shown}); run without --faces")
    records = Journal(run, plan.fingerprint.digest).committed(plan.shards)
    if len(records) < len(plan.shards):
        raise IncompatibleRunError(
            f"--faces: {run.name} is not complete ({len(records)} of {len(plan.shards)} shards); finish it first"
        )
    for file in altered_files(run, records, {FACES_FOLDER}):
        raise IncompatibleRunError(
            f"--faces: {file} of {run.name} is not the file that its journal tells of; delete it and finish that run again"
        )
    return FacesTable(run.absolute(), FACES_FOLDER, plan.rows, plan.shard_size, faces_digest(records)), plan


def faces_digest(records: Sequence[ShardRecord]) -> str:
    """Hex digest over the first file of each record: its part of the faces."""
    return hashlib.sha256("".join(record.result.files[0].sha256 for record in records).encode()).hexdigest()
