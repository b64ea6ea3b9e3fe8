"""Rows of examples: written and read back, whole or not at all."""

import hashlib

import numpy as np
import pytest
from fixtures.faces import noise
from pydantic import ValidationError

from normpipe.errors import UsageError
from normpipe.normalizers.mean_face.model import load_model
from normpipe.training.norface.examples import (
    DETAIL_TERMS,
    EXPRESSION_SHAPES,
    SHAPE_TERMS,
    Example,
    Examples,
    Kind,
    holds,
    read_examples,
    shrunk,
    write_part,
)


def example(number, kind=Kind.HEAD):
    random = np.random.default_rng(number)
    expression = random.random(EXPRESSION_SHAPES, np.float32)
    expression[:3] = np.nan
    return Example(
        example_id=f"{kind.value}-{number}",
        person=f"person {number // 2}",
        kind=kind,
        image=np.full((128, 128, 3), (200, 40 * (number % 5), 30), np.uint8),
        expression=expression,
        shape=random.standard_normal(SHAPE_TERMS, np.float32),
        detail=random.standard_normal(DETAIL_TERMS, np.float32),
        landmarks=random.random((468, 3), np.float32),
    )


@pytest.fixture
def part(tmp_path):
    path = tmp_path / "part-head-00000.parquet"
    write_part(path, [example(number) for number in range(5)], "one way")
    return path


def test_what_is_written_is_read(part, tmp_path):
    write_part(tmp_path / "more.parquet", [example(number, Kind.PHOTO) for number in range(5, 7)], "one way")
    found, wanted = read_examples([part, tmp_path / "more.parquet"]), [example(number) for number in range(7)]
    assert len(found) == 7
    assert found.people.tolist() == [one.person for one in wanted]
    assert found.ids.tolist() == [f"head-{number}" for number in range(5)] + ["photo-5", "photo-6"]
    assert found.kinds.tolist() == ["head"] * 5 + ["photo"] * 2
    for name in ("expression", "shape", "detail"):
        values = getattr(found, name)
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, np.stack([getattr(one, name) for one in wanted]))
    assert found.landmarks.dtype == np.float16
    np.testing.assert_allclose(found.landmarks, np.stack([one.landmarks for one in wanted]), atol=3e-4)
    for number, one in enumerate(wanted):
        picture = found.picture(number)
        assert picture.shape == (128, 128, 3)
        assert np.abs(picture.astype(int) - one.image).max() <= 3, "colours stay what they are, red first"


def test_of_no_parts_there_are_no_examples():
    found = read_examples([])
    assert len(found) == 0
    assert found.expression.shape == (0, EXPRESSION_SHAPES)
    assert found.landmarks.shape == (0, 468, 3)


def test_terms_are_those_of_the_model():
    model = load_model()
    assert model.shape_in.shape[1] == SHAPE_TERMS
    assert model.detail_from_shape.shape[1] == DETAIL_TERMS


def test_shapes_are_those_of_the_rig(rig):
    assert len(rig.expression_names) == EXPRESSION_SHAPES


def test_the_same_examples_give_the_same_bytes(part, tmp_path):
    write_part(tmp_path / "again.parquet", [example(number) for number in range(5)], "one way")
    first, second = (hashlib.sha256(path.read_bytes()).digest() for path in (part, tmp_path / "again.parquet"))
    assert first == second


def test_a_part_is_held_under_its_own_fingerprint_alone(part):
    assert holds(part, "one way")
    assert not holds(part, "another way")
    assert not holds(part.with_name("absent.parquet"), "one way")


def test_damage_is_seen_wherever_it_is(part):
    whole = part.read_bytes()
    part.write_bytes(whole[:-100])
    assert not holds(part, "one way")
    for place in (0, len(whole) // 3, len(whole) - 1):
        content = bytearray(whole)
        content[place] ^= 1
        part.write_bytes(content)
        assert not holds(part, "one way")
    part.write_bytes(whole)
    assert holds(part, "one way")


@pytest.mark.parametrize("note", [b"", b"[]", b'{"fingerprint": "one way"}', b"\xff"])
def test_a_part_whose_note_is_damaged_is_not_held(part, note):
    part.with_suffix(".json").write_bytes(note)
    assert not holds(part, "one way")


def test_a_damaged_part_is_named(part):
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(UsageError, match=r"^part-head-00000.parquet: this part of the examples is missing or damaged"):
        read_examples([part])
    part.unlink()
    with pytest.raises(UsageError, match="build the examples again"):
        read_examples([part])


def test_a_picture_is_averaged_when_it_shrinks():
    large = noise(0, 256, 256)
    np.testing.assert_allclose(shrunk(large, 128), large.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3)), atol=1)
    assert shrunk(large, 256) is large


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"runs": ["out"], "heads": 1}, "give rig, the path of ict_facekit.npz"),
        ({"runs": []}, "at least 1 item"),
        ({"runs": ["out"], "side": 32}, "greater than or equal to 64"),
        ({"runs": ["out"], "warp": 3}, "Extra inputs"),
    ],
    ids=["no rig", "no runs", "side", "unknown"],
)
def test_a_wrong_section_is_told_in_words(section, words):
    with pytest.raises(ValidationError, match=words):
        Examples.model_validate(section)
