"""A push to the Hugging Face hub is one commit, private unless it is said otherwise; a pull is of one commit."""

import socket

import pytest
from fixtures.hub_server import hub_server
from fixtures.small_release import contents, write_release

from normpipe.errors import NormpipeError, UsageError
from normpipe.release.pull import pull
from normpipe.release.push import push
from normpipe.release.remote import open_remote, open_target
from normpipe.release.sums import SUMS_FILE

constants = pytest.importorskip("huggingface_hub.constants", reason="needs the extra hub")

NAME = "me/small-faces"
URL = f"hf://datasets/{NAME}"


@pytest.fixture
def hub(monkeypatch):
    with hub_server() as running:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, running.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)  # what HF_ENDPOINT sets when the library is first imported
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_nothing_secret")
        yield running


@pytest.fixture
def release(tmp_path):
    return write_release(tmp_path / "release")


def pushed(hub, revision="main"):
    return {path: content for path, content in hub.tree(NAME, revision).items() if path != ".gitattributes"}


def test_everything_is_one_commit_in_a_private_repository(hub, release):
    done = push(release, open_target(URL), jobs=2)
    assert pushed(hub) == contents(release)
    assert (done.sent, done.sized) == (7, 0)
    repository = hub.repositories[NAME]
    assert repository.private
    assert [title for title, _ in repository.commits.values()] == ["initial commit", "small 1.0.0"]


def test_what_is_there_is_not_committed_again(hub, release):
    push(release, open_target(URL), jobs=2)
    uploads = hub.uploads()
    assert push(release, open_target(URL), jobs=2).sent == 0
    assert (len(hub.repositories[NAME].commits), hub.uploads()) == (2, uploads)


def test_a_broken_push_shows_nothing_and_sends_no_large_file_twice(hub, release):
    hub.break_after = 1
    with pytest.raises(PermissionError):
        push(release, open_target(URL), jobs=1)
    assert pushed(hub) == {}
    known, before = set(hub.blobs), len(hub.uploads())
    assert len(known) == 1
    hub.break_after = None
    push(release, open_target(URL), jobs=1)
    assert pushed(hub) == contents(release)
    assert not {target.removeprefix("/blob/") for target in hub.uploads()[before:]} & known


def test_a_file_that_is_not_what_the_sums_say_is_not_sent(hub, release):
    (release / "README.md").write_text("# better\n")
    with pytest.raises(NormpipeError, match=r"^README\.md: its sha256"):
        push(release, open_target(URL), jobs=1)
    assert pushed(hub) == {}


def test_a_public_repository_takes_explicit_words(hub, release):
    push(release, open_target(URL), jobs=1)
    hub.repositories[NAME].private = False
    with pytest.raises(UsageError, match=f"^{URL}: the repository is public; make it private, or give --public"):
        push(release, open_target(URL), jobs=1)
    assert push(release, open_target(URL, public=True), jobs=1).sent == 0


def test_a_new_repository_is_public_where_that_is_asked_for(hub, release):
    push(release, open_target(URL, public=True), jobs=1)
    assert not hub.repositories[NAME].private


def test_each_version_is_a_branch_of_its_own(hub, release, tmp_path):
    other = write_release(tmp_path / "other", version="1.1.0")
    push(release, open_target(URL), jobs=2)
    with pytest.raises(UsageError, match=f"^{URL}: another release"):
        push(other, open_target(URL), jobs=2)
    push(other, open_target(f"{URL}@1.1.0"), jobs=2)
    assert pushed(hub) == contents(release)
    assert pushed(hub, "1.1.0") == contents(other)
    pull(open_remote(URL), tmp_path / "first", 2)
    pull(open_remote(URL, "1.1.0"), tmp_path / "second", 2)
    assert contents(tmp_path / "first") == contents(release)
    assert contents(tmp_path / "second") == contents(other)


def test_a_pull_of_a_tampered_repository_is_refused(hub, release, tmp_path):
    push(release, open_target(URL), jobs=2)
    tree = dict(hub.tree(NAME))
    for path in ("data/train-00000-of-00003.parquet", "README.md"):
        hub.repositories[NAME].commit("main", "better", {**tree, path: b"#" + tree[path][1:]})
        with pytest.raises(NormpipeError, match=f"^{path}: what was read"):
            pull(open_remote(URL), tmp_path / path, 2)
    hub.repositories[NAME].commit("main", "more", {**tree, "setup.py": b"import this"})
    with pytest.raises(UsageError, match=f"^{URL}: holds files that {SUMS_FILE} does not name"):
        pull(open_remote(URL), tmp_path / "pulled", 2)


def test_a_repository_that_is_not_there(hub, tmp_path):
    with pytest.raises(FileNotFoundError):
        pull(open_remote(URL), tmp_path / "pulled", 2)
    assert not (tmp_path / "pulled").exists()


def test_the_hub_alone_is_asked(hub, release, tmp_path, monkeypatch):
    reached = set()
    connect = socket.socket.connect

    def watched(self, address):
        reached.add(address)
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    push(release, open_target(URL), jobs=2)
    pull(open_remote(URL), tmp_path / "pulled", 2)
    assert {f"http://{host}:{port}" for host, port in reached} == {hub.endpoint}


@pytest.mark.parametrize(
    "url", ["hf://me/x", "hf://datasets/me", "hf://datasets/me/x--y", "hf://datasets/../x", "hf://datasets/me/x@"]
)
def test_names_that_no_repository_has(url):
    with pytest.raises(UsageError, match=f"^{url}: no repository; write hf://datasets/owner/name"):
        open_target(url)


def test_two_revisions_are_one_too_many():
    with pytest.raises(UsageError, match="--revision"):
        open_target(f"{URL}@1.0.0", "1.1.0")
