"""A folder of weights is known for what it is, or refused in one line, before torch is loaded."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from normpipe.errors import ModelUnavailableError, UsageError
from normpipe.normalizers.norface.weights import (
    CONFIG_FILE,
    FILES,
    INDEX_FILE,
    is_pinned,
    weights_folder,
    weights_sha256,
)

pytest.importorskip("safetensors", reason="the package safetensors is not installed")

COMMIT = "0123456789" * 4


def refused(folder, pattern, kind=UsageError):
    with pytest.raises(kind, match=pattern) as error:
        weights_folder(folder)
    assert "\n" not in str(error.value)


def test_a_saved_pipeline_is_accepted(saved):
    assert weights_folder(saved) == weights_folder(str(saved)) == saved


def test_no_folder(tmp_path):
    refused(tmp_path / "none", r"^weights none: no such folder; name a folder that NorfacePipeline", ModelUnavailableError)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file(copied, file):
    (copied / file).unlink()
    refused(copied, rf"^weights copy: {file} is missing; ")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kept", [0, 7, 0.5])
def test_a_truncated_file(copied, file, kept):
    content = (copied / file).read_bytes()
    (copied / file).write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    refused(copied, rf"^weights copy: {file} (is damaged|cannot be read as JSON); get it again$")


def test_the_pipeline_of_another_class(copied):
    (copied / INDEX_FILE).write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    refused(copied, r"^weights copy: model_index\.json is of StableDiffusionPipeline, not of NorfacePipeline; ")


def test_a_part_of_another_class(copied):
    index = json.loads((copied / INDEX_FILE).read_text())
    (copied / INDEX_FILE).write_text(json.dumps({**index, "decoder": ["os", "system"]}))
    refused(copied, r"^weights copy: model_index\.json names no WarpDecoder as decoder; ")
    (copied / INDEX_FILE).write_text(json.dumps(index))
    (copied / "decoder" / CONFIG_FILE).write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    refused(copied, r"^weights copy: decoder/config\.json is of AutoencoderKL, not of WarpDecoder or FlowDecoder; ")


@pytest.mark.parametrize("document", ["[]", "3", "null", "[" * 100_000])
def test_json_of_another_form(copied, document):
    (copied / INDEX_FILE).write_text(document)
    refused(copied, r"^weights copy: model_index\.json cannot be read as ")


@pytest.mark.parametrize("value", ['"big"', "-1", "true", "null", "[]", "[4, -8]", '{"a": 1}', "NaN"])
def test_an_option_that_is_no_number(copied, value):
    file = copied / "encoder" / CONFIG_FILE
    file.write_text(file.read_text().replace('"depth": 1', f'"depth": {value}'))
    refused(copied, r"^weights copy: encoder/config\.json: depth is neither a number from 0 on nor a list of them; ")


@pytest.mark.parametrize("file", ["encoder/diffusion_pytorch_model.bin", "model.ckpt", "decoder/more.pt"])
def test_pickles_are_refused(copied, file):
    (copied / file).write_bytes(b"")
    refused(copied, rf"^weights copy: {file} is a pickle, which may run code; save the weights as safetensors$")


def test_every_file_that_is_read_counts(copied):
    digests = {weights_sha256(copied)}
    for file in FILES:
        (copied / file).write_bytes((copied / file).read_bytes() + b" ")
        digests.add(weights_sha256(copied))
    assert len(digests) == 1 + len(FILES)
    (copied / "README.md").write_text("not read")
    assert weights_sha256(copied) in digests


def test_only_a_commit_of_the_hub_stays_what_it_is():
    assert is_pinned(None)
    assert is_pinned("some/folder")
    assert is_pinned(f"hf://owner/tiny@{COMMIT}")
    assert not is_pinned("hf://owner/tiny")
    assert not is_pinned("hf://owner/tiny@main")


@pytest.mark.parametrize("where", ["hf://", "hf://tiny", "hf://a/b/c", "hf://a/b@", "hf://a/b c"])
def test_a_hub_name_has_an_owner_and_a_name(where):
    refused(where, r"^weights hf://.*: write hf://owner/name or hf://owner/name@revision$")


@pytest.fixture
def hub(saved):
    """A hub of one repository: its address, and the paths that were asked for."""
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            name = self.path.partition("?")[0].removeprefix("/owner/tiny/resolve/").partition("/")[2]
            known = self.path.startswith("/owner/tiny/resolve/") and name in FILES
            content = (saved / name).read_bytes() if known else b""
            self.send_response(200 if known else 404)
            if known:
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
            else:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def fetch(where, endpoint, home):
    """What weights_folder says in a process of its own, with a cache of its own."""
    code = (
        "import sys\n"
        "from normpipe.errors import NormpipeError\n"
        "from normpipe.normalizers.norface.weights import weights_folder, weights_sha256\n"
        "try: print(weights_sha256(weights_folder(sys.argv[1])))\n"
        "except NormpipeError as error: print(error)\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}
    found = subprocess.run([sys.executable, "-c", code, where], capture_output=True, text=True, env=environment, check=True)
    return found.stdout.strip()


def test_the_hub_is_asked_once_for_a_commit(hub, saved, tmp_path):
    endpoint, asked = hub
    assert fetch("hf://owner/tiny", endpoint, tmp_path) == weights_sha256(saved)
    assert {path.rpartition("tiny/resolve/")[2].partition("/")[2] for path in asked} == set(FILES)
    asked.clear()
    assert fetch(f"hf://owner/tiny@{COMMIT}", endpoint, tmp_path) == weights_sha256(saved)
    assert asked == []


def test_a_hub_that_does_not_give_them(hub, tmp_path):
    endpoint, _ = hub
    line = fetch("hf://owner/other", endpoint, tmp_path)
    assert line.startswith("weights hf://owner/other: the hub does not give them (")
    assert "\n" not in line
    line = fetch("hf://owner/tiny", "http://127.0.0.1:9", tmp_path)
    assert line.startswith("weights hf://owner/tiny: the hub does not give them (")
    assert "\n" not in line


def test_weights_are_looked_at_without_torch(saved):
    code = (
        "import sys\n"
        "from normpipe.config import Pipeline\n"
        "from normpipe.normalizers.build import build_normalizer\n"
        "section = {'normalizer': 'norface', 'weights': sys.argv[1]}\n"
        "assert build_normalizer(Pipeline(normalize=section)).fingerprint\n"
        "print({'torch', 'diffusers'} & set(sys.modules))\n"
    )
    found = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
