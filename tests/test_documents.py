"""The documents: commands and options that they show exist, files that they link to are there, what they ship parses."""

import importlib
import re
import shlex
import subprocess
from pathlib import Path
from typing import get_args

import click
import pytest
import yaml

from normpipe.cli import cli
from normpipe.config import Section
from normpipe.errors import UsageError

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("*/README.md"))]
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")

by_name = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def commands(document):
    """The `normpipe` commands in a document's blocks, as words."""
    for block in BLOCK.findall(document.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith(("normpipe ", "$ normpipe ")):
                yield shlex.split(line.removeprefix("$ "), comments=True)[1:]


def unknown_options(words):
    """Options of one command line that its command does not have; the command itself, if there is none."""
    command = cli
    while isinstance(command, click.Group):
        name, *words = words
        command = command.get_command(click.Context(command), name)
        if command is None:
            return [name]
    known = {option for parameter in command.params for option in parameter.opts}
    return [word for word in words if word.startswith("-") and word.partition("=")[0] not in known]


def keys(kind):
    """Keys of a file's model, of its sections, and of theirs."""
    if isinstance(kind, type) and issubclass(kind, Section):
        return {*kind.model_fields, *(key for field in kind.model_fields.values() for key in keys(field.annotation))}
    return {key for part in get_args(getattr(kind, "__value__", kind)) for key in keys(part)}


def test_a_wrong_command_or_option_would_be_found():
    assert unknown_options(["run", "photos/", "out/", "--limit", "3", "--nonsense"]) == ["--nonsense"]
    assert unknown_options(["nonsense", "out/"]) == ["nonsense"]


@by_name
def test_commands_and_options_exist(document):
    found = {" ".join(words): unknown_options(words) for words in commands(document) if "..." not in words}
    assert {command: unknown for command, unknown in found.items() if unknown} == {}


@by_name
def test_linked_files_exist(document):
    assert [link for link in LINK.findall(document.read_text()) if not (document.parent / link).exists()] == []


@pytest.mark.parametrize(
    ("module", "model", "load", "least"),
    [
        ("normpipe.config", "Pipeline", "load_pipeline", ""),
        ("normpipe.classify.protocols", "Protocol", "load_protocol", "{name: own, task: au, labels: [AU12], metric: f1}"),
        ("normpipe.classify.config", "ClassifierTraining", "load_classifier_training", "{data: [out], protocol: au-kfold}"),
        ("normpipe.training.norface.config", "Training", "load_training", "{examples: {runs: [out]}}"),
    ],
)
def test_the_page_that_is_said_to_list_all_keys_does(tmp_path, module, model, load, least):
    if module == "normpipe.classify.config":
        pytest.importorskip("torch", reason="the package torch is not installed")
    found = importlib.import_module(module)
    path = tmp_path / "file.yaml"
    path.write_text(least)
    with pytest.raises(UsageError, match=r"there is no such key; [^ ]+ lists all") as error:
        getattr(found, load)(str(path) if model == "Protocol" else path, ["nothing=1"])
    page = (ROOT / str(error.value).split()[-3]).read_text()
    assert [key for key in keys(getattr(found, model)) if not re.search(rf"\b{key}\b", page)] == []


def test_scripts_and_manifests_for_clusters_parse():
    clusters = ROOT / "pipelines" / "clusters"
    subprocess.run(["bash", "-n", clusters / "slurm.sh"], check=True)
    compile((clusters / "slurm_workers.py").read_text(), "slurm_workers.py", "exec")
    parts = list(yaml.safe_load_all((clusters / "kubernetes.yaml").read_text()))
    pods = [part["spec"]["template"]["spec"] for part in parts if "template" in part.get("spec", {})]
    assert len(pods) == 3
    assert all(pod["automountServiceAccountToken"] is False for pod in pods)
