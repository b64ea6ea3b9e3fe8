"""A training of seconds; tests that import this module skip where its packages are missing."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the package torch is not installed")
pytest.importorskip("diffusers", reason="the package diffusers is not installed")
pytest.importorskip("accelerate", reason="the package accelerate is not installed")

import numpy as np  # noqa: E402
import yaml  # noqa: E402

from normpipe.normalizers.mean_face.model import load_model  # noqa: E402
from normpipe.normalizers.norface.layout import FaceLayout  # noqa: E402
from normpipe.training.norface.config import Drawing, Training  # noqa: E402
from normpipe.training.norface.examples import ExampleSet  # noqa: E402
from normpipe.training.norface.reading import spreads  # noqa: E402
from normpipe.training.norface.teacher import Teacher  # noqa: E402
from normpipe.training.norface.train import Means, train_norface  # noqa: E402

torch.set_num_threads(1)

NOTHING = np.zeros(121, np.float32)
"""The code of a face without expression."""

LATENT: dict[str, object] = {
    "steps": 6,
    "batch": 4,
    "log_every": 1,
    "checkpoint_every": 2,
    "picture_widths": [16, 8],
    "channels": 2,
    "widths": [8, 16],
    "groups": 4,
    "euler_steps": 3,
}
"""The section of a training whose decoder generates."""


def training(run_folder: Path, **sections: object) -> Training:
    """A network of a few thousand weights on the photos of a run; sections are put into those of the default."""
    document: dict[str, object] = {
        "encoder": {"widths": [4, 8, 8, 16], "dim": 16, "depth": 1, "heads": 2, "from_mesh": False},
        "merger": {"depth": 1, "heads": 2, "answers": 4, "answer_dim": 4},
        "decoder": {"widths": [16, 8, 8], "groups": 4},
        "examples": {"runs": [str(run_folder)], "side": 64},
        "reading": {"steps": 6, "batch": 4, "log_every": 1, "checkpoint_every": 2},
        "drawing": {"steps": 6, "batch": 4, "log_every": 1, "checkpoint_every": 2, "by_rig": 0},
    }
    for name, section in sections.items():
        document[name] = {**document.get(name, {}), **section} if isinstance(section, dict) else section  # type: ignore[dict-item]
    return Training.model_validate(document)


def trained(one: Training, out: Path, said: list[str] | None = None) -> Path:
    return train_norface(one, out, Means("cpu", 1, (said if said is not None else []).append))


def written(one: Training, path: Path) -> Path:
    """The training as a file."""
    path.write_text(yaml.safe_dump(one.model_dump(mode="json")))
    return path


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def teacher_of(photos: ExampleSet, **options: float) -> Teacher:
    """One that draws what mean_face reads, as `options` of the drawing stage say, beside a rig that is noise."""
    drawing = Drawing(**options)
    layout: FaceLayout = FaceLayout(by_landmarks=drawing.by_landmarks, by_rig=drawing.by_rig, by_detail=drawing.by_detail)
    layout.spread.copy_(torch.from_numpy(spreads(photos)))
    layout.rig_offsets.copy_(0.01 * torch.randn(layout.rig_offsets.shape, generator=generator()))
    return Teacher(load_model(), layout)
