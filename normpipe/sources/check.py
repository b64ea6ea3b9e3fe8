"""Is every value of a manifest one that the vocabulary knows, every sample_id unique, and every file there?

The checks run on whole columns of a batch; only a row with a problem is looked at alone. Ten million rows need no more memory
than one batch and eight bytes for each sample id.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from normpipe.errors import UsageError
from normpipe.records import ACTION_UNITS, EMOTIONS, MANIFEST_SCHEMA
from normpipe.sources.columns import shown
from normpipe.sources.problems import Problems
from normpipe.sources.root import Root, uri_to_path
from normpipe.sources.unique import Reread, SampleIds

_SUSPECT_URI = r"^/|(^|/)\.\.(/|$)|\x00"  # whatever `uri_to_path` may refuse

_RANGES: dict[str, tuple[float, float]] = {
    "frame": (0, np.inf),
    "pts": (-np.inf, np.inf),
    "timestamp": (-np.inf, np.inf),
    "valence": (-1, 1),
    "arousal": (-1, 1),
    "weight": (0, np.inf),
    **{f"au_occurrence_{au:02d}": (0, 1) for au in ACTION_UNITS},
    **{f"au_intensity_{au:02d}": (0, 5) for au in ACTION_UNITS},
}


class Checker:
    """Checks the batches of one manifest, in order; `finish` ends with what needs all of them.

    Args:
        problems: Receives what is found.
        root: Where the files should be; None leaves them unchecked.
    """

    def __init__(self, problems: Problems, root: Root | None = None) -> None:
        self._problems = problems
        self._root = root
        self._remote_files: frozenset[str] | None = None
        self._sample_ids = SampleIds()

    def add(self, batch: pa.RecordBatch, numbers: Sequence[int]) -> None:
        """Check one batch in MANIFEST_SCHEMA; `numbers` are the line or row numbers of its rows."""
        for name in ("sample_id", "uri"):
            column = batch.column(name)
            self._report(pc.fill_null(pc.equal(column, ""), True), numbers, name, None, "is empty")
        self._check_uris(batch.column("uri"), numbers)
        emotions = batch.column("emotion")
        unknown = pc.and_(pc.is_valid(emotions), pc.invert(pc.is_in(emotions, value_set=pa.array(EMOTIONS))))
        self._report(unknown, numbers, "emotion", emotions, f"is none of {', '.join(EMOTIONS)}")
        for name, (low, high) in _RANGES.items():
            self._check_range(batch.column(name), name, low, high, numbers)
        for name in ("box", "five_points", "emotion_votes"):
            self._check_list(batch.column(name), name, numbers)
        self._sample_ids.add(batch.column("sample_id"))

    def finish(self, reread: Reread) -> None:
        """Find the sample ids that stand there more than once; only if there are any, the batches are read again."""
        self._sample_ids.report(self._problems, reread)

    def _check_uris(self, column: pa.Array, numbers: Sequence[int]) -> None:
        looked_at = column if self._root is not None else column.filter(pc.match_substring_regex(column, _SUSPECT_URI))
        for uri in filter(None, pc.unique(looked_at).to_pylist()):
            complaint = self._complaint(uri)
            if complaint:
                self._problems.add(numbers[pc.index(column, uri).as_py()], f"uri: {complaint}")

    def _complaint(self, uri: str) -> str | None:
        try:
            uri_to_path(uri)
        except UsageError:
            return f"{shown(uri)} is no path below ROOT"
        return None if self._root is None or self._exists(uri) else f"there is no file {shown(uri)} below ROOT"

    def _exists(self, uri: str) -> bool:
        assert self._root is not None
        if self._root.is_local:
            return self._root.exists(uri)
        if self._remote_files is None:  # one listing instead of a request per file
            try:
                self._remote_files = frozenset(self._root.walk())
            except OSError as error:
                raise UsageError("--root: a folder cannot be listed (transfer failed)") from error
        return uri in self._remote_files

    def _check_range(self, column: pa.Array, name: str, low: float, high: float, numbers: Sequence[int]) -> None:
        if column.null_count == len(column):
            return
        if pa.types.is_floating(column.type):
            self._report(pc.invert(pc.is_finite(column)), numbers, name, column, "is not a finite number")
        outside = pc.or_(pc.less(column, low), pc.greater(column, high)) if low > -np.inf else None
        if outside is not None:
            finite = pc.is_finite(column)
            limit = f"is not within {low:g} and {high:g}" if high < np.inf else f"is less than {low:g}"
            self._report(pc.and_(outside, finite), numbers, name, column, limit)

    def _check_list(self, column: pa.Array, name: str, numbers: Sequence[int]) -> None:
        if column.null_count == len(column):
            return
        rows = pc.list_parent_indices(column).to_numpy()
        values = column.flatten().to_numpy(zero_copy_only=False)
        unknown = np.unique(rows[~np.isfinite(values)])
        self._note(unknown, numbers, f"{name}: a number is missing or not finite")
        if name == "box":
            x0, y0, x1, y1 = values.reshape(-1, 4).T
            wrong = rows[::4][~((x1 > x0) & (y1 > y0))]
            self._note(np.setdiff1d(wrong, unknown), numbers, "box: x1 and y1 must be greater than x0 and y0")
        elif name == "emotion_votes":
            self._note(np.setdiff1d(rows[values < 0], unknown), numbers, "emotion_votes: a number is less than 0")

    def _note(self, rows: NDArray[np.int64], numbers: Sequence[int], message: str) -> None:
        self._problems.add_each([numbers[row] for row in rows.tolist()], lambda _: message)

    def _report(self, bad: pa.Array, numbers: Sequence[int], name: str, column: pa.Array | None, message: str) -> None:
        rows = pc.indices_nonzero(pc.fill_null(bad, False)).to_pylist()

        def text(place: int) -> str:
            return f"{name}:{'' if column is None else ' ' + shown(column[rows[place]].as_py())} {message}"

        self._problems.add_each([numbers[row] for row in rows], text)


def check_columns(names: Sequence[str], problems: Problems) -> None:
    """Note columns that a manifest must have and columns that it does not know."""
    for name in ("sample_id", "uri"):
        if name not in names:
            problems.add(None, f"column {name} is missing")
    for name in names:
        if name not in MANIFEST_SCHEMA.names:
            problems.add(
                None, f"column {shown(name)} is none of a manifest's (a table of another form: `normpipe manifest build table`)"
            )
