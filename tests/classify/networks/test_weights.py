"""First weights: a folder says what it holds, and what is missing, damaged or of something else is refused in one line."""

import json
import shutil

import pytest

from normpipe.errors import ModelUnavailableError, UsageError
from normpipe.normalizers.norface.weights import INDEX_FILE

from .test_pretrained import of_timm, of_transformers
from .tiny import CONVNET, pictures, torch

from normpipe.classify.networks.backbones import build_backbone  # isort: skip
from normpipe.classify.networks.options import NormalizerEncoderOptions, TimmOptions, TransformersOptions  # isort: skip
from normpipe.classify.networks.weights import load_pretrained, pretrained_options  # isort: skip


def loaded(where, side=32):
    """The backbone that the weights are of, with them."""
    backbone = build_backbone(pretrained_options(where), side).eval()
    load_pretrained(backbone, where)
    return backbone


def refused(where, message, kind=UsageError):
    with pytest.raises(kind, match=message) as caught:
        loaded(where)
    assert "\n" not in str(caught.value)


@pytest.fixture
def vit(tmp_path):
    """What transformers saves of a tiny classifier, and the classifier."""
    of_transformers()
    from transformers import ViTConfig, ViTForImageClassification

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = ViTForImageClassification(ViTConfig(image_size=32, patch_size=16, **small)).eval()
    model.save_pretrained(tmp_path / "vit")
    processor = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2], "size": {"height": 40, "width": 40}}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(processor))
    return tmp_path / "vit", model


def test_the_weights_that_ship_are_those_of_the_normalizer():
    assert pretrained_options(None) == NormalizerEncoderOptions()
    backbone = loaded(None, 96)
    from normpipe.normalizers.norface.pipeline import NorfacePipeline
    from normpipe.normalizers.norface.weights import SHIPPED

    encoder = NorfacePipeline.from_pretrained(SHIPPED).encoder
    assert all(torch.equal(value, encoder.state_dict()[key]) for key, value in backbone.encoder.state_dict().items())
    assert all(weight.requires_grad for weight in backbone.parameters())


def test_a_vision_transformer_that_was_fine_tuned(vit):
    folder, model = vit
    options = pretrained_options(str(folder))
    assert isinstance(options, TransformersOptions)
    assert (options.side, options.mean, options.deviation) == (32, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    assert str(folder) not in options.model_dump_json()
    backbone = loaded(str(folder))
    seen = pictures(2)[:, 0]
    with torch.no_grad():
        inside = model.vit(pixel_values=backbone._inputs(seen)).last_hidden_state
    torch.testing.assert_close(backbone(seen, None).tokens, inside)


def test_loading_says_nothing(vit, capfd):
    loaded(str(vit[0]))
    assert capfd.readouterr() == ("", "")


def test_a_masked_autoencoder_hides_nothing_here(tmp_path):
    of_transformers()
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    small |= {f"decoder_{key}": value for key, value in small.items()}
    model = ViTMAEForPreTraining(ViTMAEConfig(image_size=32, patch_size=8, **small)).eval()
    model.save_pretrained(tmp_path)
    backbone = loaded(str(tmp_path))
    assert backbone(pictures(1)[:, 0], None).tokens.shape == (1, 1 + 16, 16)
    assert torch.equal(backbone.model.embeddings.cls_token, model.vit.embeddings.cls_token)


def test_weights_in_halves_are_trained_in_whole(vit):
    folder, model = vit
    model.half().save_pretrained(folder)
    assert {weight.dtype for weight in loaded(str(folder)).parameters()} == {torch.float32}


def test_a_model_of_timm(tmp_path):
    options = of_timm()
    from safetensors.torch import save_file

    model = build_backbone(options, 32).model
    save_file({**model.state_dict(), "fc.weight": torch.zeros(3, 512)}, tmp_path / "model.safetensors")
    trained = {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "input_size": [3, 48, 48]}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet10t", "pretrained_cfg": trained}))
    found = pretrained_options(str(tmp_path))
    assert isinstance(found, TimmOptions)
    assert (found.architecture, found.side, found.deviation) == ("resnet10t", 48, (0.2, 0.2, 0.2))
    backbone = loaded(str(tmp_path))
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in backbone.model.state_dict().items())


def test_a_folder_that_is_not_there(tmp_path):
    refused(str(tmp_path / "none"), r"^weights none: no such folder$", ModelUnavailableError)


@pytest.mark.parametrize(
    "where", ["hf://owner/model", "hf://owner/model@main", "hf://owner@" + "a" * 40, "hf://a/b@" + "a" * 39]
)
def test_the_hub_is_asked_for_commits_only(where):
    refused(where, r"^weights hf://.*: write hf://owner/name@commit, with all 40 digits of the commit$")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"config\.json is missing; name a folder of a norface pipeline or of a model of transformers or timm$"),
        ("{", r"config\.json cannot be read as JSON; get it again$"),
        ("[]", r"config\.json cannot be read as a JSON object; get it again$"),
        ("{}", r"config\.json describes no model of transformers or timm$"),
        ('{"architecture": 3}', r"config\.json describes no model of transformers or timm$"),
        ('{"model_type": "vit", "image_size": -1}', r"config\.json describes no model of transformers or timm$"),
    ],
)
def test_a_configuration_that_says_nothing(content, message, tmp_path):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    refused(str(tmp_path), rf"^weights {tmp_path.name}: {message}")


def test_weights_that_are_damaged_or_missing(vit):
    file = vit[0] / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    refused(str(vit[0]), r"^weights vit: no whole ViTModel in safetensors is there; get it again$")
    file.unlink()
    refused(str(vit[0]), r"^weights vit: no whole ViTModel in safetensors is there; get it again$")


def test_pickles_are_not_read(vit):
    folder, model = vit
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    refused(str(folder), r"^weights vit: no whole ViTModel in safetensors is there; get it again$")


@pytest.mark.parametrize("change", [{"num_hidden_layers": 2}, {"intermediate_size": 24}])
def test_weights_of_another_network(vit, change):
    file = vit[0] / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    refused(str(vit[0]), r"^weights vit: the tensor .* is missing or of another shape; get it again$")


def test_a_damaged_pipeline_is_told_as_the_normalizer_tells_it(tmp_path):
    from normpipe.normalizers.norface.weights import SHIPPED

    copied = shutil.copytree(SHIPPED, tmp_path / "copy")
    (copied / "merger" / "config.json").unlink()
    assert (copied / INDEX_FILE).exists()
    refused(str(copied), r"^weights copy: merger/config\.json is missing")


def test_a_backbone_that_starts_from_nothing():
    with pytest.raises(UsageError, match=r"^weights norface: this backbone starts from nothing; leave the weights out$"):
        load_pretrained(build_backbone(CONVNET, 32), None)
