import json
import re
import shutil
from io import BytesIO
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures.released import released, write_run
from fixtures.signed import write_keys
from PIL import Image as PillowImage

from normpipe.errors import UsageError
from normpipe.release.card import card_text
from normpipe.release.croissant import croissant
from normpipe.release.document import RELEASE_FILE, TEXTS, read_release
from normpipe.release.files import RELEASE_LAYOUT
from normpipe.release.reader import open_release
from normpipe.release.signature import sign
from normpipe.release.sums import SUMS_FILE, read_sums, sums_bytes
from normpipe.release.verify import verify
from normpipe.shards.atomic import sha256_of
from normpipe.shards.writer import ShardWriter

DOCUMENT = Path(__file__).parents[2] / "docs" / "release.md"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verified")
    released(write_run(folder / "out"), folder / "release", file_bytes=6000)
    return folder / "release"


@pytest.fixture
def release(sound, tmp_path):
    shutil.copytree(sound, tmp_path / "release")
    return tmp_path / "release"


def problems(release, **how):
    return verify(open_release(str(release)), **how).problems


def data(release, number=0):
    return release / read_release(release).files[number].path


def summed_again(release):
    """New sums, as whoever tampers would write them."""
    digests = {path: sha256_of(release / path) for path in read_sums(release)}
    (release / SUMS_FILE).write_bytes(sums_bytes(digests))


def told_again(release):
    """New sizes, digests and rows in release.json too, and a card and Croissant that agree."""
    document = json.loads((release / RELEASE_FILE).read_bytes())
    for split in document["splits"].values():
        for file in split["files"]:
            path = release / file["path"]
            file |= {"sha256": sha256_of(path), "size": path.stat().st_size, "rows": pq.read_metadata(path).num_rows}
        split["rows"] = sum(file["rows"] for file in split["files"])
    (release / RELEASE_FILE).write_text(json.dumps(document))
    summed_again(release)


def rewritten(path, change):
    """The file with other rows."""
    table = pq.read_table(path)
    schema = table.schema.remove_metadata()
    with ShardWriter(path, schema, RELEASE_LAYOUT) as writer:
        for batch in change(table.replace_schema_metadata(None)).to_batches():
            writer.append(batch)


def flip(release):
    path = data(release)
    content = bytearray(path.read_bytes())
    content[content.find(b"\xff\xd9") - 9] ^= 1
    path.write_bytes(content)


def swap(one, two):
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)


def swap_over_splits(release):
    swap(data(release), data(release, -1))


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def edit_card(release):
    replace(release / "README.md", "| rows | 20 |", "| rows | 21 |")
    summed_again(release)


def remove_row(release):
    rewritten(data(release), lambda table: table.slice(1))


def remove_row_and_tell_again(release):
    remove_row(release)
    told_again(release)
    document = read_release(release)
    audits = {1: json.loads((release / "audit" / "run-1.json").read_text())}
    (release / "README.md").write_text(card_text(document, audits))
    (release / "croissant.json").write_text(json.dumps(croissant(document)))
    summed_again(release)


DONE = {
    "a byte flipped": flip,
    "a file cut off": lambda release: data(release).write_bytes(data(release).read_bytes()[:-100]),
    "two files swapped": swap_over_splits,
    "a file in another's place": lambda release: shutil.copy(data(release), data(release, 1)),
    "a file missing": lambda release: data(release).unlink(),
    "a file added": lambda release: (release / "data" / "more.parquet").write_bytes(b""),
    "`SHA256SUMS` missing": lambda release: (release / SUMS_FILE).unlink(),
    "`release.json` damaged": lambda release: (release / RELEASE_FILE).write_bytes(b"{"),
    "a row removed, `SHA256SUMS` written anew": lambda release: (remove_row(release), summed_again(release)),
    "a row removed, all written anew but the rows' digest": remove_row_and_tell_again,
    "a figure of the card edited, `SHA256SUMS` written anew": edit_card,
}


def documented():
    """What was done, and the one line that it gives."""
    section = DOCUMENT.read_text().partition("\n## Verify\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| (.+?) \| `(.+)` \|$", section, re.MULTILINE))


def test_the_document_tells_of_everything_that_is_done_here():
    assert list(documented()) == list(DONE)


@pytest.mark.parametrize("what", DONE)
def test_what_was_done_is_said_in_the_one_line_that_the_document_shows(release, what):
    DONE[what](release)
    (said,) = problems(release)
    sizes = re.compile(r"\d+ bytes, release.json says \d+")
    assert sizes.sub("", said) == sizes.sub("", documented()[what])


def test_a_sound_release_has_no_problem(sound):
    verdict = verify(open_release(str(sound)), jobs=3)
    assert verdict.problems == []
    assert verdict.rows == read_release(sound).rows == 20


def test_several_faults_are_told_each_once(release):
    flip(release)
    (release / "README.md").write_text("# another\n")
    (release / "data" / "more.parquet").write_bytes(b"")
    assert problems(release) == [
        "data/more.parquet: extra file, SHA256SUMS does not list it",
        "README.md: not the file that SHA256SUMS lists",
        f"data/{data(release).name}: not the file that SHA256SUMS lists",
    ]


def test_without_sums_release_json_tells_of_the_data_files(release):
    flip(release)
    (release / SUMS_FILE).unlink()
    assert problems(release) == ["SHA256SUMS: missing", f"data/{data(release).name}: not the file that release.json lists"]


def test_what_does_not_follow_from_a_wrong_file_is_still_told(release):
    replace(release / RELEASE_FILE, '"happiness": ', '"happiness": 1')
    replace(release / RELEASE_FILE, read_release(release).content["validation"], "0" * 64)
    summed_again(release)
    flip(release)
    found = problems(release)
    assert found[:2] == [
        f"data/{data(release).name}: not the file that SHA256SUMS lists",
        "release.json: split validation: its rows hold something else than was released",
    ]
    assert not [each for each in found if "labels" in each or "split train" in each]


def test_swapped_files_with_new_sums_are_told_by_release_json(release):
    swap(data(release), data(release, 1))
    summed_again(release)
    assert problems(release) == [f"data/{data(release).name}: swapped with data/{data(release, 1).name}"]


def test_swapped_files_are_judged_by_their_rows_where_the_content_counts(release):
    swap_over_splits(release)
    assert problems(release, content=True) == [
        f"data/{data(release).name}: row 0: is of the split validation, and 1 more",
        f"data/{data(release, -1).name}: row 0: is of the split train, and 1 more",
    ]


def test_one_flipped_byte_of_a_picture_is_found_by_its_content(release):
    flip(release)
    assert problems(release, content=True) == ["release.json: split train: its rows hold something else than was released"]


def test_a_line_of_the_sums_that_is_wrong_is_told_of_the_file(release):
    replace(release / SUMS_FILE, read_release(release).files[0].sha256, "0" * 64)
    assert problems(release) == [f"data/{data(release).name}: not the file that SHA256SUMS lists, though release.json does"]


def test_swapped_files_with_new_sums_are_named(release):
    swap(data(release), data(release, 1))
    told_again(release)
    assert any("split train: its rows hold something else" in each for each in problems(release))


def test_a_removed_row_with_new_sizes_and_sums_is_named(release):
    remove_row(release)
    assert problems(release, content=True) == [f"data/{data(release).name}: 1 rows, release.json says 2"]
    told_again(release)
    found = problems(release)
    assert "release.json: split train: its rows hold something else than was released" in found
    assert any(each.startswith("README.md: ") and "rows: not the figure of release.json" in each for each in found)
    assert any(each.startswith("croissant.json: ") for each in found)


def test_an_edited_card_is_told_by_its_bytes_alone(release):
    replace(release / "README.md", "| rows | 20 |", "| rows | 21 |")
    assert problems(release) == ["README.md: not the file that SHA256SUMS lists"]


def test_an_edited_audit_is_not_told_of_the_card_that_is_made_of_it(release):
    replace(release / "audit" / "run-1.json", "0.52", "0.51")
    assert problems(release) == ["audit/run-1.json: not the file that SHA256SUMS lists"]
    (release / "audit" / "run-1.json").unlink()
    assert problems(release) == ["audit/run-1.json: missing, SHA256SUMS lists it"]


def test_an_edited_sentence_of_the_card_is_named(release):
    card = release / "README.md"
    card.write_text(card.read_text().replace("remain", "are").replace("Faces are personal data", "Faces are no personal data"))
    summed_again(release)
    assert any("README.md, line" in each for each in problems(release))


def worded_otherwise(release, number):
    """The release as another version of normpipe words it: other prose everywhere, the same figures."""
    document = json.loads((release / RELEASE_FILE).read_text())
    if number:
        document["texts"] = number
    else:
        del document["texts"]
    (release / RELEASE_FILE).write_text(json.dumps(document))
    card = release / "README.md"
    card.write_text(card.read_text().replace("Faces are personal data", "A face is personal data"))
    (release / "LICENSE.md").write_text("# Other words\n")
    croissant = json.loads((release / "croissant.json").read_text())
    croissant |= {"description": "Other words.", "citeAs": "Other words"}
    (release / "croissant.json").write_text(json.dumps(croissant))
    summed_again(release)


def test_a_release_whose_texts_have_another_number_may_be_worded_otherwise(release):
    worded_otherwise(release, TEXTS + 1)
    assert problems(release) == []
    path = release / "croissant.json"
    path.write_text(path.read_text().replace('"version": "1.0.0"', '"version": "2.0.0"'))
    card = release / "README.md"
    rows = read_release(release).splits["validation"].rows
    edited = card.read_text().replace("| rows | 20 |", "| rows | 21 |")
    card.write_text(edited.replace(f"| validation | {rows} |", f"| validation | {rows + 1} |"))
    summed_again(release)
    assert problems(release) == [
        "README.md: rows: not the figure of release.json",
        "README.md: split validation: not the figure of release.json",
        "croissant.json: version: not what release.json says",
    ]


def test_before_texts_had_a_number_each_figure_of_a_split_had_a_line(release):
    document = read_release(release)
    worded_otherwise(release, 0)
    assert any("README.md: train: rows: not the figure" in each for each in problems(release))
    card = release / "README.md"
    for name, split in document.splits.items():
        figures = {"rows": split.rows, "subjects": split.subjects, "files": len(split.files)}
        figures["bytes"] = sum(file.size for file in split.files)
        card.write_text(card.read_text() + "".join(f"| {name}: {what} | {figure} |\n" for what, figure in figures.items()))
    summed_again(release)
    assert problems(release) == []
    card.write_text(card.read_text().replace("| train: subjects | 3 |", "| train: subjects | 4 |"))
    summed_again(release)
    assert problems(release) == ["README.md: train: subjects: not the figure of release.json"]


def test_an_edited_croissant_is_named_by_its_key(release):
    path = release / "croissant.json"
    document = json.loads(path.read_text())
    document["distribution"][0]["sha256"] = "0" * 64
    path.write_text(json.dumps(document))
    summed_again(release)
    assert problems(release) == ["croissant.json: distribution[0].sha256: not what release.json says"]


def test_an_edited_verdict_of_the_audit_is_named(release):
    path = release / "audit" / "run-1.json"
    path.write_text(path.read_text().replace("0.52", "0.51"))
    summed_again(release)
    assert "audit/run-1.json: other verdicts than in release.json" in problems(release)


@pytest.mark.parametrize("broken", [{"surroundings": {"angles": {"yaw": {}}}}, {"identity": {"attacks": [{"method": "none"}]}}])
def test_an_audit_that_is_none_is_named(release, broken):
    path = release / "audit" / "run-1.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "findings": broken}))
    summed_again(release)
    assert problems(release) == ["README.md: cannot be compared, for an audit's file is damaged"]


def test_other_terms_are_named(release):
    path = release / "LICENSE.md"
    path.write_text(path.read_text().replace("CC-BY-4.0", "CC0"))
    summed_again(release)
    assert problems(release) == ["LICENSE.md: other terms than in release.json"]


def test_a_truncated_file_is_no_parquet_where_the_content_counts(release):
    path = data(release)
    path.write_bytes(path.read_bytes()[:-100])
    assert problems(release, content=True) == [f"data/{path.name}: cannot be read as Parquet after 0 rows (ArrowInvalid)"]


def test_a_name_of_the_source_is_found(release):
    def named(table):
        place = table.schema.get_field_index("subject")
        return table.set_column(place, table.schema.field(place), [["Vanderbeek"] * table.num_rows])

    rewritten(data(release), named)
    told_again(release)
    assert any("row 0: subject is no pseudonym" in each for each in problems(release))


def test_a_signature_is_looked_at_when_its_key_is_given(release, tmp_path):
    private, public = write_keys(tmp_path, "steward")
    assert problems(release, public_key=public) == ["SHA256SUMS.sig: not there; the release is not signed"]
    sign(release, private)
    notes = []
    assert not problems(release, note=notes.append)
    assert "signed; give --public-key FILE to check by whom" in notes
    assert not problems(release, public_key=public)
    assert problems(release, public_key=write_keys(tmp_path, "stranger")[1]) == [
        "SHA256SUMS.sig: not a signature of this SHA256SUMS by that key; do not trust this release"
    ]
    summed_again(release)
    (release / SUMS_FILE).write_bytes((release / SUMS_FILE).read_bytes()[:-1])
    assert any("not a signature" in problem for problem in problems(release, public_key=public))


def test_files_of_another_parquet_library_hold_the_same_content(release):
    path = data(release)
    table = pq.read_table(path)
    pq.write_table(table, path, compression="gzip", row_group_size=3)
    assert any("not the file that SHA256SUMS lists" in each for each in problems(release))
    assert problems(release, content=True) == []


def test_a_release_elsewhere_is_verified_too(sound):
    memory = fsspec.filesystem("memory")
    memory.put(str(sound), "memory://kept/release", recursive=True)
    verdict = verify(open_release("memory://kept/release"), jobs=2)
    assert verdict.problems == []
    assert verdict.rows == 20
    memory.pipe("memory://kept/release/LICENSE.md", b"")
    assert "LICENSE.md: not the file that SHA256SUMS lists" in problems("memory://kept/release")
    memory.rm("memory://kept", recursive=True)


def test_what_is_no_release_is_an_error(tmp_path):
    for wrong in (str(tmp_path), str(tmp_path / "nothing")):
        with pytest.raises(UsageError, match="not a release"):
            problems(wrong)
    with pytest.raises(UsageError, match="cannot be opened"):
        problems("nosuch://x/y")


def test_a_damaged_release_json_is_a_finding(release):
    notes = []
    (release / RELEASE_FILE).write_text('{"format_version": 1, "name": "x"}')
    assert problems(release, note=notes.append) == ["release.json: not the file that SHA256SUMS lists"]
    assert notes == ["release.json: not the one that was released, so rows and texts are not held against it"]
    summed_again(release)
    assert problems(release) == ["release.json, version: Field required"]
    (release / RELEASE_FILE).unlink()
    assert problems(release) == ["release.json: missing, SHA256SUMS lists it"]


def test_a_release_of_another_format_is_not_judged(release):
    replace(release / RELEASE_FILE, '"format_version": 1', '"format_version": 2')
    summed_again(release)
    with pytest.raises(UsageError, match=r"release\.json is of format 2, this version reads 1"):
        problems(release)


def test_the_conclusion_tells_a_release_that_is_only_unsigned_from_another_one(release, tmp_path):
    private, public = write_keys(tmp_path, "steward")

    def concluded(**how):
        return verify(open_release(str(release)), public_key=public, **how).conclusion

    assert concluded() == "1 problem: the release is as it was built, but not signed"
    sign(release, write_keys(tmp_path, "stranger")[0])
    assert concluded() == "1 problem: this is not a release that was signed with that key"
    sign(release, private)
    flip(release)
    assert concluded() == "1 problem: this is not the release that was built"
    (release / "LICENSE.md").unlink()
    assert concluded() == "2 problems: this is not the release that was built"


def test_all_files_of_the_release_are_counted(release, tmp_path):
    before = verify(open_release(str(release))).files
    assert before == len(read_sums(release)) + 1
    sign(release, write_keys(tmp_path, "steward")[0])
    assert verify(open_release(str(release))).files == before + 1


def set_cell(release, name, value):
    """Another value in the first row of the first file, all sums written anew."""

    def changed(table):
        rows = table.to_pylist()
        rows[0][name] = value(rows[0]) if callable(value) else value
        return pa.Table.from_pylist(rows, schema=table.schema)

    rewritten(data(release), changed)
    told_again(release)


def held(release, content):
    """A picture in the first row's place, with the name that its own would have."""
    set_cell(release, "original", lambda row: {**row["original"], "bytes": content})


def drawn(kind, side=16):
    buffer = BytesIO()
    PillowImage.new("L", (side, side)).save(buffer, kind)
    return buffer.getvalue()


def first_problem_of_rows(release):
    return next(each for each in problems(release) if each.startswith("data/"))


@pytest.mark.parametrize("kind", ["GIF", "EPS"])
def test_a_picture_of_another_format_is_no_picture_and_is_given_to_no_program(release, kind, monkeypatch):
    def interpreted(*_, **__):
        raise AssertionError("a program was run")

    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", interpreted)
    held(release, drawn(kind))
    assert first_problem_of_rows(release) == f"data/{data(release).name}: row 0: original cannot be decoded"


def test_a_picture_too_large_to_be_decoded_is_named(release, monkeypatch):
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", 1000)
    held(release, drawn("PNG", 64))
    assert first_problem_of_rows(release) == f"data/{data(release).name}: row 0: original cannot be decoded"


@pytest.mark.parametrize("number", [99, -1])
def test_a_number_that_is_no_class_is_named(release, number):
    set_cell(release, "emotion", number)
    assert f"row 0: emotion is {number}, and there are" in first_problem_of_rows(release)


def test_letters_that_are_none_are_named(release):
    def broken(table):
        raw = pa.array([b"\xff\xfe" * 16] * table.num_rows, pa.binary())
        place = table.schema.get_field_index("sequence")
        letters = pa.Array.from_buffers(pa.string(), table.num_rows, raw.buffers())
        return table.set_column(place, table.schema.field(place), letters)

    rewritten(data(release), broken)
    told_again(release)
    assert first_problem_of_rows(release).endswith("cannot be read as Parquet after 0 rows (ArrowInvalid)")


@pytest.mark.parametrize("depth", [3_000, 200_000])
def test_json_nested_without_end_is_damaged(release, depth):
    nested = "[" * depth + "]" * depth
    for path in ("audit/run-1.json", "croissant.json"):
        (release / path).write_text(nested)
    summed_again(release)
    assert {"audit/run-1.json: damaged", "croissant.json: damaged"} <= set(problems(release))
    replace(release / RELEASE_FILE, '"command": ', f'"more": {nested}, "command": ')
    summed_again(release)
    assert [each for each in problems(release) if each.startswith(RELEASE_FILE)]


@pytest.mark.parametrize(
    ("old", "new"), [('"minimum": {}', '"minimum": {"yaw": NaN}'), ('"consent": "', '"consent": "\\ud800')], ids=["NaN", "half"]
)
def test_what_no_release_writes_is_damaged(release, old, new):
    replace(release / RELEASE_FILE, old, new)
    summed_again(release)
    assert problems(release) == ["release.json is damaged"]
    with pytest.raises(UsageError, match="damaged"):
        read_release(release)


@pytest.mark.parametrize("path", ["who-is-who.csv", "audit/run-2.json", "audit/figures/run-2-use.svg", "audit/figures/a.png"])
def test_a_file_that_is_of_no_release_is_named_although_it_is_listed(release, path):
    (release / path).write_text("Vanderbeek,F001\n")
    digests = {**read_sums(release).digests, path: sha256_of(release / path)}
    (release / SUMS_FILE).write_bytes(sums_bytes(digests))
    assert problems(release) == [f"{path}: no file of a release, though SHA256SUMS lists it"]


@pytest.mark.parametrize("kept", [True, False])
def test_a_file_that_lies_elsewhere_is_named(release, tmp_path, kept):
    path, outside = data(release), tmp_path / "outside.parquet"
    shutil.move(path, outside)
    path.symlink_to(outside)
    if not kept:
        outside.unlink()
    assert problems(release) == [f"data/{path.name}: a link out of the release, which must hold the file itself"]
