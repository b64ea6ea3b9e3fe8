"""The proof: every file below a run's folder is searched for what was withdrawn.

Two nets. Columns that hold names (of Parquet tables, of JSON) are compared value by value, which works for any name, however
short. And long names are looked for everywhere: in the bytes of every file and in its own name, and in every string of every
Parquet table after decoding, since a compressed page hides what it holds. Pictures are recognized by their sha256: the encoded
bytes in tables, whole files elsewhere.

What other rows rightly carry proves nothing: a name that occurs within a remaining name is looked for by value alone.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from normpipe.errors import shown_sample
from normpipe.purge.finder import LEAST_BYTES, Finder
from normpipe.purge.pending import Pending
from normpipe.purge.remaining import found_in_words, names_of_none
from normpipe.shards.atomic import sha256_of
from normpipe.shards.export import safe_name
from normpipe.shards.withdrawn import PURGING_FILE
from normpipe.stages.parts import MANIFEST_FILE, SHARDS_FOLDER

_NAMING = {"sample_id": "sample_id", "uri": "uri", "path": "uri", "subject": "subject", "sequence": "sequence"}
"""Columns and keys that name, and the manifest's column whose values they hold."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A file that still holds something: its path in the run's folder, and what it holds."""

    path: str
    what: str


@dataclass(slots=True)
class Proof:
    """What was searched, and what was found.

    Attributes:
        names: Names looked for, of which `short` by value alone.
        pictures: Pictures and source files looked for, by sha256.
        files: Files searched.
        size: Their bytes.
        values: Strings and pictures decoded from tables and documents.
        equal: Pictures of remaining rows that are equal to a withdrawn one, byte for byte.
        findings: What must not be there.
    """

    names: int
    short: int
    pictures: int
    files: int = 0
    size: int = 0
    values: int = 0
    equal: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def line(self) -> str:
        """The result in one line."""
        result = "nothing was found" if not self.findings else f"{len(self.findings)} findings"
        return (
            f"searched {self.files} files ({self.size / 1e6:.1f} MB, {self.values} decoded values) for {self.names} names "
            f"({self.short} of them by value alone) and {self.pictures} pictures and source files: {result}"
        )


def scan(out: Path, pending: Pending) -> Proof:
    """Search a run's folder after its withdrawal.

    Args:
        out: The run's folder; its manifest is without the rows.
        pending: What was withdrawn.

    Raises:
        OSError: a file cannot be read.
    """
    return _Scan(out, pending).proof()


def long_names(pending: Pending) -> set[bytes]:
    """Names of what is withdrawn that are long enough to be looked for in bytes, also as exports and messages write them."""
    names = {name for row in pending.rows for name in (row.sample_id, row.uri, row.subject, row.sequence) if name is not None}
    for row in pending.rows:
        names.update((safe_name({"sample_id": row.sample_id, "face_index": None}), shown_sample(row.sample_id, hash_ids=True)))
    return {name for name in map(_encoded, names) if len(name) >= LEAST_BYTES}


class _Scan:
    def __init__(self, out: Path, pending: Pending) -> None:
        self._out = out
        names = names_of_none(out, pending)
        self._exact, self._people = names.by_column, names.people
        self._pictures = frozenset(pending.pictures)
        self._files = self._pictures | names.contents
        candidates = Finder(long_names(pending) | {digest.encode() for digest in names.contents})
        self._finder = Finder(candidates.names - found_in_words(out / MANIFEST_FILE, candidates))
        values = frozenset().union(*self._exact.values())
        short = sum(_encoded(value) not in self._finder.names for value in values)
        self._proof = Proof(names=len(values), short=short, pictures=len(self._files))
        self._shared: set[str] = set()

    def proof(self) -> Proof:
        """Search all files, those of the pairs first: they say which pictures other rows have too."""
        files = [path for path in sorted(self._out.rglob("*")) if path != self._out / PURGING_FILE]
        pairs = self._out / SHARDS_FOLDER
        for path in sorted(files, key=lambda path: path.parent != pairs):
            name = path.relative_to(self._out).as_posix()
            if self._finder.found(name.encode("utf-8", "surrogateescape")):
                self._add(name, "its name")
            if path.is_file():
                self._search(path, name)
        return self._proof

    def _search(self, path: Path, name: str) -> None:
        self._proof.files += 1
        self._proof.size += path.stat().st_size
        if self._finder.found_in_file(path):
            self._add(name, "a name")
        if sha256_of(path) in self._files - self._shared:
            self._add(name, "a picture")
        if path.suffix == ".parquet":
            self._search_table(path, name)
        elif path.suffix in (".json", ".jsonl"):
            self._search_document(path, name)

    def _search_table(self, path: Path, name: str) -> None:
        try:
            with pq.ParquetFile(path) as plain:
                strings = [field.name for field in plain.schema_arrow if pa.types.is_string(field.type)]
                self._search_footer(plain.metadata, name)
            with pq.ParquetFile(path, read_dictionary=strings) as file:  # dictionaries as they are stored, used or not
                for group in range(file.num_row_groups):
                    self._search_group(file.read_row_group(group), path, name)
        except (pa.ArrowException, OSError):
            self._add(name, "it cannot be read")

    def _search_footer(self, footer: pq.FileMetaData, name: str) -> None:
        for key, value in (footer.metadata or {}).items():
            self._search_text([key.decode(errors="replace"), value.decode(errors="replace")], name)
        for group in range(footer.num_row_groups):
            for number in range(footer.num_columns):
                column = footer.row_group(group).column(number)
                limits = column.statistics if column.is_stats_set else None
                if limits is not None and limits.has_min_max:
                    values = [each for each in (limits.min, limits.max) if isinstance(each, str)]
                    self._search_values(values, column.path_in_schema.rpartition(".")[2], name)

    def _search_group(self, table: pa.Table, path: Path, name: str) -> None:
        for column, leaf in _leaves(table):
            if pa.types.is_string(leaf.type) or pa.types.is_large_string(leaf.type):
                self._search_values(pc.drop_null(leaf).to_pylist(), column, name)
            else:
                self._search_pictures(pc.drop_null(leaf).to_pylist(), path, name)
        if {"dataset", "subject"} <= set(table.column_names):
            people = zip(table["dataset"].to_pylist(), table["subject"].to_pylist(), strict=True)
            if not self._people.isdisjoint(people):
                self._add(name, "a name")

    def _search_pictures(self, encoded: list[bytes], path: Path, name: str) -> None:
        self._proof.values += len(encoded)
        for content in encoded:
            digest = hashlib.sha256(content).hexdigest()
            if digest not in self._pictures:
                continue
            if path.parent == self._out / SHARDS_FOLDER:  # withdrawn rows have none, so this is a row that remains
                self._proof.equal += 1
                self._shared.add(digest)
            elif digest not in self._shared:
                self._add(name, "a picture")

    def _search_document(self, path: Path, name: str) -> None:
        """JSON, which may escape letters."""
        try:
            text = path.read_text(encoding="utf-8")
            documents = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]
        except ValueError:
            return  # no JSON after all; its bytes were searched
        for key, value in (pair for document in documents for pair in _strings(document, "")):
            self._search_values([value], key, name)

    def _search_values(self, values: list[str], column: str, name: str) -> None:
        known = _NAMING.get(column)
        if known is not None and not self._exact[known].isdisjoint(values):
            self._add(name, "a name")
        self._search_text(values, name)

    def _search_text(self, values: list[str], name: str) -> None:
        self._proof.values += len(values)
        if self._finder.found(_encoded("\n".join(values))):
            self._add(name, "a name")

    def _add(self, name: str, what: str) -> None:
        finding = Finding(name, what)
        if finding not in self._proof.findings:
            self._proof.findings.append(finding)


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _leaves(table: pa.Table) -> Iterator[tuple[str, pa.Array]]:
    """Name and values of every column of strings or bytes, of nested ones too; of stored dictionaries, all entries."""
    for name in table.column_names:
        for chunk in table[name].chunks:
            yield from _within(name, chunk)


def _within(name: str, array: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    kind = array.type
    if pa.types.is_dictionary(kind):
        yield name, array.dictionary
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        yield name, array
    elif pa.types.is_struct(kind):
        for field_ in kind:
            yield from _within(field_.name, pc.struct_field(array, field_.name))
    elif pa.types.is_map(kind):
        yield from _within(name, array.keys)
        yield from _within(name, array.items)
    elif pa.types.is_list(kind):
        yield from _within(name, array.flatten())


def _strings(value: object, key: str) -> Iterator[tuple[str, str]]:
    """All strings of a JSON value, keys among them, each with the key that it stands under."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield "", name
            yield from _strings(each, name)
    elif isinstance(value, Iterable):
        for each in value:
            yield from _strings(each, key)
