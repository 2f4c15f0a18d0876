import numpy as np
import pandas as pd
import pytest

from foldstill.data.labels import Labels
from foldstill.data.row_order import match_ids
from foldstill.data.strata import strata_by_votes
from foldstill.data.text import as_strings
from foldstill.errors import DataError


def test_votes_give_targets_totals_and_strata():
    labels = Labels.from_votes([[1, 1], [2, 2], [9, 3]])
    assert labels.target_NC.tolist() == [[0.5, 0.5], [0.5, 0.5], [0.75, 0.25]]
    assert labels.total_N.tolist() == [2, 4, 12]
    assert labels.stratum_N.tolist() == ["1-2", "3-9", ">=10"]


def test_shares_times_a_total_are_votes():
    labels = Labels.from_shares([[0.25, 0.75], [1.0, 0.0]], [4, 7])
    assert labels.votes_NC.tolist() == [[1, 3], [7, 0]]
    assert not labels.counted
    assert Labels.from_shares([[0.25, 0.75]], 4, counted=True).counted


def test_hard_labels_are_one_vote_by_index_or_by_name():
    by_index = Labels.from_hard([2, 0], classes=["a", "b", "c"])
    by_name = Labels.from_hard(["c", "a"], classes=["a", "b", "c"])
    by_float = Labels.from_hard([2.0, 0.0], classes=["a", "b", "c"])
    assert by_index.votes_NC.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert by_index.digest == by_name.digest == by_float.digest


def test_hard_labels_without_classes_name_them_by_their_values():
    labels = Labels.from_hard(["wake", "rem", "wake"])
    assert labels.classes == ("rem", "wake")
    assert labels.target_NC.tolist() == [[0, 1], [1, 0], [0, 1]]


@pytest.mark.parametrize("missing", [-1, np.nan])
def test_a_missing_annotator_casts_no_vote(missing):
    labels = Labels.from_annotators([[0, 0, 1], [2, missing, missing]], classes=["a", "b", "c"])
    assert labels.votes_NC.tolist() == [[2, 1, 0], [0, 0, 1]]


def test_a_row_nobody_annotated_is_refused():
    with pytest.raises(DataError, match=r"1 of 2 rows have no vote at all"):
        Labels.from_annotators([[0, 1], [-1, -1]])


@pytest.mark.parametrize("choice", [[[0, 3]], [[0, -2]], [[0.5, 1.0]]])
def test_annotators_outside_the_classes_are_refused(choice):
    with pytest.raises(DataError, match=r"annotators .*(class indices 0..2|that are not among)"):
        Labels.from_annotators(choice, classes=["a", "b", "c"])


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        ([[1, 2], [-1, 2]], "1 of 2 rows have negative votes; first ids: .'r1'.*a missing vote is 0"),
        ([[1, 2], [np.nan, 2]], "NaN or infinite votes.*fill missing counts with 0"),
        ([[1, 2], [0, 0]], "no vote at all.*drop the rows"),
        ([1, 2], "votes must have shape .rows, classes."),
        ([[1], [1]], "two or more different names"),
    ],
)
def test_votes_that_are_none_are_refused(votes, message):
    with pytest.raises(DataError, match=message):
        Labels.from_votes(votes, ids=["r0", "r1"])


def test_duplicate_ids_are_named():
    with pytest.raises(DataError, match=r"ids must be unique, 1 are not; first: .'x'"):
        Labels.from_votes([[1, 0], [1, 0]], ids=["x", "x"])


def test_shares_that_do_not_sum_to_one_are_refused():
    with pytest.raises(DataError, match=r"vote shares: rows must sum to 1, 1 of 2 do not"):
        Labels.from_shares([[0.5, 0.5], [0.5, 0.2]], 3)


def test_a_total_of_zero_is_refused():
    with pytest.raises(DataError, match=r"total of votes must be positive"):
        Labels.from_shares([[0.5, 0.5]], 0)


@pytest.mark.parametrize("labels", [[0, 3], [0, -1]])
def test_hard_labels_out_of_range_are_refused(labels):
    with pytest.raises(DataError, match=r"indices 0..2"):
        Labels.from_hard(labels, classes=["a", "b", "c"])


def test_numbers_that_name_classes_are_names():
    assert Labels.from_hard([1, 2, 1], classes=["1", "2", "3"]).votes_NC.sum(axis=0).tolist() == [2, 1, 0]
    assert Labels.from_hard([2, 0, 1, 0], classes=["2", "0", "1"]).votes_NC.argmax(axis=1).tolist() == [0, 1, 2, 1]
    assert Labels.from_hard([1.0, 2.0], classes=["grade_2", "grade_1"]).votes_NC.argmax(axis=1).tolist() == [1, 0]
    assert Labels.from_hard(["-1", "1"], classes=["-1", "1"]).votes_NC.argmax(axis=1).tolist() == [0, 1]
    assert Labels.from_annotators([[1, 2], [3, -1]], classes=["3", "2", "1"]).votes_NC.tolist() == [
        [0, 1, 1],
        [1, 0, 0],
    ]
    with pytest.raises(DataError, match=r"labels hold classes \['0'\] that are not among \['1', '2', '3'\]"):
        Labels.from_hard([0, 1, 2], classes=["1", "2", "3"])


@pytest.mark.parametrize("as_text", [False, True])
def test_whole_numbers_are_classes_in_the_order_of_their_values(as_text):
    numbers = [11, 2, 0, 10, 1, 2, 5]
    labels = Labels.from_hard([str(n) for n in numbers] if as_text else numbers)
    assert labels.classes == ("0", "1", "2", "5", "10", "11")
    assert [labels.classes[i] for i in labels.votes_NC.argmax(axis=1)] == [str(n) for n in numbers]


def test_labels_that_may_stand_for_something_else_are_refused():
    with pytest.raises(DataError, match=r"labels hold -1, which often stands for a missing label"):
        Labels.from_hard([0, 1, -1])
    with pytest.raises(DataError, match=r"got fractions such as 0.25: shares of votes go to from_shares"):
        Labels.from_hard([0.25, 1.0])


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        ([["3", "many"], ["1", "1,000"]], r"votes must be numbers, 2 of 4 values are not; first: \['many', '1,000'\]"),
        ([[1 + 2j, 1], [1, 1]], "votes must be real numbers, got complex ones"),
        ([[pd.NA, 1], [1, 1]], "1 of 2 rows have NaN or infinite votes"),
    ],
)
def test_votes_that_are_no_numbers_are_refused(votes, message):
    with pytest.raises(DataError, match=message):
        Labels.from_votes(votes)


def test_sample_weights_and_totals_that_are_no_numbers_are_refused():
    with pytest.raises(DataError, match=r"sample weights must be numbers, 1 of 2 values are not; first: \['much'\]"):
        Labels.from_votes([[1, 0], [0, 1]], sample_weight=[1, "much"])
    with pytest.raises(DataError, match=r"totals of votes must be numbers"):
        Labels.from_shares([[0.5, 0.5]], ["many"])
    assert Labels.from_shares([[1.0, -1e-17]], 3).votes_NC.tolist() == [[3, 0]]


def test_an_index_that_is_no_class_takes_no_memory():
    with pytest.raises(DataError, match=r"class indices 0..9999, got 1000000000: name the classes"):
        Labels.from_annotators([[0, 1_000_000_000], [1, 0]])


def test_ids_keep_their_text():
    assert as_strings(["007", "7"], "ids").tolist() == ["007", "7"]
    assert as_strings(np.array([7.0, "a", 8], dtype=object), "ids").tolist() == ["7", "a", "8"]
    assert as_strings(np.array(["é".encode()]), "ids").tolist() == ["é"]
    with pytest.raises(DataError, match=r"bytes that are not UTF-8"):
        as_strings(np.array([b"\xff"]), "ids")
    with pytest.raises(DataError, match=r"ids holds missing values"):
        as_strings([1, pd.NA], "ids")


def test_an_unknown_class_name_is_refused():
    with pytest.raises(DataError, match=r"\['z'\] that are not among"):
        Labels.from_hard(["a", "z"], classes=["a", "b"])


@pytest.mark.parametrize("groups", [[1.0, np.nan], ["a", None], np.array(["a", np.nan], dtype=object)])
def test_a_missing_group_is_refused(groups):
    with pytest.raises(DataError, match=r"groups holds (NaN|missing)"):
        Labels.from_votes([[1, 0], [0, 1]], groups=groups)


def test_a_missing_number_is_refused_with_its_row():
    with pytest.raises(DataError, match=r"^ids holds NaN or infinity in 2 of 4 rows, the first is row 1 \(counted"):
        as_strings([1.0, np.nan, 3.0, np.inf], "ids")
    with pytest.raises(DataError, match=r"labels holds NaN or infinity in 1 of 5 rows, the first is row 3 \(counted"):
        Labels.from_hard([1.0, 0.0, 1.0, np.nan, 0.0])


def test_whole_floats_and_integers_make_the_same_ids():
    assert as_strings([1.0, 2.0], "ids").tolist() == as_strings([1, 2], "ids").tolist() == ["1", "2"]


def test_row_weights_have_mean_one_and_honour_sample_weights():
    labels = Labels.from_votes([[1, 0], [5, 5], [20, 0]])
    for scheme in ("none", "log1p", "clamp", "damped"):
        assert labels.weight_N(scheme).mean() == pytest.approx(1)
    assert labels.weight_N("none").tolist() == [1, 1, 1]
    assert labels.weight_N("clamp", maximum=10).tolist() == pytest.approx([1 / 7, 10 / 7, 10 / 7])
    weighted = Labels.from_votes([[1, 0], [1, 0]], sample_weight=[1, 3])
    assert weighted.weight_N().tolist() == [0.5, 1.5]
    with pytest.raises(DataError, match=r"none, log1p, clamp, damped, got 'sqrt'"):
        labels.weight_N("sqrt")


def test_many_votes_add_ever_less_weight_in_each_scheme_as_published():
    """By hand: (10 + 2 log10 v) log10 v is 12.5829 at 11 votes, 16.3957 at 20 and 18.6601 at 28.

    A limit that forgets its `max=` is a lower bound: it would lift rows of few votes to ten and cap nothing.
    """
    votes = np.array([1, 4, 10, 11, 20, 28])
    labels = Labels.from_votes(np.stack([votes, np.zeros(6)], axis=1))

    def against_one_vote(scheme):
        weight_N = labels.weight_N(scheme)
        return weight_N / weight_N[0]

    np.testing.assert_allclose(against_one_vote("damped"), [1, 4, 10, 12.5829, 16.3957, 18.6601], atol=1e-4)
    np.testing.assert_allclose(against_one_vote("clamp"), [1, 4, 10, 10, 10, 10])
    np.testing.assert_allclose(against_one_vote("log1p"), np.log(1 + votes) / np.log(2))


@pytest.mark.parametrize("weight", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, np.nan]])
def test_sample_weights_that_weigh_nothing_are_refused(weight):
    with pytest.raises(DataError, match=r"sample weights must be one finite number per row"):
        Labels.from_votes([[1, 0], [0, 1]], sample_weight=weight)


def test_taking_rows_takes_everything_that_belongs_to_them():
    labels = Labels.from_votes(
        [[1, 0], [0, 4], [9, 9]],
        ids=["a", "b", "c"],
        groups=["x", "y", "x"],
        stratum=["s", "t", "u"],
        sample_weight=[1, 2, 3],
    )
    taken = labels.take(np.array([2, 0]))
    assert taken.ids.tolist() == ["c", "a"]
    assert taken.groups.tolist() == ["x", "x"]
    assert taken.stratum_N.tolist() == ["u", "s"]
    assert taken.sample_weight_N.tolist() == [3, 1]
    assert taken.votes_NC.tolist() == [[9, 9], [1, 0]]


def test_the_digest_follows_the_content_and_not_the_width_of_strings():
    labels = Labels.from_votes([[1, 0], [0, 1]], ids=["a", "b"])
    wide = Labels.from_votes([[1, 0], [0, 1]], ids=np.array(["a", "b"], dtype="<U40"))
    assert labels.digest == wide.digest
    assert labels.digest != Labels.from_votes([[1, 0], [0, 2]], ids=["a", "b"]).digest


def test_strata_can_be_named_by_other_bounds():
    assert strata_by_votes([1, 2, 4, 5], bounds=(2, 5)).tolist() == ["1", "2-4", "2-4", ">=5"]
    with pytest.raises(DataError, match=r"must rise"):
        strata_by_votes([1], bounds=(5, 3))


def test_same_rows_matches_by_id_and_names_what_is_missing():
    wanted, got = np.array(["a", "b", "c"]), np.array(["c", "a", "b"])
    assert got[match_ids("m", wanted, got)].tolist() == ["a", "b", "c"]
    with pytest.raises(DataError, match=r"m lacks 1 of 3 rows; first ids: .'b'"):
        match_ids("m", wanted, np.array(["a", "c"]))
    with pytest.raises(DataError, match=r"m has 1 more rows than the labels"):
        match_ids("m", wanted, np.array(["a", "b", "c", "d"]))
    with pytest.raises(DataError, match=r"lacks 3 of 3"):
        match_ids("m", wanted, np.array([], dtype=np.str_))


def test_totals_of_shares_are_in_the_stratum_of_their_number_of_votes() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(6), 500)
    for total, stratum in ((3, "3-9"), (10, ">=10")):
        assert set(Labels.from_shares(shares, total).stratum_N.tolist()) == {stratum}
