"""A search that always ends with a finished trial, whatever the scores are, and remembers its trials."""

import os
import subprocess
import sys

import pytest

from foldstill.base_models.tuning import (
    ERROR,
    PLACE,
    Choice,
    FloatRange,
    IntRange,
    TuneSettings,
    end_killed_trials,
    n_finished,
    open_study,
    run_trial,
    trials_of,
)
from foldstill.errors import FileError, MemberError
from foldstill.lock import sole_writer

SEARCH = (
    FloatRange("lr", 1e-4, 1e-2, log=True),
    IntRange("epochs", 1, 5),
    Choice("schedule", ("cosine", "plateau")),
)
SETTINGS = TuneSettings(search=SEARCH, startup=3)


def states(study):
    return [t.state.name for t in study.trials]


def test_a_search_whose_every_trial_is_worse_than_the_last_still_has_a_best_one(tmp_path):
    """The round that cut all of its 40 trials ended with an error instead of settings, in a reference project."""
    study, score = open_study(tmp_path / "journal.log", SETTINGS), iter(range(100))

    def worse(values, tell):
        value = 10.0 + next(score)
        tell(0, value)
        return value

    for _ in range(12):
        run_trial(study, SETTINGS, worse, seed=0)
    assert states(study) == ["COMPLETE"] * 3 + ["PRUNED"] * 9
    assert study.best_trial.number == 0
    assert n_finished(study) == 12


def test_with_one_startup_trial_that_one_is_finished(tmp_path):
    one = TuneSettings(search=SEARCH, startup=1)
    study = open_study(tmp_path / "journal.log", one)

    def hopeless(values, tell):
        tell(0, 1e9)
        return 1e9

    run_trial(study, one, hopeless, seed=0)
    assert states(study) == ["COMPLETE"]
    with pytest.raises(MemberError, match=r"tune\.startup must be 1 or more"):
        TuneSettings(search=SEARCH, startup=0)


def test_values_stay_in_their_ranges_and_better_ones_are_found(tmp_path):
    study, seen = open_study(tmp_path / "journal.log", SETTINGS), []

    def distance(values, tell):
        seen.append(values)
        return abs(values["lr"] - 1e-3) + (values["schedule"] == "plateau")

    for _ in range(15):
        run_trial(study, SETTINGS, distance, seed=0)
    assert all(1e-4 <= v["lr"] <= 1e-2 and v["epochs"] in range(1, 6) for v in seen)
    assert study.best_trial.params["schedule"] == "cosine"
    assert study.best_value < min(abs(v["lr"] - 1e-3) for v in seen[:3])


def test_a_journal_goes_on_with_the_draws_of_an_unbroken_search(tmp_path):
    def score(values, tell):
        return values["lr"]

    for place, breaks in (("one", (8,)), ("two", (3, 1, 4))):
        for trials in breaks:
            study = open_study(tmp_path / place, SETTINGS)
            for _ in range(trials):
                run_trial(study, SETTINGS, score, seed=5)
    params = [[t.params for t in open_study(tmp_path / place, SETTINGS).trials] for place in ("one", "two")]
    assert params[0] == params[1]
    assert len({p["lr"] for p in params[0]}) == 8


def test_two_openings_of_a_journal_share_its_trials(tmp_path):
    one, two = (open_study(tmp_path / "journal.log", SETTINGS) for _ in range(2))
    for _ in range(3):
        for study in (one, two):
            run_trial(study, SETTINGS, lambda values, tell: values["lr"], seed=0)
    assert n_finished(one) == n_finished(two) == 6
    assert [t.number for t in one.trials] == list(range(6))
    assert len({t.params["lr"] for t in two.trials}) == 6


def test_a_failed_trial_keeps_its_sentence_and_an_interrupted_one_does_not_count(tmp_path):
    study = open_study(tmp_path / "journal.log", SETTINGS)

    def wrong(values, tell):
        raise MemberError("the loss became nan")

    def stopped(values, tell):
        raise KeyboardInterrupt

    run_trial(study, SETTINGS, wrong, seed=0)
    with pytest.raises(KeyboardInterrupt):
        run_trial(study, SETTINGS, stopped, seed=0)
    assert study.trials[0].user_attrs[ERROR] == "the loss became nan"
    assert n_finished(study) == 1


def test_killed_trials_do_not_count_and_are_drawn_again(tmp_path):
    """Killed before and after it named its folder; the trial of a process that is alive stays."""
    places = [tmp_path / name for name in ("trial-alive", "trial-killed", "trial-empty")]
    studies = [open_study(tmp_path / name, SETTINGS) for name in ("unbroken", "broken")]
    for study in studies:
        run_trial(study, SETTINGS, lambda values, tell: values["lr"], seed=5)
    study = studies[1]
    for place in places:
        place.mkdir()
    locks = [tmp_path / f"journal.log.lock{age}.rename" for age in ("young", "old")]
    for path in locks:
        path.touch()
    os.utime(locks[1], (0, 0))
    study.ask()
    study.ask().set_user_attr(PLACE, "trial-killed")
    end_killed_trials(study, tmp_path)
    assert states(study) == ["COMPLETE", "FAIL", "FAIL"]
    assert not any(place.exists() for place in places)
    assert [path.exists() for path in locks] == [True, False]
    for each in studies:
        run_trial(each, SETTINGS, lambda values, tell: values["lr"], seed=5)
    assert [t.params for t in trials_of(study)] == [t.params for t in trials_of(studies[0])]
    with sole_writer(places[0]):
        study.ask()
        study.ask().set_user_attr(PLACE, "trial-killed")
        end_killed_trials(study, tmp_path)
        assert states(study)[4:] == ["RUNNING", "FAIL"]
        assert places[0].exists()


def test_the_settings_import_neither_torch_nor_optuna():
    late = {"torch", "optuna", "tomlkit", "mne"}
    code = f"import sys, foldstill.pipeline.experiment; sys.exit(bool({late} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FloatRange("lr", 1.0, 1.0), "search of lr: low must be less than high"),
        (lambda: FloatRange("lr", 0.0, 1.0, log=True), "and positive"),
        (lambda: IntRange("epochs", 5, 2), "search of epochs"),
        (lambda: Choice("schedule", ("cosine", "cosine")), "2 or more"),
        (lambda: TuneSettings(search=()), "different fields"),
        (lambda: TuneSettings(search=(SEARCH[0], SEARCH[0])), "different fields"),
        (lambda: TuneSettings(search=SEARCH, trials=0), "trials"),
    ],
)
def test_a_search_of_nothing_is_refused(make, said):
    with pytest.raises(MemberError, match=said):
        make()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-20], r"journal\.log was cut or damaged in line \d+: restore it"),
        (lambda content: content.replace(b'"op_code"', b'"op_kode"', 1), r"journal\.log was cut or damaged in line 1:"),
        (lambda content: b"\xff" + content, r"journal\.log was cut or damaged in line 1:"),
        (lambda content: b"null\n", r"journal\.log was cut or damaged in line 1:"),
        (
            lambda content: content.replace(b'"study_name"', b'"study_mane"', 1),
            r"journal\.log was changed after Optuna",
        ),
    ],
)
def test_a_damaged_journal_is_refused_by_its_name(tmp_path, damage, message):
    path = tmp_path / "journal.log"
    run_trial(open_study(path, SETTINGS), SETTINGS, lambda values, tell: values["lr"], seed=0)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(FileError, match=message):
        open_study(path, SETTINGS)
