"""Rows that carry figures, and manifests that cannot be evaluated: refused by one line before anything is run."""

import pyarrow as pa
import pytest

from normpipe.audit.selection import selected_rows
from normpipe.errors import UsageError
from normpipe.sources.manifest import manifest_table


def _manifest(
    people: int = 6,
    labels: tuple[str | None, ...] = ("neutral", "neutral", "happiness"),
    split: str | None = "test",
    named: bool = True,
) -> pa.Table:
    rows = [(person, number, label) for person in range(people) for number, label in enumerate(labels)]
    names = [f"p{person}-{number}" for person, number, _ in rows]
    return manifest_table(
        {
            "sample_id": names,
            "uri": [f"{name}.png" for name in names],
            "dataset": ["drawn"] * len(rows),
            "subject": [f"p{person}" if named else None for person, _, _ in rows],
            "emotion": [label for _, _, label in rows],
            "split": [split] * len(rows),
        },
        len(rows),
    )


def test_rows_of_other_splits_and_rare_classes_and_without_a_label_are_left_out() -> None:
    rare = _manifest(people=2, labels=("disgust",))
    table = pa.concat_tables([_manifest(labels=("neutral", "happiness", "neutral", None)), rare, _manifest(split="train")])
    rows, emotions = selected_rows(table, "test", ())
    assert emotions == ("happiness", "neutral")
    assert rows.num_rows == 18
    assert set(rows["split"].to_pylist()) == {"test"}
    assert set(rows["emotion"].to_pylist()) == {"neutral", "happiness"}


def test_classes_can_be_named() -> None:
    table = _manifest(labels=("neutral", "neutral", "happiness", "surprise"))
    rows, emotions = selected_rows(table, "test", ("surprise", "neutral"))
    assert emotions == ("neutral", "surprise")
    assert set(rows["emotion"].to_pylist()) == {"neutral", "surprise"}


def test_people_of_two_datasets_with_one_name_are_two() -> None:
    table = _manifest(people=5)
    other = _manifest(people=1).set_column(table.schema.get_field_index("dataset"), "dataset", pa.array(["other"] * 3))
    assert selected_rows(pa.concat_tables([_manifest(people=4), other.cast(table.schema)]), "test", ())[1] == (
        "happiness",
        "neutral",
    )


@pytest.mark.parametrize(
    ("table", "split", "emotions", "message"),
    [
        (_manifest(), "dev", (), "--split dev: the manifest has no row of it; it has: test"),
        (_manifest(split=None), "test", (), "--split test: the manifest has no row of it; it has: no split"),
        (_manifest(named=False), "test", (), "--split test: no row names its subject; an evaluation tells people apart"),
        (_manifest(labels=(None,)), "test", (), "--split test: no row names its emotion; people are compared at equal emotion"),
        (_manifest(people=1), "test", (), "--split test: all rows are of one person; two are needed"),
        (_manifest(people=4), "test", (), "--split test: 0 of 2 emotions count, with 5 people or more; two are needed"),
        (_manifest(labels=("anger",) * 2), "test", (), "--split test: 1 of 1 emotions count, with 5 people or more"),
        (_manifest(), "test", ("neutral", "fear"), "--emotion fear: 0 people in split test, 5 are needed"),
        (_manifest(labels=("neutral", "anger")), "test", (), "--split test: no person has two images that may be compared"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(table: pa.Table, split: str, emotions: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        selected_rows(table, split, emotions)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
