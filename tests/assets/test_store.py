"""The store: what is there is checked, what is pulled is verified, and nothing is half written."""

import dataclasses
import hashlib

import pytest

from normpipe.assets.registry import REGISTRY, ModelEntry
from normpipe.assets.store import STORE_VARIABLE, ModelState, entry, locate, pull, state, store_folder
from normpipe.errors import ModelUnavailableError, UsageError

CONTENT = b"weights"
MODEL = ModelEntry(
    name="tiny",
    file="pack/tiny.bin",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
    url=None,
    licence="free",
    note="for tests",
)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.bin"
    path.write_bytes(CONTENT)
    return path


def test_registry_invents_nothing():
    assert len({model.name for model in REGISTRY}) == len(REGISTRY)
    for model in REGISTRY:
        assert model.licence
        assert model.sha256 is None or len(model.sha256) == 64
        assert model.url is None or (model.url.startswith("https://") and model.sha256 is not None)
        assert not model.file.startswith("/")


def test_folder_given_over_environment_over_default(tmp_path, monkeypatch):
    monkeypatch.delenv(STORE_VARIABLE, raising=False)
    assert store_folder().name == "models"
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "environment"))
    assert store_folder() == tmp_path / "environment"
    assert store_folder(tmp_path) == tmp_path


def test_pull_stores_a_verified_file(tmp_path, source):
    store = tmp_path / "store"
    assert state(MODEL, store) is ModelState.ABSENT
    path = pull(MODEL, store, source)
    assert path.read_bytes() == CONTENT
    assert state(MODEL, store) is ModelState.OK
    assert [found.name for found in path.parent.iterdir()] == ["tiny.bin"], "no temporary file is left"


def test_pull_of_wrong_bytes_stores_nothing_and_keeps_what_was_there(tmp_path, source):
    store = tmp_path / "store"
    pull(MODEL, store, source)
    source.write_bytes(b"other")
    with pytest.raises(UsageError, match="expected"):
        pull(MODEL, store, source)
    assert (store / MODEL.file).read_bytes() == CONTENT
    assert len(list((store / MODEL.file).parent.iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": None}, "no verified hash"),
        ({"url": None}, "no verified address"),
        ({"url": "http://localhost/x"}, "only https"),
        ({"url": "file:///etc/hostname"}, "only https"),
    ],
)
def test_pull_refuses_what_it_cannot_verify(tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        pull(dataclasses.replace(MODEL, **change), tmp_path)
    assert not list(tmp_path.rglob("*.bin"))


def test_pull_names_an_unreadable_source_without_its_path(tmp_path):
    with pytest.raises(UsageError, match="No such file") as caught:
        pull(MODEL, tmp_path, tmp_path / "absent.bin")
    assert str(tmp_path) not in str(caught.value)


def test_a_refused_connection_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="cannot be read or stored"):
        pull(dataclasses.replace(MODEL, url="https://127.0.0.1:9/tiny.bin"), tmp_path)


def test_states(tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / MODEL.file).write_bytes(b"other")
    assert state(MODEL, tmp_path) is ModelState.DAMAGED
    assert state(dataclasses.replace(MODEL, sha256=None), tmp_path) is ModelState.UNVERIFIED


def test_locate(tmp_path):
    with pytest.raises(ModelUnavailableError, match="absent"):
        locate("mediapipe-face-landmarker", tmp_path)
    (tmp_path / "face_landmarker.task").write_bytes(b"other")
    with pytest.raises(ModelUnavailableError, match="damaged"):
        locate("mediapipe-face-landmarker", tmp_path)


def test_unknown_name_lists_the_known():
    with pytest.raises(UsageError, match="buffalo_l"):
        entry("nothing")
