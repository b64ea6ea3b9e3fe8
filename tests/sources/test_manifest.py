"""Reading, checking and writing manifests: nothing outside the vocabulary passes, and every complaint names its line."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normpipe.errors import UsageError
from normpipe.records import ACTION_UNITS, EMOTIONS, MANIFEST_SCHEMA
from normpipe.sources.check import Checker
from normpipe.sources.manifest import (
    check_manifest,
    frame_refs,
    iterate_manifest,
    manifest_table,
    read_manifest,
    write_manifest,
)
from normpipe.sources.problems import Problems
from normpipe.sources.root import Root


def _csv(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "m.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _problems(path: Path, root: Root | None = None) -> list[tuple[int, str]]:
    return check_manifest(path, root).first


ROWS = [
    {
        "sample_id": "a",
        "uri": "x/a.jpg",
        "subject": "7",
        "emotion": "fear",
        "au_occurrence_12": 1,
        "au_intensity_12": 2.5,
        "valence": -0.25,
        "box": [1.0, 2.0, 3.5, 4.0],
        "emotion_votes": [0.5, 0.5],
    },
    {"sample_id": "b", "uri": "ж b.mp4", "frame": 3, "pts": 120, "timestamp": 0.12},
]


def _as_csv(tmp_path: Path) -> Path:
    names = list({name: None for row in ROWS for name in row})
    cells = [[row.get(name, "") for name in names] for row in ROWS]
    quoted = [",".join('"' + str(cell) + '"' for cell in row) for row in cells]
    return _csv(tmp_path, ",".join(names), *quoted)


def _as_jsonl(tmp_path: Path) -> Path:
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def _as_parquet(tmp_path: Path) -> Path:
    path = tmp_path / "m.parquet"
    table = pa.Table.from_pylist(ROWS, schema=pa.schema([f for f in MANIFEST_SCHEMA if any(f.name in row for row in ROWS)]))
    subject = table.schema.get_field_index("subject")
    table = table.set_column(subject, "subject", table["subject"].dictionary_encode())  # as pandas writes categories
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("write", [_as_csv, _as_jsonl, _as_parquet])
def test_all_formats_read_alike(tmp_path: Path, write: object) -> None:
    table = read_manifest(write(tmp_path))  # type: ignore[operator]
    assert table.schema.equals(MANIFEST_SCHEMA)
    rows = [{name: value for name, value in row.items() if value is not None} for row in table.to_pylist()]
    assert rows == ROWS


def test_written_bytes_depend_on_the_rows_alone(tmp_path: Path) -> None:
    table = read_manifest(_as_jsonl(tmp_path))
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    first = write_manifest(table, tmp_path / "1.parquet")
    second = write_manifest(chunked, tmp_path / "2.parquet")
    assert first == second
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    assert read_manifest(tmp_path / "1.parquet").equals(table)
    assert sorted(path.name for path in tmp_path.glob("*.parquet")) == ["1.parquet", "2.parquet"]


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"uri": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=8)},
            optional={
                "emotion": st.sampled_from(EMOTIONS),
                "frame": st.integers(0, 2**53),
                "valence": st.floats(-1, 1, width=32),
                "au_occurrence_01": st.sampled_from([0, 1]),
                "au_intensity_43": st.floats(0, 5, width=32),
            },
        ).filter(lambda row: row["uri"] != ".."),
        min_size=1,
        max_size=8,
    )
)
def test_any_valid_manifest_survives_writing_and_reading(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]
) -> None:
    path = tmp_path_factory.mktemp("m") / "m.parquet"
    names = [*MANIFEST_SCHEMA.names]
    columns = {name: [row.get(name) for row in rows] for name in names if name != "sample_id"}
    table = manifest_table(columns | {"sample_id": [str(index) for index in range(len(rows))]}, len(rows))
    write_manifest(table, path)
    assert read_manifest(path).equals(table)


def test_pandas_style_numbers_pass(tmp_path: Path) -> None:
    path = _csv(tmp_path, "sample_id,uri,au_occurrence_12,subject", "a,a.jpg,1.0,7", "b,b.jpg,,8")
    assert read_manifest(path)["au_occurrence_12"].to_pylist() == [1, None]


@pytest.mark.parametrize(
    ("column", "cell", "complaint"),
    [
        ("emotion", "happy", "emotion: 'happy' is none of neutral, happiness"),
        ("au_occurrence_12", "2", "au_occurrence_12: 2 is not within 0 and 1"),
        ("au_occurrence_12", "9", "au_occurrence_12: 9 is not within 0 and 1"),
        ("au_occurrence_12", "0.5", "au_occurrence_12: '0.5' is not a whole number in range"),
        ("au_occurrence_12", "300", "au_occurrence_12: '300' is not a whole number in range"),
        ("au_intensity_04", "5.5", "au_intensity_04: 5.5 is not within 0 and 5"),
        ("au_intensity_04", "-1", "au_intensity_04: -1.0 is not within 0 and 5"),
        ("au_intensity_04", "nan", "au_intensity_04: nan is not a finite number"),
        ("au_intensity_04", "inf", "au_intensity_04: inf is not a finite number"),
        ("valence", "high", "valence: 'high' is not a number"),
        ("arousal", "1.01", "arousal: 1.0099999904632568 is not within -1 and 1"),
        ("timestamp", "inf", "timestamp: inf is not a finite number"),
        ("weight", "-1", "weight: -1.0 is less than 0"),
        ("frame", "-1", "frame: -1 is less than 0"),
        ("frame", "1e30", "frame: '1e30' is not a whole number in range"),
        ("box", "[1, 2, 3]", "box: '[1, 2, 3]' is not a list of 4 numbers"),
        ("box", "[3, 2, 1, 4]", "box: x1 and y1 must be greater"),
        ("box", "[NaN, 2, 3, 4]", "box: a number is missing or not finite"),
        ("emotion_votes", "[-1]", "emotion_votes: a number is less than 0"),
    ],
)
def test_a_bad_value_is_named_with_its_line(tmp_path: Path, column: str, cell: str, complaint: str) -> None:
    path = _csv(tmp_path, f"sample_id,uri,{column}", "good,g.jpg,", f'bad,b.jpg,"{cell}"')
    ((line, message),) = _problems(path)
    assert line == 3
    assert message.startswith(complaint)
    with pytest.raises(UsageError, match=r"m\.csv: 1 problem\n  line 3: "):
        read_manifest(path)


def test_text_that_is_no_utf8_is_named_with_its_row(tmp_path: Path) -> None:
    """Parquet files hold any bytes as text."""
    names = pa.array([b"a", b"caf\xe9", b"c"]).view(pa.string())
    table = pa.table({"sample_id": ["a", "b", "c"], "uri": ["a.jpg", "b.jpg", "c.jpg"], "subject": names})
    pq.write_table(table, tmp_path / "m.parquet")
    assert _problems(tmp_path / "m.parquet") == [(2, "subject: b'caf\\xe9' is not UTF-8 text")]


number = st.one_of(st.floats(-3, 3, width=32), st.sampled_from([float("nan"), float("inf")]), st.none())


@settings(max_examples=50, deadline=None)
@given(
    boxes=st.lists(st.one_of(st.none(), st.lists(number, min_size=4, max_size=4)), min_size=1, max_size=12),
    votes=st.lists(st.one_of(st.none(), st.lists(number, max_size=3)), min_size=12, max_size=12),
    skipped=st.integers(0, 3),
)
def test_lists_are_checked_row_by_row(
    tmp_path_factory: pytest.TempPathFactory,
    boxes: list[list[float | None] | None],
    votes: list[list[float | None] | None],
    skipped: int,
) -> None:
    def finite(values: list[float | None]) -> bool:
        return all(value is not None and abs(value) < 10 for value in values)

    def wrong(box: list[float | None] | None, vote: list[float | None] | None) -> list[str]:
        found = []
        if box is not None and not finite(box):
            found.append("box: a number is missing or not finite")
        elif box is not None and not (box[2] > box[0] and box[3] > box[1]):  # type: ignore[operator]
            found.append("box: x1 and y1 must be greater than x0 and y0")
        if vote is not None and not finite(vote):
            found.append("emotion_votes: a number is missing or not finite")
        elif vote is not None and any(value < 0 for value in vote):  # type: ignore[operator]
            found.append("emotion_votes: a number is less than 0")
        return found

    ids = [str(row) for row in range(len(boxes))]
    columns = {"sample_id": ids, "uri": ids, "box": boxes, "emotion_votes": votes[: len(boxes)]}
    batch = manifest_table(columns, len(boxes)).slice(skipped).combine_chunks().to_batches()[:1]
    problems = Problems("m")
    for part in batch:
        Checker(problems).add(part, range(1 + skipped, 1 + len(boxes)))
    expected = [
        (row + 1, message)
        for row, (box, vote) in enumerate(zip(boxes, votes, strict=False))
        if row >= skipped
        for message in wrong(box, vote)
    ]
    assert problems.first == sorted(expected)[:20]
    assert problems.count == len(expected)


def test_every_action_unit_is_checked(tmp_path: Path) -> None:
    names = [f"{kind}_{au:02d}" for au in ACTION_UNITS for kind in ("au_occurrence", "au_intensity")]
    path = _csv(tmp_path, "sample_id,uri," + ",".join(names), "a,a.jpg," + ",".join(["6"] * len(names)))
    assert check_manifest(path, None).count == len(names)


def test_a_repeated_sample_id_names_both_lines(tmp_path: Path) -> None:
    path = _csv(tmp_path, "sample_id,uri", "a,1.jpg", "b,2.jpg", "a,3.jpg", "a,4.jpg")
    assert _problems(path) == [
        (4, "sample_id: 'a' is already that of line 2"),
        (5, "sample_id: 'a' is already that of line 2"),
    ]


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    """A quoted line break and an empty line move the rows below them."""
    path = _csv(tmp_path, "sample_id,uri", '"a\nb",1.jpg', "", "c,2.jpg", "a,3.jpg,extra", "c,4.jpg")
    assert _problems(path) == [
        (6, "3 cells, but the header names 2 columns"),
        (7, "sample_id: 'c' is already that of line 5"),
    ]


def test_a_parquet_file_counts_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"sample_id": ["a", "b", "a"], "uri": ["1.jpg", "", None]}), tmp_path / "m.parquet")
    problems = check_manifest(tmp_path / "m.parquet", None)
    assert problems.unit == "row"
    assert problems.first == [(2, "uri: is empty"), (3, "sample_id: 'a' is already that of row 1"), (3, "uri: is empty")]


def test_missing_files_are_found_below_root(tmp_path: Path) -> None:
    (tmp_path / "here.jpg").write_bytes(b"")
    path = _csv(tmp_path, "sample_id,uri,frame", "a,here.jpg,", "b,gone.mp4,0", "c,gone.mp4,1", "d,../out.jpg,")
    assert _problems(path, Root(str(tmp_path))) == [
        (3, "uri: there is no file 'gone.mp4' below ROOT"),
        (5, "uri: '../out.jpg' is no path below ROOT"),
    ]


def test_columns_are_checked(tmp_path: Path) -> None:
    path = _csv(tmp_path, "id,uri,smile", "a,a.jpg,1")
    messages = [message for _, message in _problems(path)]
    assert messages[0].startswith("column 'id' is none")
    assert messages[1].startswith("column 'smile' is none")
    assert messages[2] == "column sample_id is missing"


def test_twenty_problems_are_shown_and_all_counted(tmp_path: Path) -> None:
    path = _csv(tmp_path, "sample_id,uri,emotion", *[f"{index},{index}.jpg,glee" for index in range(50)])
    summary = check_manifest(path, None).summary().splitlines()
    assert summary[0] == "m.csv: 50 problems"
    assert len(summary) == 22
    assert summary[1].startswith("  line 2: ")
    assert summary[-1] == "  and 30 more"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("m.parquet", b"PAR1 no", "m.parquet: not a Parquet file"),
        ("m.csv", b"", "m.csv: empty"),
        ("m.csv", "sample_id,uri\na,ж.jpg\n".encode("cp1251"), "m.csv: not UTF-8"),
        ("m.csv", b"uri,uri\na,b\n", "m.csv: column 'uri' stands there twice"),
        ("m.txt", b"", "m.txt: a table is one of"),
    ],
)
def test_a_file_that_is_no_table_is_one_clear_line(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_manifest(tmp_path / name)
    assert str(caught.value).startswith(complaint)
    assert str(tmp_path) not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^m\.csv: cannot be read \(No such file"):
        read_manifest(tmp_path / "m.csv")


def test_broken_json_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    lines = [
        '{"sample_id": "a", "uri": "a.jpg"}',
        "{oops",
        "[1]",
        '{"sample_id": "d", "uri": 3.5}',
        '{"sample_id": "e", "uri": "\\ud800"}',
    ]
    path.write_text("\n".join(lines))
    assert [number for number, _ in _problems(path)] == [
        2,
        3,
        4,
        4,
        5,
        5,
    ]  # a value that does not fit is null, and so empty, too


def test_an_empty_manifest_is_a_problem_of_check(tmp_path: Path) -> None:
    assert _problems(_csv(tmp_path, "sample_id,uri")) == [(0, "no rows")]


def test_excel_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(b"\xef\xbb\xbfsample_id,uri\r\na,a.jpg\r\n")
    assert read_manifest(path)["sample_id"].to_pylist() == ["a"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_batches_are_of_bounded_size_and_lose_nothing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m.{suffix}"
    ids = [f"{index:03d}" for index in range(100)]
    if suffix == "csv":
        path.write_text("sample_id,uri\n" + "".join(f"{name},{name}.jpg\n" for name in ids))
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps({"sample_id": name, "uri": name}) + "\n" for name in ids))
    else:
        pq.write_table(pa.table({"sample_id": ids, "uri": ids}), path)
    batches = list(iterate_manifest(path, Problems(path.name), batch_rows=30))
    assert max(batch.num_rows for batch, _ in batches) == 30
    assert [name for batch, _ in batches for name in batch["sample_id"].to_pylist()] == ids
    first = 2 if suffix == "csv" else 1
    assert [number for _, numbers in batches for number in numbers] == list(range(first, first + 100))


def test_frame_refs_carry_what_decode_needs(tmp_path: Path) -> None:
    still, frame = frame_refs(read_manifest(_as_jsonl(tmp_path)))
    assert (still.sample_id, still.uri, still.frame, still.pts) == ("a", "x/a.jpg", None, None)
    assert still.box is not None
    assert still.box.tolist() == [1.0, 2.0, 3.5, 4.0]
    assert (frame.frame, frame.pts, frame.box) == (3, 120, None)
