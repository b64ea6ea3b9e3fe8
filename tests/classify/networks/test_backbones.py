"""Backbones: shapes, what they ask of pictures, and that a section of a file makes the one it names."""

import pytest
from pydantic import TypeAdapter, ValidationError

from normpipe.config import Section
from normpipe.errors import UsageError

from .tiny import CONVNET, ENCODER, VIT, keys, pictures, torch

from normpipe.classify.networks.backbones import (  # isort: skip
    ConvNet,
    NormalizerEncoder,
    SmallViT,
    build_backbone,
    group_norm,
    resized,
)
from normpipe.classify.networks.options import BACKBONE_OPTIONS, BackboneOptions, VitOptions  # isort: skip


@pytest.mark.parametrize(
    ("options", "kind", "width", "tokens"),
    [(CONVNET, ConvNet, 12, 4 * 4), (VIT, SmallViT, 12, 4 * 4), (ENCODER, NormalizerEncoder, 16, 2 * 2)],
)
def test_features_are_by_place_and_of_the_whole(options, kind, width, tokens):
    backbone = build_backbone(options, 32).eval()
    assert isinstance(backbone, kind)
    assert backbone.width == width
    features = backbone(pictures(3)[:, 0], None)
    assert features.tokens.shape == (3, tokens, width)
    assert features.pooled.shape == (3, width)


@pytest.mark.parametrize("options", [VIT, ENCODER])
def test_transformers_are_pooled_by_the_mean_of_their_tokens(options):
    features = build_backbone(options, 32).eval()(pictures(3)[:, 0], None)
    torch.testing.assert_close(features.pooled, features.tokens.mean(1))


def test_a_convnet_knows_where_it_has_seen_something():
    """The mean over places would be the same for a picture and its mirror image, if the maps were mirrored, too."""
    backbone = build_backbone(CONVNET, 32).eval()
    maps = torch.rand(2, 12, 4, 4)
    weighed = backbone.leave(backbone.cells(maps).flatten(1))
    mirrored = backbone.leave(backbone.cells(maps.flip(3)).flatten(1))
    assert (weighed - mirrored).abs().min() > 1e-4


def test_tokens_are_row_by_row():
    backbone = build_backbone(CONVNET, 32).eval()
    seen = pictures(1)[:, 0]
    changed = seen.clone()
    changed[..., :4, 28:] *= -1
    differs = (backbone(changed, None).tokens - backbone(seen, None).tokens).abs().sum((0, 2)).view(4, 4)
    assert differs.sum(1).argmax() == 0, "it is above that they differ"
    assert differs.sum(0).argmax() >= 2, "and to the right"


@pytest.mark.parametrize("options", [CONVNET, VIT])
def test_paths_are_dropped_in_training_only_and_by_the_keys(options):
    backbone, seen, drawn = build_backbone(options, 32).train(), pictures(6)[:, 0], keys(6)
    with torch.no_grad():
        assert torch.equal(backbone(seen, drawn).pooled, backbone(seen, drawn).pooled)
        changed = (backbone(seen, drawn).pooled != backbone(seen, drawn + 1).pooled).any(1)
        assert changed.any()
        assert not torch.equal(backbone(seen, drawn).pooled, backbone.eval()(seen, None).pooled)


def test_a_convnet_takes_pictures_of_any_side():
    assert build_backbone(CONVNET, 32)(pictures(2, side=52)[:, 0], keys(2)).pooled.shape == (2, 12)


def test_the_encoder_sees_pictures_at_its_own_side():
    backbone = build_backbone(ENCODER, 48).eval()
    large = pictures(2, side=48)[:, 0]
    torch.testing.assert_close(backbone(large, None).pooled, backbone(resized(large, 32), None).pooled)


def test_a_patch_that_does_not_fit_the_pictures():
    with pytest.raises(UsageError, match=r"^backbone\.patch: 8 does not divide the pictures' side of 36 pixels"):
        build_backbone(VIT, 36)
    with pytest.raises(UsageError, match=r"^backbone\.side: 40 is no multiple of 16"):
        build_backbone(ENCODER.model_copy(update={"side": 40}), 32)


@pytest.mark.parametrize(("width", "groups"), [(8, 8), (24, 8), (12, 4), (7, 1), (16, 8)])
def test_groups_divide_the_width(width, groups):
    assert group_norm(width).num_groups == groups


@pytest.mark.parametrize("options", [CONVNET, VIT, ENCODER])
def test_options_survive_json(options):
    assert BACKBONE_OPTIONS.validate_json(options.model_dump_json()) == options


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"patch": 4}, "it needs a key kind, which is one of convnet, vit, normalizer, transformers, timm"),
        ({"kind": "resnet"}, "it needs a key kind"),
        ({"kind": "vit", "dim": 10, "heads": 3}, "heads must divide dim"),
        ({"kind": "vit", "patch": 12, "stem": [8, 8, 8]}, "patch must be a multiple of 2 for every width"),
        ({"kind": "convnet", "widths": []}, "at least 1 item"),
        ({"kind": "convnet", "depths": 1}, "Extra inputs"),
        ({"kind": "convnet", "drop_path": 1}, "less than 1"),
    ],
)
def test_sections_that_make_no_sense(document, message):
    with pytest.raises(ValidationError, match=message):
        BACKBONE_OPTIONS.validate_python(document)


def test_a_section_of_a_file_names_its_backbone():
    class File(Section):
        backbone: BackboneOptions = CONVNET

    assert File.model_validate({"backbone": {"kind": "vit"}}).backbone == VitOptions()
    assert TypeAdapter(File).validate_python({}).backbone == CONVNET
