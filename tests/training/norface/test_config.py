"""The training files that ship: valid, as large as they say, and the tiny one spells out the defaults."""

from pathlib import Path

import pytest
import yaml

from normpipe.errors import UsageError
from normpipe.training.norface.config import Training, load_training

PIPELINES = Path(__file__).resolve().parents[3] / "pipelines"
MINIMAL = "examples: {runs: [a], rig: r.npz}\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "training.yaml"
    path.write_text(MINIMAL)
    return path


def test_the_tiny_file_spells_out_every_default():
    path = PIPELINES / "train-norface-tiny.yaml"
    tiny = load_training(path)
    examples = tiny.examples.model_copy(update={"heads": 0, "warps": 0})
    assert tiny == Training(examples=tiny.examples)
    assert examples == type(examples)(runs=tiny.examples.runs, rig=tiny.examples.rig)
    document = yaml.safe_load(path.read_text())
    for name, section in Training(examples=tiny.examples).model_dump().items():
        if isinstance(section, dict):
            assert set(document[name]) == set(section)


@pytest.mark.parametrize(
    ("size", "millions"), [("tiny", (4.25, 4.35)), ("flow", (4.9, 5.0)), ("small", (13, 14)), ("base", (135, 145))]
)
def test_networks_are_as_large_as_their_files_say(size, millions):
    torch = pytest.importorskip("torch", reason="the package torch is not installed")
    pytest.importorskip("accelerate", reason="the package accelerate is not installed")
    from normpipe.training.norface.network import new_network

    with torch.device("meta"):
        network = new_network(load_training(PIPELINES / f"train-norface-{size}.yaml"))
    parts = (network.encoder, network.merger, network.decoder)
    count = sum(weight.numel() for part in parts for weight in part.parameters())
    assert millions[0] * 1e6 <= count <= millions[1] * 1e6
    assert network.encoder.config["side"] == network.common_face.config["side"] // 2


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("encoder.head=5", "there is no such key; pipelines/train-norface-tiny.yaml lists all"),
        ("encoder.heads=5", "heads must divide dim"),
        ("encoder.widths=[8, 8, 8, 8]", "the face mesh has the widths"),
        ("decoder.groups=7", "groups must divide every width"),
        ("reading.log_every=7", "checkpoint_every must be a multiple of log_every"),
        ("merger.heads=5", "merger.heads must divide encoder.dim"),
        ("card.data=[a, b]", "at most one text for each of examples.runs"),
        ("latent.euler_steps=0", "latent.euler_steps: Input should be greater than or equal to 1"),
        ("latent.widths=[12, 24]", "groups must divide every width"),
        ("latent.picture_widths=[12, 24]", "groups must divide every width"),
        ("latent.widths=[8, 8, 8, 8, 8, 8]", "examples.side must be a multiple of 256: the widths of latent halve it so often"),
        ("masked.hidden=1", "masked.hidden: Input should be less than 1"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(file, override, told):
    with pytest.raises(UsageError, match=told.replace(".", r"\.")) as error:
        load_training(file, [override])
    assert "\n" not in str(error.value)
