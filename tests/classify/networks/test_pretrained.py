"""Vision models of libraries: made of tiny configurations here, without the network and without anybody's weights."""

import pytest

from normpipe.errors import ModelUnavailableError, UsageError

from .tiny import keys, pictures, torch

from normpipe.classify.labels import LabelSpace, Task  # isort: skip
from normpipe.classify.networks.backbones import build_backbone  # isort: skip
from normpipe.classify.networks.build import build_network  # isort: skip
from normpipe.classify.networks.options import NorfaceOptions, TimmOptions, TransformersOptions  # isort: skip

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
ARCHITECTURES = {
    "vit": {"model_type": "vit", "image_size": 32, "patch_size": 16, "hidden_dropout_prob": 0.5, **SMALL},
    "convnext": {
        "model_type": "convnext", "hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1], "drop_path_rate": 0.5,
    },
    "resnet": {
        "model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic",
    },
    "swin": {
        "model_type": "swin", "image_size": 32, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2,
    },
    "dinov2": {"model_type": "dinov2", "image_size": 32, "patch_size": 16, **SMALL},
    "clip": {"model_type": "clip_vision_model", "image_size": 32, "patch_size": 16, **SMALL},
}  # fmt: skip
WITHOUT_TIMM = "timm, or a torchvision that fits torch, does not load"


def of_transformers(name="vit", side=32):
    pytest.importorskip("transformers", reason="the package transformers is not installed")
    return TransformersOptions(architecture=ARCHITECTURES[name], side=side)


def of_timm():
    try:
        import timm
    except (ImportError, RuntimeError):
        pytest.skip(WITHOUT_TIMM)
    assert timm.is_model("resnet10t")
    return TimmOptions(architecture="resnet10t", side=32)


def classifier(options, views=2):
    network = NorfaceOptions(backbone=options, dropout=0)
    return build_network(network, LabelSpace(Task.AU, ("AU01", "AU12")), views, 24, 0)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_features_of_any_vision_model(name):
    backbone = build_backbone(of_transformers(name), 24)
    features = backbone(pictures(3, side=24)[:, 0], None)
    assert features.pooled.shape == (3, backbone.width)
    assert features.tokens.shape[0] == 3
    assert features.tokens.shape[2] == backbone.width


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_every_weight_that_is_trained_learns(name):
    made = classifier(of_transformers(name)).train()
    made(pictures(4, side=24), keys(4)).logits.square().sum().backward()
    for place, weight in made.looks.named_parameters():
        assert (weight.grad is not None) == weight.requires_grad, place
        assert weight.requires_grad or place.endswith("mask_token")


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_in_training_too_a_sample_does_not_know_its_batch_and_nothing_is_drawn(name):
    made = classifier(of_transformers(name)).train()
    seen, drawn = pictures(4, side=24), keys(4)
    with torch.no_grad():
        together = made(seen, drawn).logits
        torch.testing.assert_close(made(seen[1:2], drawn[1:2]).logits, together[1:2], atol=1e-5, rtol=1e-4)
        assert torch.equal(made(seen, drawn).logits, together)


@pytest.mark.parametrize("name", ["vit", "convnext"])
def test_a_saved_classifier_needs_no_other_files(name, tmp_path):
    made = classifier(of_transformers(name)).eval()
    made.save_pretrained(tmp_path)
    again = type(made).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again(pictures(3, side=24)).logits, made(pictures(3, side=24)).logits)


def test_pictures_come_as_the_model_was_trained_with():
    options = of_transformers().model_copy(update={"mean": (0.25, 0.5, 0.75), "deviation": (0.5, 0.25, 1.0)})
    backbone = build_backbone(options, 32)
    white = backbone._inputs(torch.ones(1, 3, 32, 32))
    assert white[0, :, 0, 0].tolist() == pytest.approx([1.5, 2, 0.25])


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ({"model_type": "nothing"}, "no model can be made of the architecture 'nothing'"),
        ({}, "no model can be made of the architecture None"),
        ({"model_type": "vit", "hidden_size": 7}, "no model can be made of the architecture 'vit'"),
        ({"model_type": "bert", **SMALL}, "'bert' is no architecture of pictures"),
    ],
)
def test_architectures_that_cannot_be_used(architecture, message):
    pytest.importorskip("transformers", reason="the package transformers is not installed")
    with pytest.raises(UsageError, match=rf"^backbone transformers: {message}"):
        build_backbone(TransformersOptions(architecture=architecture), 32)


@pytest.mark.parametrize(("package", "extra"), [("transformers", "transformers"), ("timm", "timm")])
def test_a_library_that_is_not_installed(package, extra, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    options = TransformersOptions(architecture={}) if package == "transformers" else TimmOptions(architecture="resnet10t")
    with pytest.raises(ModelUnavailableError, match=rf"pip install 'normpipe\[{extra}\]'$"):
        build_backbone(options, 32)


def test_a_model_of_timm(tmp_path):
    made = classifier(of_timm()).train()
    seen, drawn = pictures(3, side=24), keys(3)
    prediction = made(seen, drawn)
    torch.testing.assert_close(made(seen[:1], drawn[:1]).logits, prediction.logits[:1], atol=1e-5, rtol=1e-4)
    prediction.logits.square().sum().backward()
    assert all(weight.grad is not None for weight in made.looks.parameters())
    made.save_pretrained(tmp_path)
    again = type(made).from_pretrained(tmp_path).train()
    torch.testing.assert_close(again(seen, drawn).logits, prediction.logits)


def test_timm_has_no_such_architecture():
    options = of_timm().model_copy(update={"architecture": "nothing"})
    with pytest.raises(UsageError, match=r"^backbone timm: there is no architecture 'nothing'"):
        build_backbone(options, 32)
