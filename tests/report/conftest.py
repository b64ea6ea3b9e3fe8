"""A run's folder as `normpipe run` leaves it, filled with drawn faces: no network, no photo of anybody."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from normpipe.records import FACES_SCHEMA, MANIFEST_SCHEMA, PAIRS_SCHEMA, Reason, Status


@dataclass
class Row:
    """One row of the made-up run; `reason` None is a row that is ok."""

    sample_id: str
    reason: Reason | None = None
    score: float | None = 0.95
    yaw_after: float = 1.0
    eye_distance: float = 80.0
    sharpness: float = 300.0
    yaw: float = 0.0
    face_index: int | None = 0
    uri: str | None = None
    writes_source: bool = True


@dataclass
class Run:
    """What to write."""

    rows: list[Row]
    part_rows: int = 100
    summary: dict[str, object] | None = field(default_factory=lambda: {"frames_per_second": 41.5, "committed": 1})
    parts: dict[str, str] = field(default_factory=lambda: {"size": "256", "normalize.normalizer": "mean_face"})


def drawn_face(seed: int, size: int = 96) -> np.ndarray:
    """An oval with eyes and a mouth, RGB uint8, (size, size, 3)."""
    random = np.random.default_rng(seed)
    ground, skin = (tuple(int(v) for v in random.integers(60, 220, 3)) for _ in range(2))
    image = np.full((size, size, 3), ground, np.uint8)
    half = size // 2
    cv2.ellipse(image, (half, half), (size // 4, size // 3), 0, 0, 360, skin, -1, cv2.LINE_AA)
    for x in (half - size // 10, half + size // 10):
        cv2.circle(image, (x, half - size // 12), size // 30, (30, 30, 30), -1, cv2.LINE_AA)
    cv2.ellipse(image, (half, half + size // 7), (size // 10, size // 24), 0, 0, 180, (150, 60, 60), -1, cv2.LINE_AA)
    return image


def encoded(image: np.ndarray) -> dict[str, object]:
    _, data = cv2.imencode(".png", image[..., ::-1])
    return {"bytes": data.tobytes(), "path": None}


def oval_landmarks(size: int) -> list[float]:
    """468 points on ellipses around the drawn face's centre, flat."""
    angle = np.linspace(0, 40 * np.pi, 468, endpoint=False)
    radius = np.linspace(0.2, 1, 468)
    points = np.stack(
        [size / 2 + radius * size / 4 * np.cos(angle), size / 2 + radius * size / 3 * np.sin(angle), 0 * angle], 1
    )
    return points.astype(np.float32).ravel().tolist()


def _write(rows: list[dict[str, object]], schema: pa.Schema, path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema), path, row_group_size=16)


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[[Run], Path]:
    """Write a Run and get its folder; source pictures lie in the folder `root` beside it."""

    def write(run: Run) -> Path:
        out, root = tmp_path / "out", tmp_path / "root"
        for folder in (out / "shards", out / "faces", out / "journal", root):
            folder.mkdir(parents=True, exist_ok=True)
        pairs, faces, manifest = [], [], []
        for number, row in enumerate(run.rows):
            ok = row.reason is None
            size = 96
            outcome = {"status": Status.OK if ok else Status.FAILED, "reason": row.reason}
            found = {"box": [24.0, 16.0, 72.0, 80.0], "yaw": row.yaw, "pitch": 2.0, "roll": 0.0} if ok else {}
            face_index = row.face_index if ok else None
            images = {"original": encoded(drawn_face(number)), "normalized": encoded(drawn_face(0))} if ok else {}
            measured = {"eye_distance": row.eye_distance, "sharpness": row.sharpness, "normalized_score": row.score}
            measured["normalized_yaw"] = row.yaw_after
            pairs.append(
                {"sample_id": row.sample_id, "face_index": face_index, **outcome, **found, **images, **(measured if ok else {})}
            )
            faces.append(
                {"sample_id": row.sample_id, "face_index": face_index, **outcome, **found}
                | ({"landmarks": oval_landmarks(size), "width": size, "height": size} if ok else {})
            )
            uri = row.uri or f"picture-{number}.png"
            manifest.append({"sample_id": row.sample_id, "uri": uri})
            if row.reason is not Reason.VANISHED and row.writes_source:
                cv2.imwrite(str(root / uri), drawn_face(number, size)[..., ::-1])
        _write(manifest, MANIFEST_SCHEMA, out / "manifest.parquet")
        for index, start in enumerate(range(0, len(pairs), run.part_rows)):
            stop = start + run.part_rows
            name = f"part-{index:05d}"
            _write(pairs[start:stop], PAIRS_SCHEMA, out / "shards" / f"{name}.parquet")
            _write(faces[start:stop], FACES_SCHEMA, out / "faces" / f"{name}.parquet")
            (out / "journal" / f"{name}.json").write_text("{}")
        plan = {"fingerprint": "ab" * 32, "fingerprint_parts": run.parts, "producer": "normpipe 0", "shards": 1}
        (out / "plan.json").write_text(json.dumps(plan))
        if run.summary is not None:
            (out / "run.json").write_text(json.dumps(run.summary))
        return out

    return write
