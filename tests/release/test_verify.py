import json
import shutil

import fsspec
import pyarrow.parquet as pq
import pytest
from fixtures.released import released, write_run
from fixtures.signed import write_keys

from normpipe.errors import UsageError
from normpipe.release.document import RELEASE_FILE, TEXTS, read_release
from normpipe.release.files import RELEASE_LAYOUT
from normpipe.release.reader import open_release
from normpipe.release.signature import sign
from normpipe.release.sums import SUMS_FILE, read_sums, sums_bytes
from normpipe.release.verify import verify
from normpipe.shards.atomic import sha256_of
from normpipe.shards.writer import ShardWriter


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


def test_a_sound_release_has_no_problem(sound):
    verdict = verify(open_release(str(sound)), jobs=3)
    assert verdict.problems == []
    assert verdict.rows == read_release(sound).rows == 20


def test_one_flipped_byte_is_named(release):
    path = data(release)
    content = bytearray(path.read_bytes())
    content[content.find(b"\xff\xd9") - 9] ^= 1
    path.write_bytes(content)
    found = problems(release)
    assert f"{path.relative_to(release)}: not the file that SHA256SUMS lists" in found
    assert any("its rows hold something else than was released" in each for each in found)


def test_swapped_files_are_named(release):
    one, two = data(release, 0), data(release, 1)
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    found = problems(release)
    assert f"data/{one.name}: not the file that SHA256SUMS lists: it is data/{two.name}, swapped" in found
    assert f"data/{two.name}: not the file that SHA256SUMS lists: it is data/{one.name}, swapped" in found


def test_swapped_files_with_new_sums_are_named(release):
    one, two = data(release, 0), data(release, 1)
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    told_again(release)
    assert any("split train: its rows hold something else" in each for each in problems(release))


def test_a_removed_row_with_new_sizes_and_sums_is_named(release):
    rewritten(data(release), lambda table: table.slice(1))
    summed_again(release)
    name = data(release).name
    assert any(each.startswith(f"data/{name}: ") and "rows, release.json says" in each for each in problems(release))
    told_again(release)
    found = problems(release)
    assert any("split train: its rows hold something else than was released" in each for each in found)
    assert any(each.startswith("README.md: ") and "rows: not the figure of release.json" in each for each in found)
    assert any(each.startswith("croissant.json: ") for each in found)


def test_an_edited_figure_of_the_card_is_named(release):
    card = release / "README.md"
    card.write_text(card.read_text().replace("| rows | 20 |", "| rows | 21 |"))
    assert "README.md: not the file that SHA256SUMS lists" in problems(release)
    summed_again(release)
    assert problems(release) == ["README.md: rows: not the figure of release.json"]


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


def test_an_extra_file_is_named(release):
    (release / "data" / "more.parquet").write_bytes(b"")
    assert problems(release) == ["data/more.parquet: extra file, SHA256SUMS does not list it"]


def test_a_missing_file_is_named(release):
    name = data(release).name
    data(release).unlink()
    assert f"data/{name}: missing, SHA256SUMS lists it" in problems(release)


def test_a_truncated_file_is_named(release):
    path = data(release)
    path.write_bytes(path.read_bytes()[:-100])
    found = problems(release)
    assert any(each.startswith(f"data/{path.name}: truncated, ") for each in found)
    assert any("cannot be read as Parquet" in each for each in found)


def test_a_name_of_the_source_is_found(release):
    def named(table):
        place = table.schema.get_field_index("subject")
        return table.set_column(place, table.schema.field(place), [["Vanderbeek"] * table.num_rows])

    rewritten(data(release), named)
    told_again(release)
    assert any("row 0: subject is no pseudonym" in each for each in problems(release))


def test_missing_sums_are_named(release):
    (release / SUMS_FILE).unlink()
    assert "SHA256SUMS: missing" in problems(release)


def test_a_signature_is_looked_at_when_its_key_is_given(release, tmp_path):
    private, public = write_keys(tmp_path, "steward")
    assert problems(release, public_key=public) == ["SHA256SUMS.sig: not there; the release is not signed"]
    sign(release, private)
    notes = []
    assert not problems(release, note=notes.append)
    assert "SHA256SUMS.sig: not looked at; --public-key says whose it must be" in notes
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


def test_a_damaged_release_json_is_an_error(release):
    (release / RELEASE_FILE).write_text('{"format_version": 1, "name": "x"}')
    with pytest.raises(UsageError, match=r"release.json, version: Field required"):
        problems(release)
