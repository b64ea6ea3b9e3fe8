"""Small tables of labelled rows."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from normpipe.classify.labels import Targets
from normpipe.records import LABEL_SCHEMA, PAIRS_SCHEMA

_NAMES = ("sample_id", "dataset", "subject", "split")
SCHEMA = pa.schema([*(PAIRS_SCHEMA.field(name) for name in _NAMES), *LABEL_SCHEMA])


def label_table(**columns: Sequence[object]) -> pa.Table:
    """Rows of SCHEMA from the columns given; all others are null, and sample ids s0000, s0001 and so on unless given."""
    rows = len(next(iter(columns.values())))
    given = {"sample_id": [f"s{row:04d}" for row in range(rows)], **columns}
    return pa.table([pa.array(given.get(field.name, [None] * rows), field.type) for field in SCHEMA], schema=SCHEMA)


def known_targets(values: NDArray[np.floating], known: NDArray[np.bool_]) -> Targets:
    """Targets with weight 1."""
    return Targets(np.asarray(values, np.float32), np.asarray(known, np.bool_), np.ones(len(values), np.float32))
