"""The plan: manifest rows cut into shards, in manifest order; of a fixed size, but where the input is cut already.

It depends on the manifest and the configuration alone, never on workers, so any executor, in any order, writes the same files.
`plan.json` is the first thing a run writes and what a resume is compared with.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from normpipe.engine.fingerprint import Fingerprint
from normpipe.engine.tasks import Shard
from normpipe.errors import IncompatibleRunError
from normpipe.records import FORMAT_VERSION
from normpipe.shards.atomic import write_bytes
from normpipe.shards.withdrawn import check_whole

PLAN_FILE = "plan.json"

_SHOWN_DIFFERENCES = 5


@dataclass(frozen=True)
class Plan:
    """What a run has to do.

    Attributes:
        rows: Input rows, after any limit.
        shard_size: Rows of a shard; the last one may have fewer. With `starts`, those of the largest.
        fingerprint: What the output's bytes depend on.
        producer: Name and version of the program, for provenance; never compared.
        starts: First row of each shard, rising from 0, where shards are as the input is cut; empty where all are of one size.
    """

    rows: int
    shard_size: int
    fingerprint: Fingerprint
    producer: str
    starts: tuple[int, ...] = ()

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        """All shards, in order."""
        starts = self.starts or range(0, self.rows, self.shard_size)
        return tuple(Shard(index, *rows) for index, rows in enumerate(pairwise((*starts, self.rows))))


def write_plan(out: Path, plan: Plan) -> None:
    """Write plan.json, atomically."""
    document = {
        "format_version": FORMAT_VERSION,
        "producer": plan.producer,
        "rows": plan.rows,
        "shard_size": plan.shard_size,
        "shards": len(plan.shards),
        "fingerprint": plan.fingerprint.digest,
        "fingerprint_parts": dict(plan.fingerprint.parts),
        **({"starts": plan.starts} if plan.starts else {}),
    }
    write_bytes(out / PLAN_FILE, (json.dumps(document, indent=2, sort_keys=True) + "\n").encode())


def read_plan(out: Path) -> Plan | None:
    """The plan of a run's folder, None where there is none yet.

    Raises:
        IncompatibleRunError: plan.json cannot be understood, or a withdrawal was interrupted.
    """
    check_whole(out)
    return stored_plan(out)


def stored_plan(out: Path) -> Plan | None:
    """What plan.json says, also amid a withdrawal; errors as for `read_plan`."""
    try:
        document = json.loads((out / PLAN_FILE).read_text(encoding="utf-8"))
        if document["format_version"] != FORMAT_VERSION:
            raise IncompatibleRunError(
                f"{out.name}: written in format {document['format_version']}, this version reads {FORMAT_VERSION}; "
                "choose another OUT"
            )
        return Plan(
            rows=int(document["rows"]),
            shard_size=int(document["shard_size"]),
            fingerprint=Fingerprint(document["fingerprint_parts"]),
            producer=str(document["producer"]),
            starts=tuple(map(int, document.get("starts", ()))),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise IncompatibleRunError(
            f"{out.name}/{PLAN_FILE}: damaged; choose another OUT, or delete the whole folder"
        ) from error


def check_same_run(out: Path, found: Plan, wanted: Plan) -> None:
    """Refuse to continue a run under other settings, on other input or in another environment.

    Raises:
        IncompatibleRunError: naming what changed.
    """
    differences = found.fingerprint.differences(wanted.fingerprint)
    if not differences:
        return
    shown = "; ".join(differences[:_SHOWN_DIFFERENCES])
    more = len(differences) - _SHOWN_DIFFERENCES
    rest = f"; and {more} more" if more > 0 else ""
    raise IncompatibleRunError(
        f"{out.name} was started with other settings or input ({shown}{rest}); go back to those to resume, or give another OUT"
    )
