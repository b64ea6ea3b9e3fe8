"""The weights that ship: small, open about themselves, and they draw expressions."""

import re
import stat

import numpy as np
from fixtures.portraits import SMILE, landmarks, portrait, turned

from normpipe.config import Normalize, Pipeline
from normpipe.normalizers.mean_face.model import load_model

from .tiny import torch

from normpipe.normalizers.norface.normalizer import Norface  # isort: skip
from normpipe.normalizers.norface.pipeline import NorfacePipeline  # isort: skip
from normpipe.normalizers.norface.weights import SHIPPED  # isort: skip

_MOUTH_CORNERS = (61, 291)


def test_they_are_small_readable_and_hold_no_place_of_the_machine_they_come_from():
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 30 * 2**20
    assert {stat.S_IMODE(path.stat().st_mode) & 0o444 for path in files} == {0o444}
    assert {path.suffix for path in files} == {".json", ".md", ".safetensors", ""}
    card = (SHIPPED / "README.md").read_text()
    assert "Licence of the weights: Apache-2.0" in card
    assert "## Figures" in card
    assert not re.search(r"(?<![\w.])/(tmp|home|work|root)/", card)


def test_a_smile_is_drawn_as_one_by_either_decoder():
    calm, smiling = (portrait(load_model(), turned(points, yaw=5.0)) for points in (landmarks(), landmarks(SMILE)))
    network = NorfacePipeline.from_pretrained(SHIPPED)
    with torch.inference_mode():
        rest, smile = (network.layout.points(code) for code in network.codes([calm, smiling], 1.0))
    width = [float(np.ptp(points[list(_MOUTH_CORNERS), 0])) for points in (rest, smile)]
    assert width[1] > 1.05 * width[0]
    for decoder in ("mesh", "network"):
        normalizer = Norface(Pipeline(normalize=Normalize(normalizer="norface", detail=1.0, decoder=decoder)))
        normalizer.prepare("cpu")
        pictures = normalizer.normalize([calm, smiling])
        assert np.abs(np.asarray(pictures[0], int) - np.asarray(pictures[1], int)).mean() > 1
