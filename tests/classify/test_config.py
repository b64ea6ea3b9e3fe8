"""The training file of a classifier: what ships holds, and what does not fit together is told with file and key."""

from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch", reason="the package torch is not installed")

from normpipe.classify.arms import Arm
from normpipe.classify.config import ClassifierTraining, load_classifier_training
from normpipe.errors import UsageError

PIPELINES = Path(__file__).resolve().parents[2] / "pipelines"


def told(tmp_path, **keys):
    path = tmp_path / "training.yaml"
    path.write_text(yaml.safe_dump({"data": ["out"], "protocol": "emotion-kfold", **keys}))
    with pytest.raises(UsageError) as refused:
        load_classifier_training(path)
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix(str(path))


def test_the_file_with_all_keys_has_the_defaults():
    path = PIPELINES / "classify-emotion.yaml"
    document = yaml.safe_load(path.read_text())
    found = load_classifier_training(path)
    given = {"data": ("out/",), "protocol": "emotion-kfold"}
    assert found == ClassifierTraining(**given)
    assert document.keys() == ClassifierTraining.model_fields.keys(), "every key is there"
    for section in ("objective", "augmentation", "card"):
        assert document[section].keys() == getattr(found, section).model_dump().keys()


@pytest.mark.parametrize("path", sorted(PIPELINES.glob("classify-*.yaml")), ids=lambda path: path.stem)
def test_every_file_that_ships_is_one_and_names_a_protocol(path):
    training = load_classifier_training(path)
    assert training.chosen_protocol().kfold is not None


def test_the_command_line_wins_and_protocols_take_other_keys():
    sets = ["arm=twice", "protocol_keys={kfold.seed: 3, partial: true}"]
    found = load_classifier_training(PIPELINES / "classify-emotion.yaml", sets)
    assert found.arm is Arm.TWICE
    protocol = found.chosen_protocol()
    assert (protocol.kfold.seed, protocol.partial) == (3, True)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"data": []}, "data: "),
        ({"arm": "left"}, "line 1, arm: Input should be 'original', 'normalized', 'both' or 'twice'"),
        ({"size": 8}, "size: "),
        ({"network": {"kind": "resnet"}}, "network: it needs a key kind, which is one of norface, lnl"),
        ({"epocs": 3}, "epocs: there is no such key; pipelines/classify-emotion.yaml lists all"),
        ({"log_every": 7}, "checkpoint_every must be a multiple of log_every"),
        ({"network": {"kind": "lnl"}, "pretrained": "embedded"}, "only the network norface has a backbone that takes weights"),
        ({"network": {"kind": "norface", "backbone": {"kind": "vit"}}, "pretrained": "embedded"}, "leave network.backbone out"),
        ({"card": {"data": ["a", "b"]}}, "card.data: give at most one text for each of data"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(tmp_path, keys, line):
    assert line in told(tmp_path, **keys)
