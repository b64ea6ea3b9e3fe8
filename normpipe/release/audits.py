"""What a release passes on of its runs' audits: figures and verdicts, nothing about single rows.

Groups are passed on only of columns whose groups are labels, or are numbered and not named: any other column of a manifest
might name people.
"""

from collections.abc import Mapping

from normpipe.audit.document import Document, at, items
from normpipe.audit.figures import Json
from normpipe.audit.groups import NUMBERED
from normpipe.records import LABEL_SCHEMA

AUDIT_FOLDER = "audit"
FIGURES_FOLDER = f"{AUDIT_FOLDER}/figures"

_PASSED_ON = ("format_version", "producer", "instruments", "options", "findings", "gates", "passed")
_MEASURED = ("yaw", "eye_distance", "brightness")
_GROUPS = {*NUMBERED, *_MEASURED, *LABEL_SCHEMA.names} - {"emotion_raw", "compound_emotion"}


def audit_path(number: int) -> str:
    """Where the audit of a run stands in the release."""
    return f"{AUDIT_FOLDER}/run-{number}.json"


def figure_path(number: int, name: str) -> str:
    """Where a figure of a run's audit stands in the release."""
    return f"{FIGURES_FOLDER}/run-{number}-{name}.svg"


def passed_on(document: Document) -> dict[str, Json]:
    """The part of audit.json that a release may show."""
    kept: dict[str, Json] = {key: document[key] for key in _PASSED_ON if key in document}
    findings = kept.get("findings")
    losses = at(document, "findings", "losses")
    if isinstance(findings, Mapping) and isinstance(losses, Mapping) and "by_group" in losses:
        groups = [each for each in items(document, "findings", "losses", "by_group") if at(each, "column") in _GROUPS]
        kept["findings"] = {**findings, "losses": {**losses, "by_group": groups}}
    options = kept.get("options")
    if isinstance(options, Mapping):
        kept["options"] = {key: value for key, value in options.items() if key != "columns"}
    return kept
