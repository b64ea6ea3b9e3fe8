"""Which rows of a labelled manifest carry the figures of an evaluation, refused before hours of work where they cannot."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from normpipe.audit.classifier import ClassifierLimits
from normpipe.audit.figures import NotMeasurable
from normpipe.audit.groups import Names
from normpipe.audit.pairs import Rows, sample_pairs
from normpipe.errors import UsageError

FEWEST_OF_CLASS = ClassifierLimits().folds
"""People of a class, so that every fold of the classifier can have one."""


def selected_rows(manifest: pa.Table, split: str, emotions: Sequence[str]) -> tuple[pa.Table, tuple[str, ...]]:
    """The rows of a split that name their subject and one of the emotions, and these emotions, sorted.

    Args:
        manifest: In MANIFEST_SCHEMA.
        split: Name of the split.
        emotions: Classes; none for all with enough people.

    Raises:
        UsageError: there are too few rows, people or classes for an evaluation.
    """
    rows = manifest.filter(pc.equal(manifest["split"], split))
    if not rows.num_rows:
        there = sorted(pc.unique(manifest["split"].drop_null()).to_pylist())
        raise UsageError(f"--split {split}: the manifest has no row of it; it has: {', '.join(there) or 'no split'}")
    for name, wanted in (("subject", "an evaluation tells people apart"), ("emotion", "people are compared at equal emotion")):
        rows = rows.filter(pc.is_valid(rows[name]))
        if not rows.num_rows:
            raise UsageError(f"--split {split}: no row names its {name}; {wanted}")
    people = _people(rows)
    if len(np.unique(people)) < 2:
        raise UsageError(f"--split {split}: all rows are of one person; two are needed")
    labels = np.asarray(rows["emotion"].to_pylist())
    people_of = {str(label): len(np.unique(people[labels == label])) for label in np.unique(labels)}
    chosen = tuple(sorted(set(emotions))) or tuple(name for name, count in people_of.items() if count >= FEWEST_OF_CLASS)
    for name in chosen:
        if people_of.get(name, 0) < FEWEST_OF_CLASS:
            raise UsageError(
                f"--emotion {name}: {people_of.get(name, 0)} people in split {split}, {FEWEST_OF_CLASS} are needed"
            )
    if len(chosen) < 2:
        raise UsageError(
            f"--split {split}: {len(chosen)} of {len(people_of)} emotions count, with {FEWEST_OF_CLASS} people or more; "
            "two are needed"
        )
    use = np.isin(labels, chosen)
    pairs = sample_pairs(Rows(people[use], labels[use]), np.ones(int(use.sum()), bool))
    if isinstance(pairs, NotMeasurable):
        raise UsageError(f"--split {split}: {pairs.detail}")
    return rows.filter(pa.array(use)), chosen


def _people(rows: pa.Table) -> Names:
    """(n,) dataset and subject: two datasets may call two people the same."""
    return np.asarray([f"{row['dataset']}/{row['subject']}" for row in rows.select(["dataset", "subject"]).to_pylist()])
