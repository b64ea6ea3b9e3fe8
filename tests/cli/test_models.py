"""`normpipe models` on the command line."""

import pytest
from click.testing import CliRunner

from normpipe.cli.models import models
from normpipe.errors import UsageError


def _run(*arguments):
    result = CliRunner().invoke(models, arguments, catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_list_shows_terms_state_and_gaps(tmp_path):
    shown = _run("list", "--store", str(tmp_path))
    assert "face_landmark  [embedded]  1,242,398 bytes" in shown
    assert "mediapipe-face-landmarker  [absent]  3,758,596 bytes" in shown
    assert "non-commercial research use only" in shown
    assert "no verified hash or address is known" in shown


def test_store_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("NORMPIPE_MODELS", str(tmp_path / "here"))
    assert str(tmp_path / "here") in _run("list")


def test_verify_checks_embedded_weights_and_the_store(tmp_path):
    shown = _run("verify", "--offline-folder", str(tmp_path))
    assert "face_detection_short_range: ok" in shown
    assert "buffalo_l: absent" in shown
    (tmp_path / "face_landmarker.task").write_bytes(b"other")
    with pytest.raises(UsageError, match="damaged: mediapipe-face-landmarker"):
        _run("verify", "--store", str(tmp_path))


def test_pull_from_a_file(tmp_path, shared):
    bundle = shared / "models" / "face_landmarker.task"
    shown = _run("pull", "mediapipe-face-landmarker", "--from", str(bundle), "--store", str(tmp_path))
    assert "Apache-2.0" in shown
    assert (tmp_path / "face_landmarker.task").read_bytes() == bundle.read_bytes()


def test_pull_shows_the_terms_before_it_refuses(tmp_path):
    result = CliRunner().invoke(models, ["pull", "buffalo_l", "--store", str(tmp_path)])
    assert "non-commercial" in result.output
    assert isinstance(result.exception, UsageError)
    assert "no verified hash" in str(result.exception)
