"""foldstill on the same files: its methods for the same task, and `auto`."""

from collections.abc import Callable
from functools import partial

from exchange import Fit, Predict, Problem, run

from foldstill.oof import OOFTable, oof_table
from foldstill.stacking import Combiner
from foldstill.stacking.auto import Auto
from foldstill.stacking.averages import Average
from foldstill.stacking.convex import Convex
from foldstill.stacking.greedy import Greedy
from foldstill.stacking.log_pool import LogPool
from foldstill.stacking.recalibrate import Recalibrated

ARMS: tuple[Combiner, ...] = (
    Average(),
    Convex(),
    Greedy(picks=50, bags=1),
    Recalibrated(),
    LogPool(),
    Auto(),
)


def combine(problem: Problem, arm: Combiner) -> Fit:
    made = table(problem)

    def fit_to_table() -> Predict:
        combination = arm.fit(made)
        return lambda: combination(problem.new_MNC.transpose(1, 0, 2))

    return fit_to_table


def table(problem: Problem) -> OOFTable:
    families = [f"family{m // 5}" for m in range(len(problem.proba_MNC))]
    scores_NMC = problem.proba_MNC.transpose(1, 0, 2)
    return oof_table(scores_NMC, votes=problem.votes_NC, groups=problem.group_N).with_families(families)


if __name__ == "__main__":
    methods: dict[str, Callable[[Problem], Fit]] = {arm.name: partial(combine, arm=arm) for arm in ARMS}
    run(methods, soft=True)
