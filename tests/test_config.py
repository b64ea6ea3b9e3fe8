"""The pipeline file: what is wrong is named with file, line and key; the command line wins."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from normpipe.config import FacePolicy, Pipeline, load_pipeline
from normpipe.errors import UsageError

FOLDER = Path(__file__).resolve().parents[1] / "pipelines"
PIPELINES = sorted(path for path in FOLDER.glob("*.yaml") if not path.name.startswith(("train-", "classify-")))


@pytest.fixture
def write(tmp_path):
    def file(text: str) -> Path:
        path = tmp_path / "pipeline.yaml"
        path.write_text(text)
        return path

    return file


def test_without_a_file_everything_has_its_default():
    assert load_pipeline(None) == Pipeline()


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}\n"])
def test_an_empty_file_is_all_defaults(write, text):
    assert load_pipeline(write(text)) == Pipeline()


def test_what_the_file_says_holds_and_the_rest_is_default(write):
    pipeline = load_pipeline(write("size: 128\ndetect:\n  policy: all\nnormalize: {background: [1, 2, 3]}\n"))
    assert pipeline.size == 128
    assert pipeline.detect.policy is FacePolicy.ALL
    assert pipeline.normalize.background == (1, 2, 3)
    assert pipeline.encode == Pipeline().encode


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_the_pipeline_files_that_ship_are_valid(path):
    assert isinstance(load_pipeline(path), Pipeline)


def test_a_pipeline_written_out_is_read_back(write):
    pipeline = Pipeline(size=200, limit=3, detect={"policy": "central"}, encode={"format": "png"})
    assert load_pipeline(write(yaml.safe_dump(pipeline.model_dump(mode="json")))) == pipeline


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("size: 128\nsise: 256\n", "line 2, sise: "),
        ("size: big\n", "line 1, size: "),
        ("\n\nsize: 12\n", "line 3, size: "),
        ("detect:\n  policy: largest\n  min_score: 1.5\n", "line 3, detect.min_score: "),
        ("encode: {format: png,\n  quality: 101}\n", "line 2, encode.quality: "),
        ("detect:\n  policy: best\n", "line 2, detect.policy: "),
        ("detect: largest\n", "line 1, detect: "),
        ("normalize:\n  background:\n    - 0\n    - 300\n    - 0\n", "line 2, normalize.background.1: "),
        ("version: 2\n", "line 1, version: "),
    ],
    ids=["unknown key", "type", "range", "nested", "flow style", "word", "no section", "list", "version"],
)
def test_what_is_wrong_is_named_with_file_line_and_key(write, text, place):
    path = write(text)
    with pytest.raises(UsageError) as error:
        load_pipeline(path)
    assert str(error.value).startswith(f"{path}, {place}")
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size: [1\n", "line 2: not valid YAML"),
        ("a: 1\nb: 2: 3\n", "line 2: not valid YAML"),
        ("- size\n", "a mapping of keys to values"),
        ("just words\n", "a mapping of keys to values"),
    ],
    ids=["bracket", "colon", "list", "words"],
)
def test_what_is_no_mapping_is_said_in_one_line(write, text, message):
    path = write(text)
    with pytest.raises(UsageError, match=message) as error:
        load_pipeline(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(UsageError, match="cannot read the pipeline file") as error:
            load_pipeline(path)
        assert str(error.value).startswith(str(path))


def test_overrides_win_over_the_file_and_later_ones_over_earlier(write):
    path = write("size: 128\nencode:\n  format: png\n  quality: 50\n")
    pipeline = load_pipeline(path, ["encode.quality=60", "encode.quality=70", "limit=5", "normalize.background=[0, 0, 9]"])
    assert pipeline.size == 128
    assert pipeline.encode.format == "png"
    assert pipeline.encode.quality == 70
    assert pipeline.limit == 5
    assert pipeline.normalize.background == (0, 0, 9)


def test_an_override_mends_what_the_file_has_wrong(write):
    assert load_pipeline(write("size: 7\n"), ["size=64"]).size == 64


def test_a_value_may_hold_an_equals_sign():
    assert load_pipeline(None, ["normalize.identity=a=b.jpg"]).normalize.identity == "a=b.jpg"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("size=7", "--set size: "),
        ("encode.qualty=90", "--set encode.qualty: "),
        ("encoder.quality=90", "encoder"),
        ("encode.quality", "--set encode.quality: write key=value"),
        ("=9", "--set =9: write key=value"),
        ("size.big=1", "--set size.big: size is not a section"),
        ("size=[1", "--set size: '[1' is not a YAML value"),
    ],
)
def test_a_wrong_override_is_named_as_such(write, override, message):
    with pytest.raises(UsageError) as error:
        load_pipeline(write("size: 128\n"), [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_files_mistake_is_blamed_on_the_file_also_with_overrides(write):
    path = write("encode:\n  quality: 0\n")
    with pytest.raises(UsageError) as error:
        load_pipeline(path, ["encode.format=png"])
    assert str(error.value).startswith(f"{path}, line 2, encode.quality: ")


@given(st.integers(64, 1024), st.integers(0, 2**31), st.floats(0, 0.4))
def test_every_value_in_range_is_taken_as_given(size, seed, margin):
    pipeline = load_pipeline(None, [f"size={size}", f"seed={seed}", f"align.margin={margin!r}"])
    assert (pipeline.size, pipeline.seed, pipeline.align.margin) == (size, seed, margin)


def test_a_pipeline_does_not_change_under_way():
    with pytest.raises(ValidationError):
        Pipeline().size = 128


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b"size: \x01"])
def test_a_file_that_is_no_text_is_refused(tmp_path, content):
    (tmp_path / "p.yaml").write_bytes(content)
    with pytest.raises(UsageError, match=r"p\.yaml: not"):
        load_pipeline(tmp_path / "p.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("nothing.here=1", "--set nothing.here: there is no such key; docs/normalize.md lists all"),
        ("encode=1", "--set encode: this is a section"),
        ("encode.quality.x=1", "--set encode.quality.x: "),
        ("normalize.background=[1, 2, 999]", "--set normalize.background: "),
    ],
)
def test_an_override_is_named_as_it_was_given(override, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        load_pipeline(None, [override])
