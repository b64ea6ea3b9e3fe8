"""`purging.json`: what a withdrawal needs to be finished, from the moment before its first change until it is proved.

It is the last place that names the person: without it, a command that was killed after it had rewritten the manifest could
neither go on nor look for what it must not find.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from normpipe.errors import IncompatibleRunError
from normpipe.purge.request import WithdrawnRow
from normpipe.shards.atomic import write_bytes
from normpipe.shards.withdrawn import FORMAT_VERSION, PURGING_FILE


@dataclass(frozen=True, slots=True)
class Pending:
    """A withdrawal that has begun.

    Attributes:
        rows: What is withdrawn.
        pictures: sha256 of their encoded pictures.
        contents: sha256 of their source files.
        before: sha256 of the files of the shards that hold them, by path in the run's folder.
        derived: Folders that were made from the run and go with them.
        date: Day that is kept with the record.
    """

    rows: tuple[WithdrawnRow, ...]
    pictures: tuple[str, ...]
    contents: tuple[str, ...]
    before: dict[str, str]
    derived: tuple[str, ...]
    date: str | None = None

    @property
    def places(self) -> frozenset[int]:
        """Manifest rows."""
        return frozenset(row.row for row in self.rows)


def write_pending(out: Path, pending: Pending) -> None:
    """Begin; from now on nobody else reads the run."""
    document = {"format_version": FORMAT_VERSION, **asdict(pending), "rows": [list(row) for row in pending.rows]}
    write_bytes(out / PURGING_FILE, (json.dumps(document) + "\n").encode())


def read_pending(out: Path) -> Pending | None:
    """A withdrawal that was begun and not finished.

    Raises:
        IncompatibleRunError: its file is damaged.
    """
    try:
        document = json.loads((out / PURGING_FILE).read_bytes())
        return Pending(
            rows=tuple(WithdrawnRow(*row) for row in document["rows"]),
            pictures=tuple(document["pictures"]),
            contents=tuple(document["contents"]),
            before=dict(document["before"]),
            derived=tuple(document["derived"]),
            date=document["date"],
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise IncompatibleRunError(
            f"{out.name}/{PURGING_FILE}: damaged; delete the whole folder and run again without them"
        ) from error
