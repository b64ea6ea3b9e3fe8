"""Between analyze and render: what must be known of all faces before one is rendered, worked out on the driver.

The digests of what was found become parts of the run's fingerprint. A note in the run's folder says from which faces it was
found, so that a resume with nothing new to reduce does not do it again.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from normpipe.config import Pipeline
from normpipe.engine.fingerprint import Fingerprint
from normpipe.engine.plan import Plan
from normpipe.shards.atomic import write_bytes
from normpipe.stages.faces_table import FacesTable
from normpipe.stages.neutrals import NEUTRALS_FILE, write_neutrals
from normpipe.stages.parts import MANIFEST_FILE
from normpipe.stages.tracks import write_tracks

TRACKS_PART = "reduced.tracks"
NEUTRALS_PART = "reduced.neutrals"

NOTE_FILE = "reduced.json"

_PREFIX = "reduced."


def reduce_faces(faces: FacesTable, plan: Plan, out: Path, pipeline: Pipeline, note: Callable[[str], None]) -> dict[str, str]:
    """Track people and estimate neutral faces, as far as the configuration asks for it.

    Args:
        faces: All faces that were found, or those of another run.
        plan: The plan before anything is reduced.
        out: The run's folder, which takes the results.
        pipeline: Configuration.
        note: Told of every step, since it may take minutes.

    Returns:
        Parts that the fingerprint gains.
    """
    if not (faces.tracked or pipeline.normalize.own_neutral):
        return {}
    source = _source(plan, faces.digest)
    known = _noted(out, source)
    if known is not None and _is_there(faces, out, pipeline):
        return known
    parts = {}
    if faces.tracked:
        note("tracking people through the clips")
        parts[TRACKS_PART] = write_tracks(faces, out / MANIFEST_FILE)
    if pipeline.normalize.own_neutral:
        note("estimating the subjects' neutral faces")
        by_labels = pipeline.normalize.neutral_labels
        parts[NEUTRALS_PART] = write_neutrals(faces, out / MANIFEST_FILE, out / NEUTRALS_FILE, by_labels=by_labels)
    write_note(out, plan, faces.digest, parts)
    return parts


def write_note(out: Path, plan: Plan, digest: str, parts: dict[str, str]) -> None:
    """Say what was found, and from which faces.

    Args:
        out: The run's folder.
        plan: The plan before anything was reduced.
        digest: Of the faces.
        parts: What the fingerprint gained.
    """
    document = {"source": _source(plan, digest), "parts": parts}
    write_bytes(out / NOTE_FILE, (json.dumps(document, indent=2) + "\n").encode())


def with_parts(plan: Plan, parts: dict[str, str]) -> Plan:
    """The plan with what was reduced."""
    return replace(plan, fingerprint=Fingerprint({**plan.fingerprint.parts, **parts}))


def without_parts(plan: Plan) -> Plan:
    """The plan as it is before anything is reduced."""
    parts = {name: value for name, value in plan.fingerprint.parts.items() if not name.startswith(_PREFIX)}
    return replace(plan, fingerprint=Fingerprint(parts))


def reduced_parts(plan: Plan) -> dict[str, str]:
    """What a plan's fingerprint gained by reducing."""
    return {name: value for name, value in plan.fingerprint.parts.items() if name.startswith(_PREFIX)}


def _source(plan: Plan, digest: str) -> str:
    return hashlib.sha256(f"{plan.fingerprint.digest} {digest}".encode()).hexdigest()


def _noted(out: Path, source: str) -> dict[str, str] | None:
    try:
        document = json.loads((out / NOTE_FILE).read_bytes())
        return {str(name): str(value) for name, value in document["parts"].items()} if document["source"] == source else None
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_there(faces: FacesTable, out: Path, pipeline: Pipeline) -> bool:
    tracks = all(faces.tracks_part(index).is_file() for index in range(faces.parts)) if faces.tracked else True
    return tracks and (not pipeline.normalize.own_neutral or (out / NEUTRALS_FILE).is_file())
