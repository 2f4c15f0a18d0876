from dataclasses import replace

import numpy as np

import foldstill as fs
from foldstill.pipeline.arms import prior_arm, simplest_first
from foldstill.pipeline.compare import command_of
from foldstill.pipeline.run import Run
from foldstill.pipeline.rundir import RunDir
from foldstill.stacking import COMBINERS, default_combiners
from foldstill.stacking.auto import Auto
from foldstill.stacking.averages import Average
from foldstill.stacking.convex import Convex
from foldstill.stacking.log_pool import LogPool
from foldstill.testing import synthetic_table


def test_the_class_prior_of_a_fold_is_that_of_the_other_folds(rng):
    votes = rng.multinomial(5, [0.5, 0.3, 0.2], 30)
    weight = rng.uniform(0.5, 2, 30)
    table = fs.oof_table(rng.dirichlet([1, 1, 1], (30, 2)), votes=votes, folds=np.arange(30) % 3)
    table = replace(table, labels=replace(table.labels, sample_weight_N=weight))
    prior = prior_arm(table)
    for row in (0, 1, 2):
        others = np.arange(30) % 3 != row
        expected = (weight[others] @ (votes[others] / 5) + 1 / 3) / (weight[others].sum() + 1)
        np.testing.assert_allclose(prior.proba_NC[row], expected)
    # The labels of a fold do not move its own prior.
    changed = votes.copy()
    changed[::3] = [5, 0, 0]
    again = prior_arm(replace(table, labels=replace(table.labels, votes_NC=changed.astype(float))))
    np.testing.assert_array_equal(again.proba_NC[0], prior.proba_NC[0])
    assert (again.proba_NC[1] != prior.proba_NC[1]).any()


def test_the_class_prior_of_locked_rows_is_that_of_the_table(rng):
    table = fs.oof_table(rng.dirichlet([1, 1], (4, 1)), votes=[[1, 0]] * 4, folds=[0, 1, 0, 1])
    np.testing.assert_allclose(prior_arm(table, 2).proba_NC, [[0.9, 0.1], [0.9, 0.1]])


def test_arms_are_listed_from_simple_to_complex():
    order = [simplest_first(combiner) for combiner in default_combiners()]
    assert order == sorted(order)

    class Own(Average):
        pass

    assert simplest_first(Own()) == len(COMBINERS)


def test_what_auto_chose_has_the_name_that_it_has_in_the_table():
    auto = Auto(folds=3, ladder=(LogPool(),))
    comparison = fs.stack(synthetic_table(), [auto, LogPool(name="my pool"), Average()]).compare()
    assert [arm.name for arm in comparison.arms if arm.kind != "member"] == [
        "class prior",
        "average",
        "my pool",
        "auto",
    ]
    assert comparison["auto"].label == "auto (my pool)"
    assert comparison.judgement.recommended == "my pool"


def test_the_command_that_uses_an_arm_is_named_where_there_is_one(tmp_path):
    run = Run(RunDir(tmp_path))
    assert command_of(run, "convex") == ""
    run.dir.combiner("convex").mkdir(parents=True)
    assert command_of(run, "convex") == f"foldstill apply {run.dir.combiner('convex')} NEW_SCORES"


def test_members_that_know_less_than_the_class_shares_are_said_first(rng):
    truth = rng.dirichlet([3.0, 1.0, 0.5], 200)
    groups = np.arange(200) // 4
    useful = 0.6 * truth[:, None] + 0.4 * rng.dirichlet([3, 1, 0.5], (200, 2))
    overconfident = useful**6 / (useful**6).sum(axis=2, keepdims=True)
    for proba, first in ((useful, False), (overconfident, True)):
        table = fs.oof_table(proba, votes=rng.multinomial(9, truth), groups=groups, folds=groups % 3)
        comparison = fs.stack(table, [Average(), Convex()]).compare()
        assert comparison.judgement.worse_than_prior is first
        assert comparison.verdict.startswith("The plain average is worse than predicting the class shares") is first
