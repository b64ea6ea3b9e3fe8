import pytest
from fixtures.released import write_terms

from normpipe.errors import UsageError
from normpipe.release.gates import opened_gates
from normpipe.release.terms import Include, Passable, Terms, gaps, load_terms, terms_of


def test_the_terms_that_ship_name_where_they_were_read_and_pass_nothing_on():
    known = load_terms(())
    assert {"bp4d", "bp4d+", "disfa", "affectnet", "raf-db", "fer2013"} <= set(known)
    for terms in known.values():
        assert terms.source is not None
        assert terms.source.startswith("http")
        assert terms.pass_on == ()


def test_unknown_terms_are_refused_in_one_line_that_says_how_to_declare():
    with pytest.raises(UsageError, match=r"dataset mine: terms of use unknown; declare them in a file.*--terms") as error:
        opened_gates([], terms_of({"mine"}, []), Include.LABELS, ())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("include", Include)
def test_known_terms_that_say_no_are_refused(include):
    with pytest.raises(UsageError, match=r"dataset raf-db: its terms .* allow to pass on nothing, not"):
        opened_gates([], terms_of({"RAF-DB"}, []), include, ())


def test_declared_terms_win_over_those_that_ship(tmp_path):
    found = terms_of({"bp4d"}, [write_terms(tmp_path / "mine.yaml", "BP4D")])
    assert opened_gates([], found, Include.PAIRS, ()) == {}
    assert found["bp4d"].licence == "CC-BY-4.0"


def test_who_may_pass_on_pairs_may_pass_on_their_parts_but_not_show_pictures():
    terms = Terms(dataset="mine", licence="MIT", pass_on=("pairs",))
    assert all(terms.allows(include) for include in Include)
    assert not terms.allows(Passable.PICTURES)
    assert not Terms(dataset="mine", licence="MIT", pass_on=("labels",)).allows(Include.NORMALIZED)


def test_rows_without_a_dataset_stand_under_the_one_file_that_names_no_other(tmp_path):
    mine, other = write_terms(tmp_path / "mine.yaml", "mine"), write_terms(tmp_path / "other.yaml", "other")
    assert terms_of({None}, [mine])[None].dataset == "mine"
    assert terms_of({None, "other"}, [mine, other])[None].dataset == "mine"
    assert terms_of({None, "mine"}, [mine])[None] is None


def test_a_file_that_names_no_dataset_of_the_runs_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no row is of the dataset mine; the runs hold bp4d"):
        terms_of({"bp4d"}, [write_terms(tmp_path / "mine.yaml", "mine")])


def test_a_wrong_key_is_named_with_its_line(tmp_path):
    (tmp_path / "mine.yaml").write_text("dataset: mine\nlicence: MIT\npass_on: [everything]\n")
    with pytest.raises(UsageError, match=r"mine.yaml, line 3, pass_on"):
        terms_of({"mine"}, [tmp_path / "mine.yaml"])


def test_a_misspelt_key_is_named_before_the_one_that_is_missing_for_it(tmp_path):
    (tmp_path / "mine.yaml").write_text("dataset: mine\nlicense: MIT\npass_on: [labels]\n")
    with pytest.raises(UsageError, match=r"mine.yaml, line 2, license: there is no such key; docs/release.md lists all"):
        terms_of({"mine"}, [tmp_path / "mine.yaml"])


@pytest.mark.parametrize(
    ("told", "missing"),
    [
        ({"licence": "CC-BY-4.0", "consent": "all", "contact": "a@b"}, "no attribution, which CC-BY-4.0 asks for"),
        ({"licence": "CC BY-SA 4.0", "consent": "all"}, "no attribution, which CC BY-SA 4.0 asks for; no contact"),
        ({"licence": "CC0-1.0"}, "no consent; no contact"),
    ],
)
def test_what_terms_leave_open_is_a_line(told, missing):
    assert list(gaps([Terms(dataset="mine", **told)])) == [f"the terms of dataset mine tell of {missing}"]


def test_terms_that_tell_all_leave_nothing_open(tmp_path):
    assert list(gaps([*terms_of({"mine"}, [write_terms(tmp_path / "mine.yaml", "mine")]).values(), None])) == []
