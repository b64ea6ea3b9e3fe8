"""A new network: its weights follow from the seed, its stem from the face mesh."""

from .small import torch, training

from normpipe.normalizers.norface.encoder import FaceEncoder  # isort: skip
from normpipe.training.norface.examples import DETAIL_TERMS, EXPRESSION_SHAPES, SHAPE_TERMS  # isort: skip
from normpipe.training.norface.network import new_network  # isort: skip


def test_weights_follow_from_the_seed(run_folder):
    one, same, other = (new_network(training(run_folder, seed=seed)).merger.questions for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_encoder_starts_from_the_face_mesh_where_it_is_asked_for(run_folder):
    from normpipe.training.norface.mesh_stem import copy_mesh_stem

    asked = new_network(training(run_folder, encoder={"widths": [16, 32, 64, 128], "from_mesh": True})).encoder
    expected = FaceEncoder(side=64, dim=16, depth=1, heads=2).stem
    copy_mesh_stem(expected)
    assert all(torch.equal(own, other) for own, other in zip(asked.stem.parameters(), expected.parameters(), strict=True))


def test_its_layout_says_what_the_training_file_says(run_folder):
    network = new_network(training(run_folder, drawing={"by_landmarks": 0.25}))
    layout = network.layout
    assert (layout.config["by_landmarks"], layout.config["by_rig"]) == (0.25, 0)
    assert layout.config["margin"] == network.common_face.config["margin"]
    assert (layout.config["free"], layout.config["own"]) == (EXPRESSION_SHAPES, SHAPE_TERMS + DETAIL_TERMS)
    assert all(network.merger.config[key] == layout.config[key] for key in ("free", "own"))
