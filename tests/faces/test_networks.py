"""The weights that ship are the weights that were recorded, and a damaged one is named."""

import dataclasses

import numpy as np
import pytest

from normpipe.errors import ModelUnavailableError
from normpipe.faces import networks
from normpipe.faces.networks import EMBEDDED_NETWORKS, LiteRTNetwork


@pytest.mark.parametrize("file", EMBEDDED_NETWORKS, ids=lambda file: file.name)
def test_files_match_their_records(file):
    assert len(file.read()) == file.size
    provenance = (networks.EMBEDDED_FOLDER / "README.md").read_text(encoding="utf-8")
    assert file.sha256 in provenance
    assert f"{file.size:,}" in provenance


def test_a_wrong_hash_is_refused():
    wrong = dataclasses.replace(EMBEDDED_NETWORKS[0], sha256="0" * 64)
    with pytest.raises(ModelUnavailableError, match="face_detection_short_range: damaged"):
        LiteRTNetwork(wrong)


def test_an_absent_file_is_named():
    with pytest.raises(ModelUnavailableError, match="nothing: cannot read it"):
        dataclasses.replace(EMBEDDED_NETWORKS[0], name="nothing").read()


def test_loading_prints_nothing(capfd):
    LiteRTNetwork(EMBEDDED_NETWORKS[0])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("file", EMBEDDED_NETWORKS, ids=lambda file: file.name)
def test_a_batch_equals_one_by_one(file):
    network = LiteRTNetwork(file)
    inputs = np.random.default_rng(0).uniform(file.low, 1, (3, file.side, file.side, 3)).astype(np.float32)
    together = network(inputs)
    for row in range(3):
        for whole, alone in zip(together, network(inputs[row : row + 1]), strict=True):
            np.testing.assert_array_equal(whole[row], alone[0])


def test_an_empty_batch_gives_empty_outputs():
    points, scores = LiteRTNetwork(networks.FACE_MESH)(np.zeros((0, 192, 192, 3), np.float32))
    assert points.shape == (0, 1404)
    assert scores.shape == (0, 1)
