"""A finished run over drawn people, and the rig."""

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures.audited import write_people
from fixtures.runs import run

from normpipe.config import Pipeline
from normpipe.normalizers.mean_face import MeanFace
from normpipe.records import MANIFEST_SCHEMA
from normpipe.stages.parts import build_models
from normpipe.synthetic.heads import HeadRig
from normpipe.training.norface.build import build_examples
from normpipe.training.norface.examples import Examples, read_examples
from normpipe.training.norface.runs import finished_run

PHOTOS = 12
"""Pairs of the run: five photos each of p000 and p001, and two of calm. A picture of noise has none, and stands among them."""


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    manifest = write_people(folder / "photos", people=2)
    rows = pq.read_table(manifest).to_pylist()
    rows[-1]["subject"] = None
    common = MeanFace(Pipeline())
    common.prepare("cpu")
    framed = cv2.copyMakeBorder(common.neutral(), 60, 60, 60, 60, cv2.BORDER_REPLICATE)
    pictures = {
        "noise": np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8),
        "calm-0": framed,
        "calm-1": cv2.convertScaleAbs(framed, alpha=0.8),
    }
    for name, picture in pictures.items():
        cv2.imwrite(str(folder / "photos" / f"{name}.png"), picture[..., ::-1])
        rows.insert(3, {"sample_id": name, "uri": f"{name}.png", "subject": name.partition("-")[0]})
    pq.write_table(pa.Table.from_pylist(rows, MANIFEST_SCHEMA), manifest)
    assert run(manifest, folder / "out", "shard_size=4", build=build_models, root=folder / "photos").complete
    return folder / "out"


@pytest.fixture(scope="session")
def portraits(run_folder):
    found = finished_run(run_folder, 128)
    assert len(found) == PHOTOS
    return found


@pytest.fixture(scope="session")
def rig_file(shared):
    path = shared / "data" / "ict-facekit" / "ict_facekit.npz"
    if not path.is_file():
        pytest.skip("needs ../shared/data/ict-facekit/ict_facekit.npz")
    return path


@pytest.fixture(scope="session")
def rig(rig_file):
    return HeadRig.load(rig_file)


@pytest.fixture(scope="session")
def photos(run_folder, tmp_path_factory):
    """The run's faces as examples of 64 pixels."""
    examples = Examples(runs=(str(run_folder),), side=64)
    return read_examples(build_examples(examples, tmp_path_factory.mktemp("photos"), 1, lambda done, total: None))


@pytest.fixture
def network(run_folder):
    """A network of a few thousand weights that has learnt nothing."""
    from .small import training

    from normpipe.training.norface.network import new_network  # isort: skip

    return new_network(training(run_folder))


@pytest.fixture(scope="session")
def common(run_folder):
    """The common face at 256 pixels."""
    from .small import torch

    from normpipe.normalizers.norface.common_face import neutral_common_face  # isort: skip

    assert torch is not None
    return neutral_common_face(256)
