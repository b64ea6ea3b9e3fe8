"""A classifier's folder holds all that a predictor needs, and is refused in one line where it does not."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from normpipe.classify.arms import Arm
from normpipe.classify.labels import LabelSpace, Task
from normpipe.classify.saved import (
    CARD_FILE,
    CLASSIFIER_FILE,
    CONFIG_FILE,
    FILES,
    WEIGHTS_FILE,
    SavedClassifier,
    classifier_folder,
    classifier_sha256,
    load_classifier,
    save_classifier,
)
from normpipe.errors import ModelUnavailableError, UsageError

from .networks.tiny import NETWORKS, SIDE, SPACES, network, pictures, torch
from .trained import CARD, write_classifier

COMMIT = "0123456789" * 4


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return write_classifier(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def copied(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "copy")
    return tmp_path / "copy"


def refused(folder, pattern, kind=UsageError):
    with pytest.raises(kind, match=pattern) as error:
        load_classifier(folder)
    assert "\n" not in str(error.value)
    assert "/" not in str(error.value).removeprefix("classifier hf://").replace("owner/", "")


def changed(folder, file, **entries):
    document = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**document, **entries}))


@pytest.mark.parametrize(("name", "arm"), [*((name, Arm.BOTH) for name in NETWORKS), ("convnet", Arm.NORMALIZED)])
def test_what_is_loaded_says_what_was_saved(name, arm, tmp_path):
    folder = write_classifier(tmp_path / "model", name, Task.EMOTION, arm)
    loaded, classifier = load_classifier(folder)
    assert classifier == SavedClassifier(arm, SIDE, SPACES[Task.EMOTION])
    assert not loaded.training
    batch = pictures(3, arm.views)
    with torch.no_grad():
        assert loaded(batch).logits.equal(network(name, Task.EMOTION, arm.views).eval()(batch).logits)


def test_diffusers_loads_it_too(saved):
    batch = pictures(2)
    again = type(network()).from_pretrained(saved).eval()
    with torch.no_grad():
        assert again(batch).logits.equal(load_classifier(saved)[0](batch).logits)


def test_the_same_classifier_is_the_same_bytes(saved, tmp_path):
    again = write_classifier(tmp_path / "again")
    files = sorted(path.name for path in saved.iterdir())
    assert files == sorted((*FILES, CARD_FILE))
    assert [(saved / file).read_bytes() for file in files] == [(again / file).read_bytes() for file in files]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again"]


def test_saving_replaces_what_was_there(copied):
    (copied / "left.txt").write_text("by an earlier training")
    before = classifier_sha256(copied)
    write_classifier(copied, seed=1)
    assert classifier_sha256(copied) != before
    assert not (copied / "left.txt").exists()


def test_a_network_of_other_labels_is_not_saved(tmp_path):
    with pytest.raises(UsageError, match=r"^classifier model: labels of config\.json and classifier\.json differ"):
        save_classifier(
            tmp_path / "model", network(), SavedClassifier(Arm.BOTH, SIDE, LabelSpace(Task.AU, ("AU01", "AU02", "AU04"))), CARD
        )
    assert not (tmp_path / "model").exists()


def test_the_card_tells_what_it_is_and_what_was_given(saved):
    card = (saved / CARD_FILE).read_text()
    parameters = sum(weight.numel() for weight in network().parameters())
    for part in ("task au", "arm both, 32 x 32", f"{parameters:,} parameters", "| AU01 | 5 | 2 |", "| AU12 | 0 |  |", "F1 0.5"):
        assert part in card
    assert "7 rows of 3 people" in card
    assert "- faces, CC0" in card


def test_no_folder(tmp_path):
    refused(tmp_path / "none", r"^classifier none: no such folder; name a folder that", ModelUnavailableError)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file(copied, file):
    (copied / file).unlink()
    refused(copied, rf"^classifier copy: {file} is missing; ")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kept", [0, 7, 0.5])
def test_a_truncated_file(copied, file, kept):
    content = (copied / file).read_bytes()
    (copied / file).write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    refused(copied, rf"^classifier copy: {file} (is damaged|cannot be read as JSON); get it again$")


@pytest.mark.parametrize("document", ["[]", "3", "null", "[" * 100_000])
def test_json_of_another_form(copied, document):
    (copied / CLASSIFIER_FILE).write_text(document)
    refused(copied, r"^classifier copy: classifier\.json cannot be read as ")


def test_a_later_format(copied):
    changed(copied, CLASSIFIER_FILE, format_version=2)
    refused(copied, r"^classifier copy: classifier\.json is of format 2, this version reads 1; update normpipe$")


@pytest.mark.parametrize(
    ("key", "value"),
    [("arm", "left"), ("size", "big"), ("size", True), ("size", 4), ("task", 3), ("labels", "AU01"), ("more", 1)],
)
def test_an_entry_that_cannot_be_right(copied, key, value):
    changed(copied, CLASSIFIER_FILE, **{key: value})
    refused(copied, rf"^classifier copy: classifier\.json: {key} cannot be right; ")


def test_labels_that_the_task_does_not_have(copied):
    changed(copied, CLASSIFIER_FILE, labels=["happiness", "AU04", "AU12"])
    refused(copied, r"^classifier copy: classifier\.json: labels of the task au: 'happiness' is none of ")


@pytest.mark.parametrize(
    ("key", "value"), [("labels", ["AU04", "AU01", "AU12"]), ("arm", "original"), ("size", 64), ("task", "au_intensity")]
)
def test_files_that_tell_of_different_networks(copied, key, value):
    changed(copied, CLASSIFIER_FILE, **{key: value})
    key = {"arm": "views", "size": "side"}.get(key, key)
    refused(copied, rf"^classifier copy: {key} of config\.json and classifier\.json differ; ")


def test_the_network_of_another_class(copied):
    changed(copied, CONFIG_FILE, _class_name="AutoencoderKL")
    refused(copied, r"^classifier copy: config\.json is of AutoencoderKL, not of NorfaceClassifier or LnlClassifier; ")


@pytest.mark.parametrize(("key", "value"), [("experts", "many"), ("backbone", {"kind": "os"}), ("dropout", 2)])
def test_an_option_that_cannot_be_right(copied, key, value):
    changed(copied, CONFIG_FILE, **{key: value})
    refused(copied, rf"^classifier copy: config\.json: norface\.{key}.* cannot be right; |: {key}.* cannot be right; ")


def test_weights_of_another_network(copied, tmp_path):
    other = write_classifier(tmp_path / "other", "no mixture")
    shutil.copy(other / WEIGHTS_FILE, copied / WEIGHTS_FILE)
    refused(copied, r"^classifier copy: the tensor \S+ is (missing|unknown): weights and options are of different networks")


def test_weights_of_another_width(copied):
    changed(copied, CONFIG_FILE, experts=3)
    refused(
        copied, r"^classifier copy: the tensor \S+ is (missing|unknown|\(.*): weights and options are of different networks"
    )


def test_weights_that_are_no_numbers(tmp_path):
    made = network()
    next(made.parameters()).data.flatten()[0] = float("nan")
    save_classifier(tmp_path / "model", made, SavedClassifier(Arm.BOTH, SIDE, SPACES[Task.AU]), CARD)
    refused(tmp_path / "model", r"^classifier model: the tensor \S+ holds what is no number; train it again$")


@pytest.mark.parametrize("file", ["diffusion_pytorch_model.bin", "model.ckpt"])
def test_pickles_are_refused(copied, file):
    (copied / file).write_bytes(b"")
    refused(copied, rf"^classifier copy: {file} is a pickle, which may run code; save the weights as safetensors$")


def test_every_file_that_is_read_counts(copied):
    digests = {classifier_sha256(copied)}
    for file in FILES:
        (copied / file).write_bytes((copied / file).read_bytes() + b" ")
        digests.add(classifier_sha256(copied))
    assert len(digests) == 1 + len(FILES)
    (copied / CARD_FILE).write_text("not read")
    assert classifier_sha256(copied) in digests


@pytest.mark.parametrize("where", ["hf://", "hf://owner/tiny", "hf://owner/tiny@main", "hf://a/b/c"])
def test_a_hub_name_has_a_commit(where):
    with pytest.raises(UsageError, match=r"^classifier hf://.*: write hf://owner/name@commit, with all 40 digits"):
        classifier_folder(where)


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
    """What classifier_folder says in a process of its own, with a cache of its own; it must not need torch."""
    code = (
        "import sys\n"
        "from normpipe.errors import NormpipeError\n"
        "from normpipe.classify.saved import classifier_folder, classifier_sha256\n"
        "try: print(classifier_sha256(classifier_folder(sys.argv[1])))\n"
        "except NormpipeError as error: print(error)\n"
        "assert not {'torch', 'diffusers'} & set(sys.modules)\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}
    found = subprocess.run([sys.executable, "-c", code, where], capture_output=True, text=True, env=environment, check=True)
    return found.stdout.strip()


def test_the_hub_is_asked_once_for_a_commit(hub, saved, tmp_path):
    endpoint, asked = hub
    assert fetch(f"hf://owner/tiny@{COMMIT}", endpoint, tmp_path) == classifier_sha256(saved)
    assert {path.rpartition("/")[2] for path in asked} == set(FILES)
    asked.clear()
    assert fetch(f"hf://owner/tiny@{COMMIT}", endpoint, tmp_path) == classifier_sha256(saved)
    assert asked == []


def test_a_hub_that_does_not_give_it(hub, tmp_path):
    line = fetch(f"hf://owner/other@{COMMIT}", hub[0], tmp_path)
    assert line.startswith(f"classifier hf://owner/other@{COMMIT}: the hub does not give it (")
    assert "\n" not in line
