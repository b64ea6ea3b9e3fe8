"""The arrays that ship are the ones that their provenance page describes."""

import hashlib
from pathlib import Path

import pytest

import normpipe

EMBEDDED = Path(normpipe.__file__).parent / "assets" / "embedded"


@pytest.mark.parametrize("name", ["face_shape.npz", "mean_face.npz"])
def test_the_provenance_page_names_size_and_hash(name):
    content = (EMBEDDED / name).read_bytes()
    line = f"| {name} | {len(content)} | {hashlib.sha256(content).hexdigest()} |"
    assert line in (EMBEDDED / "README.md").read_text(encoding="utf-8")
