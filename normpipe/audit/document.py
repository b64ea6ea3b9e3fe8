"""audit.json: the findings as a document, and the way to its figures for all who read it (gates, page, scoreboard, release).

    format_version  1
    producer        name and version of the program
    run             fingerprint, digest of the parts' content, manifest, rows, withdrawn, failed by reason, configuration
    instruments     what measured, with the sha256 of its file or its own fingerprint
    options         seed and limits
    inputs          digest of all that decides about the findings
    findings        sample, identity, expression, surroundings, losses: as the dataclasses of `findings`
    gates           name, limit, figure, passed, reason
    passed          whether all gates passed

A figure is {"value", "low", "high"}, its 95 % interval over people; where there is none, {"why", "detail"}. Numbers are rounded
to six decimals, and keys sorted: the same run, options and environment give the same bytes.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from normpipe.audit.figures import Figure, Json, NotMeasurable, Why
from normpipe.errors import UsageError
from normpipe.shards.atomic import write_bytes

AUDIT_FILE = "audit.json"
FORMAT_VERSION = 1

_DECIMALS = 6

Document = Mapping[str, Json]


def rounded(value: Json) -> Json:
    """The same with numbers of fixed digits."""
    if isinstance(value, float):
        return round(value, _DECIMALS) + 0.0  # no -0.0
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return value


def document_bytes(document: Document) -> bytes:
    """The file of a document: keys sorted, numbers of fixed digits."""
    content = json.dumps(rounded(dict(document)), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return (content + "\n").encode("utf-8", "backslashreplace")


def write_document(folder: Path, document: Document) -> None:
    """Write audit.json, atomically."""
    write_bytes(folder / AUDIT_FILE, document_bytes(document))


def read_document(folder: Path) -> Document | None:
    """What `write_document` wrote; None where there is none.

    Raises:
        UsageError: it is damaged, or of another version.
    """
    try:
        document = json.loads((folder / AUDIT_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder.parent.name}: {AUDIT_FILE} is damaged; delete it and audit again") from error
    if not isinstance(document, dict) or document.get("format_version") != FORMAT_VERSION:
        raise UsageError(f"{folder.parent.name}: {AUDIT_FILE} is of another version; delete it and audit again")
    return document


def at(document: Json | Document, *keys: str) -> Json:
    """What stands below the keys, None where nothing does."""
    value: Json | Document = document
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return dict(value) if isinstance(value, Mapping) else value


def embedding_names(document: Document) -> list[str]:
    """The face embeddings among the attackers."""
    prefix = "identity."
    return [name.removeprefix(prefix) for name, _ in entries(document, "instruments") if name.startswith(prefix)]


def figure(value: Json) -> Figure | NotMeasurable:
    """A figure, or the reason why there is none."""
    if isinstance(value, dict):
        numbers = [value.get(name) for name in ("value", "low", "high")]
        if all(isinstance(each, int | float) for each in numbers):
            return Figure(*(float(each) for each in numbers if isinstance(each, int | float)))
        if "why" in value:
            return NotMeasurable(Why(str(value["why"])), str(value.get("detail")))
    return NotMeasurable(Why.NO_ROWS, "not measured")


def figure_at(document: Json | Document, *keys: str) -> Figure | NotMeasurable:
    """The figure below the keys; the reason of the nearest thing above it that could not be measured."""
    value: Json | Document = document
    for key in keys:
        if isinstance(value, Mapping) and "why" in value:
            break
        value = value.get(key) if isinstance(value, Mapping) else None
    return figure(dict(value) if isinstance(value, Mapping) else value)


def entries(document: Json | Document, *keys: str) -> Iterator[tuple[str, Json]]:
    """Names and values of the object below the keys; none where it was not measured."""
    value = at(document, *keys)
    if isinstance(value, dict) and "why" not in value:
        yield from value.items()


def items(document: Json | Document, *keys: str) -> list[Json]:
    """The list below the keys, empty where there is none."""
    value = at(document, *keys)
    return value if isinstance(value, list) else []
