"""Any rows in any order, however the parts are cut."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from normpipe.audit.features import FeatureColumns, FeatureStore, features_batch
from normpipe.shards.writer import ShardWriter

COLUMNS = FeatureColumns((), blendshapes=True)
PARTS = (300, 0, 1, 131)


def values(rows, seed):
    random = np.random.default_rng(seed)
    found = {name: random.random(rows, np.float32) for name in COLUMNS.scalars}
    for name, size in COLUMNS.vectors.items():
        found[name] = random.random((rows, size), np.float32).astype(np.float16).astype(np.float32)
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    parts = [values(rows, seed) for seed, rows in enumerate(PARTS)]
    for number, (rows, part) in enumerate(zip(PARTS, parts, strict=True)):
        ids = [f"{number}-{row}" for row in range(rows)]
        with ShardWriter(folder / f"part-{number:05d}.parquet", COLUMNS.schema) as writer:
            writer.append(features_batch(ids, [0] * rows, part, COLUMNS.schema))
    files = tuple(sorted(folder.iterdir()))
    return FeatureStore(files, np.concatenate([[0], np.cumsum(PARTS)])), parts


@pytest.mark.parametrize("name", ["shape_original", "blendshapes_normalized", "yaw_original"])
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=st.lists(st.integers(0, sum(PARTS) - 1), min_size=1, max_size=50))
def test_rows_come_as_asked_for(written, name, rows):
    store, parts = written
    whole = np.concatenate([part[name] for part in parts])
    assert np.array_equal(store.load(name, np.array(rows)), whole[rows])


def test_no_rows_are_no_error(written):
    assert written[0].load("shape_original", np.empty(0, np.intp)).shape == (0, 936)
    assert written[0].load("yaw_original", np.empty(0, np.intp)).shape == (0,)
