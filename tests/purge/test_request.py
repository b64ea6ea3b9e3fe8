"""Which rows a withdrawal is about: all of the person, and nobody else's."""

import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from normpipe.errors import UsageError
from normpipe.purge.request import Request, WithdrawnRow, find_rows, read_list

ZOE = unicodedata.normalize("NFC", "Zoé")
APART = unicodedata.normalize("NFD", ZOE)
COLUMNS = WithdrawnRow._fields[1:]


@pytest.fixture
def manifest(tmp_path):
    """Kim is two people of two sets, Zoé one in three spellings."""
    people = [("alpha", "Kim"), ("beta", "Kim"), ("alpha", ZOE), ("alpha", APART), ("alpha", f" {ZOE}"), ("alpha", None)]
    rows = [
        {**dict.fromkeys(COLUMNS), "sample_id": f"s{number}", "dataset": dataset, "subject": subject}
        for number, (dataset, subject) in enumerate(people)
    ]
    schema = pa.schema([pa.field(name, pa.string()) for name in COLUMNS])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "manifest.parquet")
    return tmp_path / "manifest.parquet"


def listed(folder, *names):
    (folder / "gone.txt").write_text("\n".join(["subject", *names]))
    return read_list(folder / "gone.txt").request(None)


@pytest.mark.parametrize("others", [(), ("gone earlier",), (ZOE, "gone earlier", "gone before")])
def test_a_name_of_several_data_sets_is_refused_whoever_else_is_listed(manifest, tmp_path, others):
    with pytest.raises(UsageError, match="a name stands in several datasets"):
        find_rows(manifest, listed(tmp_path, "Kim", *others))


def test_of_one_data_set_the_name_is_one_person(manifest):
    assert [row.row for row in find_rows(manifest, Request(frozenset({"Kim"}), frozenset(), "beta"))] == [1]


@pytest.mark.parametrize("name", [ZOE, APART, f"{APART} "], ids=["composed", "apart", "space"])
def test_a_person_goes_in_every_spelling_of_the_name(manifest, tmp_path, name):
    request = listed(tmp_path, name)
    found = find_rows(manifest, request)
    assert [row.row for row in found] == [2, 3, 4]
    assert request.without(found).empty
