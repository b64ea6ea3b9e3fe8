"""What a network says of rows does not depend on how they came; a batch of nothing adds nothing."""

import numpy as np
import pytest

from normpipe.classify.arms import Arm
from normpipe.classify.feed import Feed, Share
from normpipe.classify.labels import Task
from tests.classify.networks.tiny import SIDE, SPACES, network, torch
from tests.classify.pair_shards import pairs, write_file

from normpipe.classify.loader import Loader  # isort: skip
from normpipe.classify.losses import scores  # isort: skip
from normpipe.classify.ranks import Ranks  # isort: skip
from normpipe.classify.readings import as_input, read  # isort: skip
from normpipe.classify.shards import open_shards  # isort: skip

ROWS = 10


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return open_shards([str(write_file(tmp_path_factory.mktemp("release") / "a.parquet", pairs(0, ROWS)).parent)], Arm.BOTH)


def loader(shards, rows, batch, share=None):
    return Loader(shards, shards.targets(SPACES[Task.AU]), rows, Feed(arm=Arm.BOTH, size=SIDE, batch=batch), share)


def prediction(made, shards, rows):
    """Of all rows at once."""
    (batch,) = loader(shards, rows, len(rows)).batches()
    with torch.inference_mode():
        return made(as_input(batch.pictures), None)


@pytest.mark.parametrize("name", ["noisy gates", "lnl"])
@pytest.mark.parametrize("batch", [1, 4, 16])
def test_batches_of_any_size_give_what_all_rows_at_once_give(shards, name, batch):
    made, rows = network(name).eval(), np.array([0, 2, 3, 5, 6, 7, 9])
    found = read(made, Task.AU, loader(shards, rows, batch), rows, Ranks("float32", "cpu"))
    wanted = prediction(made, shards, rows)
    np.testing.assert_allclose(found.scores, scores(Task.AU, wanted.logits), atol=1e-5)
    assert found.experts.keys() == wanted.balances.keys()
    for mixture, shares in found.experts.items():
        np.testing.assert_allclose(shares, wanted.balances[mixture].usage(), atol=1e-5)
        assert sum(shares) == pytest.approx(1, abs=1e-5)
    maps = wanted.weight_maps
    np.testing.assert_allclose(found.regions, np.empty(0) if maps is None else maps.mean(0), atol=1e-5)
    assert found.regions == [] or np.sum(found.regions) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["noisy gates", "lnl"])
def test_a_rank_that_has_nothing_of_the_last_batch_adds_nothing(shards, name):
    made, rows = network(name).eval(), np.array([1, 4, 8])
    found = read(made, Task.AU, loader(shards, rows, 2, Share(1, 2)), rows, Ranks("float32", "cpu"))
    wanted = prediction(made, shards, rows[1:2])
    np.testing.assert_array_equal(found.scores[[0, 2]], 0)
    np.testing.assert_allclose(found.scores[1], scores(Task.AU, wanted.logits)[0], atol=1e-5)
    for mixture, shares in found.experts.items():
        np.testing.assert_allclose(shares, wanted.balances[mixture].usage(), atol=1e-5)
    if wanted.weight_maps is not None:
        np.testing.assert_allclose(found.regions, wanted.weight_maps[0], atol=1e-5)
