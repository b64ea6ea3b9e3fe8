"""The documents: commands and options that they show exist, files that they link to are there, what they ship parses."""

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from normpipe.cli import cli

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


def test_scripts_and_manifests_for_clusters_parse():
    clusters = ROOT / "pipelines" / "clusters"
    subprocess.run(["bash", "-n", clusters / "slurm.sh"], check=True)
    compile((clusters / "slurm_workers.py").read_text(), "slurm_workers.py", "exec")
    parts = list(yaml.safe_load_all((clusters / "kubernetes.yaml").read_text()))
    pods = [part["spec"]["template"]["spec"] for part in parts if "template" in part.get("spec", {})]
    assert len(pods) == 3
    assert all(pod["automountServiceAccountToken"] is False for pod in pods)
