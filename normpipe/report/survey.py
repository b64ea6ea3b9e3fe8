"""One pass over a run's committed pairs: counts, distributions, and which rows the contact sheets show.

Only numbers and ids are read, in large batches, so a run of millions of rows needs the memory of one batch. A row is addressed
by its part and its place in it; the faces table has the same rows in the same order.
"""

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from normpipe.records import Reason, Status
from normpipe.shards.reader import committed_parts, open_part

_BATCH_ROWS = 65_536
_BINS = 40


@dataclass(frozen=True, slots=True)
class Measure:
    """A quality column as the report shows it.

    Attributes:
        column: Name in PAIRS_SCHEMA.
        title: Heading.
        unit: Shown after numbers; may be empty.
        low: Left end of the histogram. Fixed, so that the reports of two runs can be laid side by side; values outside are
            counted in the first and last bar.
        high: Right end of the histogram.
        meaning: One sentence for the page.
        logarithmic: Bins are equal in the logarithm; `low` is above 0.
    """

    column: str
    title: str
    unit: str
    low: float
    high: float
    meaning: str
    logarithmic: bool = False


MEASURES = (
    Measure("yaw", "Yaw before", "°", -60, 60, "Turn of the head in the source; positive is towards the image's right."),
    Measure("pitch", "Pitch before", "°", -45, 45, "Nod of the head in the source; positive is up."),
    Measure("eye_distance", "Eye distance", "px", 0, 200, "Between the eyes' centres in the source: how large the face was."),
    Measure("sharpness", "Sharpness", "", 1, 10_000, "Variance of the Laplacian of the crop, on a logarithmic scale.", True),
    Measure("normalized_score", "Face score after", "", 0, 1, "How sure the landmark network is of the normalized face."),
    Measure("normalized_yaw", "Yaw after", "°", -20, 20, "Turn that is left in the normalized image; zero is frontal."),
)

# A pair is as good as its worst property. Each property is scaled to 0 (useless) .. 1 (nothing to complain about).
_QUALITY_FULL_YAW = 20.0  # degrees of remaining turn that count as useless
_QUALITY_FULL_EYES = 48.0  # px between the eyes from which on size is no concern
_QUALITY_FULL_SHARPNESS = 100.0  # variance of the Laplacian from which on blur is no concern
QUALITY_RULE = (
    "the lowest of: face score after; 1 - |yaw after| / 20°; eye distance / 48 px; sharpness / 100; each cut to 0..1. "
    "A normalized image in which the network sees no face has score 0"
)

_COLUMNS = ("sample_id", "status", "reason", *(measure.column for measure in MEASURES))


@dataclass(frozen=True, slots=True, order=True)
class RowAddress:
    """Place of a row: stem of its part ("part-00000") and its index there."""

    part: str
    index: int


@dataclass(slots=True)
class Histogram:
    """Counts of one measure over equal bins from `measure.low` to `measure.high`.

    Attributes:
        measure: What is counted.
        counts: (40,) int64.
        total: Rows that have a value.
        below: Rows under `measure.low`, counted in the first bin too.
        above: Rows over `measure.high`, counted in the last bin too.
    """

    measure: Measure
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, np.int64))
    total: int = 0
    below: int = 0
    above: int = 0
    _sum: float = 0.0

    def add(self, values: NDArray[np.float64]) -> None:
        """Count the values that are not NaN."""
        values = values[~np.isnan(values)]
        low, high = self.measure.low, self.measure.high
        scaled, left, right = np.clip(values, low, high), low, high
        if self.measure.logarithmic:
            scaled, left, right = np.log10(scaled), float(np.log10(low)), float(np.log10(high))
        bins = ((scaled - left) * (_BINS / (right - left))).astype(np.int64)
        self.counts += np.bincount(np.minimum(bins, _BINS - 1), minlength=_BINS)
        self.total += len(values)
        self.below += int((values < low).sum())
        self.above += int((values > high).sum())
        self._sum += float(values.sum())

    @property
    def mean(self) -> float | None:
        """Mean of all values, None when there is none."""
        return self._sum / self.total if self.total else None


@dataclass(slots=True)
class _Smallest:
    """The N rows with the smallest keys seen so far; ties go to the earlier row."""

    capacity: int
    _heap: list[tuple[float, int, RowAddress]] = field(default_factory=list)
    _count: int = 0

    def add(self, keys: NDArray[np.float64], part: str, indices: NDArray[np.int64]) -> None:
        """Offer rows; NaN keys are passed over."""
        usable = ~np.isnan(keys)
        keys, indices = keys[usable], indices[usable]
        if len(keys) > self.capacity:
            best = np.sort(np.argsort(keys, kind="stable")[: self.capacity])
            keys, indices = keys[best], indices[best]
        for key, index in zip(keys.tolist(), indices.tolist(), strict=True):
            self._count += 1
            entry = (-key, -self._count, RowAddress(part, index))
            if len(self._heap) < self.capacity:
                heapq.heappush(self._heap, entry)
            elif entry > self._heap[0]:
                heapq.heapreplace(self._heap, entry)

    def addresses(self) -> list[RowAddress]:
        """Kept rows, smallest key first."""
        return [address for _, _, address in sorted(self._heap, reverse=True)]


@dataclass(frozen=True, slots=True)
class Survey:
    """What the pass found.

    Attributes:
        rows: Committed rows.
        ok: Rows with a normalized image.
        failed: Count by reason, most frequent first.
        histograms: One per entry of MEASURES, over the rows that are ok.
        sample: Seeded random rows among those that are ok, in run order.
        failures: Failed rows, the reasons taking turns, without withdrawn ones, of which there is nothing to see.
        lowest: Rows of lowest quality (QUALITY_RULE), worst first.
    """

    rows: int
    ok: int
    failed: dict[Reason, int]
    histograms: tuple[Histogram, ...]
    sample: list[RowAddress]
    failures: list[RowAddress]
    lowest: list[RowAddress]


def survey_run(out: Path, count: int, seed: int) -> Survey:
    """Read ids, outcomes and quality columns of all committed pairs.

    Args:
        out: Folder of the run.
        count: Most rows to choose for each contact sheet.
        seed: Seed of the random choices.

    Raises:
        UsageError: `out` is not the folder of a run, or a committed file is missing.
    """
    random = np.random.default_rng(seed)
    histograms = tuple(Histogram(measure) for measure in MEASURES)
    reasons: Counter[Reason] = Counter()
    sample, lowest, lowest_unmeasured = _Smallest(count), _Smallest(count), _Smallest(count)
    failures: dict[Reason, _Smallest] = {}
    rows = ok_rows = 0
    for part in committed_parts(out):
        start = 0
        for batch in _batches(part):
            stop = start + batch.num_rows
            indices = np.arange(start, stop)
            keys = random.random(batch.num_rows)
            ok = batch["status"].to_numpy(zero_copy_only=False) == Status.OK
            measured = {measure.column: _floats(batch, measure.column) for measure in MEASURES}
            for histogram in histograms:
                histogram.add(measured[histogram.measure.column][ok])
            sample.add(keys[ok], part.stem, indices[ok])
            lowest_unmeasured.add(quality(measured)[ok], part.stem, indices[ok])
            measured["normalized_score"] = np.nan_to_num(measured["normalized_score"], nan=0.0)
            lowest.add(quality(measured)[ok], part.stem, indices[ok])
            words = batch["reason"].to_numpy(zero_copy_only=False)
            for word in sorted(set(words[~ok].tolist()) - {None}):
                reason = Reason(word)
                these = words == word
                reasons[reason] += int(these.sum())
                failures.setdefault(reason, _Smallest(count)).add(keys[these], part.stem, indices[these])
            rows, ok_rows, start = rows + batch.num_rows, ok_rows + int(ok.sum()), stop
    ordered = sorted(reasons, key=lambda reason: (-reasons[reason], reason))
    remeasured = any(histogram.total for histogram in histograms if histogram.measure.column == "normalized_score")
    return Survey(
        rows=rows,
        ok=ok_rows,
        failed={reason: reasons[reason] for reason in ordered},
        histograms=histograms,
        sample=sorted(sample.addresses()),
        failures=_take_turns([failures[reason].addresses() for reason in ordered if reason is not Reason.WITHDRAWN], count),
        # Without any score the landmarker was not asked (quality.remeasure), which is no fault of the pictures.
        lowest=(lowest if remeasured else lowest_unmeasured).addresses(),
    )


def quality(measured: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Quality 0 to 1 of each row: the lowest of its properties (QUALITY_RULE); NaN properties are passed over."""
    parts = np.stack(
        [
            measured["normalized_score"],
            1 - np.abs(measured["normalized_yaw"]) / _QUALITY_FULL_YAW,
            measured["eye_distance"] / _QUALITY_FULL_EYES,
            measured["sharpness"] / _QUALITY_FULL_SHARPNESS,
        ]
    )
    worst: NDArray[np.float64] = np.fmin.reduce(np.clip(parts, 0, 1))
    return worst


def _batches(part: Path) -> Iterable[pa.RecordBatch]:
    with open_part(part) as file:
        yield from file.iter_batches(batch_size=_BATCH_ROWS, columns=list(_COLUMNS))


def _floats(batch: pa.RecordBatch, column: str) -> NDArray[np.float64]:
    values: NDArray[np.float64] = batch[column].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values


def _take_turns(groups: list[list[RowAddress]], count: int) -> list[RowAddress]:
    """First of each group, then the second of each, until `count` rows."""
    longest = max((len(group) for group in groups), default=0)
    return [group[turn] for turn in range(longest) for group in groups if turn < len(group)][:count]
