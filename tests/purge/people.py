"""Small runs of several people, drawn as coloured squares, and withdrawals from them in this very process."""

import hashlib
from pathlib import Path

import pyarrow.parquet as pq
from fixtures.puppets import puppet_models, write_stills
from fixtures.runs import Here, executed, planned

from normpipe.engine.run import RunSummary
from normpipe.purge.request import Request
from normpipe.purge.run import Purged, purge
from normpipe.shards.reader import iter_rows

SUBJECTS = ("anna-lindqvist", "ben", "anna-lindqvist", "carla-svensson", "ben", "anna-lindqvist", "carla-svensson", "1")
"""Of sixteen frames, over and over. "1" is a name too."""

GONE = "anna-lindqvist"


def name(number: int) -> str:
    return f"{SUBJECTS[number % len(SUBJECTS)]}-{number:03d}.png"


def write_media(folder: Path, frames: int = 16) -> Path:
    """Stills that differ, some with two faces and one with none, and their manifest."""
    folder.mkdir(parents=True)
    scenes = []
    for number in range(frames):
        scene = {} if number == 6 else {"red": (20 + 9 * (number % 9), 30, 40 + number)}
        scenes.append({**scene, "blue": (200, 20, 30 + 3 * number)} if number % 5 == 2 else scene)
    for number, drawn in enumerate(write_stills(folder, scenes)):
        (folder / drawn).rename(folder / name(number))
    return write_manifest(folder / "people.csv", range(frames))


def write_manifest(path: Path, numbers: range | list[int]) -> Path:
    """Rows by number; the digits of "1" in many columns, since its name is short."""
    lines = ["sample_id,uri,dataset,subject,sequence,split"]
    lines += [f"{name(number)},{name(number)},lab,{SUBJECTS[number % len(SUBJECTS)]},walk,1" for number in numbers]
    path.write_text("\n".join(lines) + "\n")
    return path


def run(manifest: Path, out: Path, *settings: str, shards: int | None = None, faces: Path | None = None) -> RunSummary:
    """Run the manifest; only so many shards of it where `shards` says so."""
    ready = planned(
        manifest, out, "shard_size=4", "detect.policy=all", *settings, build=puppet_models, root=manifest.parent, faces=faces
    )
    return executed(ready, Here() if shards is None else Stops(shards))


class Stops(Here):
    """Does so many shards of each phase."""

    def __init__(self, shards: int) -> None:
        super().__init__()
        self._shards = shards

    def run(self, work, shards, advance, observe=lambda _: None):  # type: ignore[no-untyped-def]
        yield from super().run(work, shards[: self._shards], advance)


def subject(*names: str, dataset: str | None = None) -> Request:
    return Request(frozenset(names), frozenset(), dataset)


def sample(*names: str) -> Request:
    return Request(frozenset(), frozenset(names))


def withdrawn(out: Path, request: Request, **options: object) -> Purged:
    (done,) = purge(out, request, **options)  # type: ignore[arg-type]
    return done


def rows(out: Path, table: str = "shards") -> list[dict[str, object]]:
    return list(iter_rows(out, table))  # type: ignore[arg-type]


def bytes_of(folder: Path) -> dict[str, str]:
    """sha256 of every file that decides about rows."""
    paths = [path for name in ("faces", "shards", "analysis", "tracks") for path in sorted((folder / name).glob("*"))]
    paths += [path for path in [folder / "manifest.parquet", folder / "neutrals.parquet"] if path.exists()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def traces(out: Path, *words: str) -> list[str]:
    """Files below a folder that hold one of the words, in their bytes or in what their tables decode to."""
    found = []
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += repr(pq.read_table(path).to_pylist()).encode()
        if any(word.encode() in content or word in str(path.relative_to(out)) for word in words):
            found.append(path.relative_to(out).as_posix())
    return found
