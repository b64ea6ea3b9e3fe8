"""A training of seconds on pairs whose stripes say what they show; tests that import this skip without its packages."""

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the package torch is not installed")
pytest.importorskip("accelerate", reason="the package accelerate is not installed")
pytest.importorskip("diffusers", reason="the package diffusers is not installed")

import numpy as np  # noqa: E402
import yaml  # noqa: E402

from normpipe.classify.config import ClassifierTraining  # noqa: E402
from normpipe.classify.session import Means, train_classifiers  # noqa: E402
from normpipe.config import Encode  # noqa: E402
from normpipe.stages.encode import encode  # noqa: E402

from .pair_shards import write_run  # noqa: E402

torch.set_num_threads(1)

PEOPLE, PHOTOS, SIDE = 12, 6, 16
ROWS = PEOPLE * PHOTOS


def striped(number: int, normalized: bool) -> np.ndarray:
    """Noise under stripes that lie on happy photos, the odd ones, and stand on the others."""
    random = np.random.default_rng([number, normalized])
    noise = random.integers(0, 100, (SIDE, SIDE, 3), dtype=np.uint8)
    stripes = np.where(np.arange(SIDE) % 4 < 2, 150, 0).astype(np.uint8)
    return noise + (stripes[:, None, None] if number % 2 else stripes[:, None])


def row(number: int, **columns: object) -> dict[str, object]:
    """A pair of one of PEOPLE."""
    original, normalized = (encode(striped(number, which), Encode(format="png")) for which in (False, True))
    return {
        "sample_id": f"s{number:04d}",
        "dataset": "drawn",
        "face_index": 0,
        "subject": f"p{number // PHOTOS:02d}",
        "status": "ok",
        "original": {"bytes": original, "path": None},
        "normalized": {"bytes": normalized, "path": None},
        "emotion": "happiness" if number % 2 else "neutral",
        "au_occurrence_06": number % 2,
        "au_occurrence_12": number % 2 if number % 3 else None,
        "valence": number % 2 * 1.0,
        "arousal": -0.5 + number % 3 / 2,
        **columns,
    }


def write_people(out: Path, change: Callable[[dict[str, object]], None] = lambda _: None, **columns: object) -> Path:
    """A finished run of two shards, each row changed at last."""
    rows = [row(number, **columns) for number in range(ROWS)]
    for each in rows:
        change(each)
    return write_run(out, [rows[: ROWS // 2], rows[ROWS // 2 :]])


def write_protocol(folder: Path, **keys: object) -> Path:
    document: dict[str, object] = {
        "name": "small",
        "task": "emotion",
        "labels": ["neutral", "happiness"],
        "metric": "f1",
        "kfold": {"k": 2},
        "validation": {"one_in": 3},
    }
    path = folder / "protocol.yaml"
    path.write_text(yaml.safe_dump({**document, **keys}))
    return path


def training(data: Path, protocol: Path, **keys: object) -> ClassifierTraining:
    """A network of some hundred weights for two epochs of three steps."""
    document: dict[str, object] = {
        "data": [str(data)],
        "protocol": str(protocol),
        "size": 16,
        "network": {"kind": "norface", "backbone": {"kind": "convnet", "patch": 2, "widths": [8, 8], "cells": 1}, "experts": 2},
        "batch": 8,
        "epochs": 2,
        "learning_rate": 0.01,
        "average": 0.5,
        "workers": 0,
        "log_every": 1,
        "checkpoint_every": 2,
        "draws": 20,
    }
    return ClassifierTraining.model_validate({**document, **keys})


def trained(one: ClassifierTraining, out: Path, said: list[str] | None = None, fold: str | None = None) -> Path:
    return train_classifiers(one, out, Means("cpu", (said if said is not None else []).append), fold)


def written(one: ClassifierTraining, path: Path) -> Path:
    """The training as a file."""
    path.write_text(yaml.safe_dump(one.model_dump(mode="json", exclude_unset=True)))
    return path
