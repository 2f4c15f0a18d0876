"""The same without files and folders: tables in, comparisons out; arrays in, trained members out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from foldstill.base_models.specs import Member
from foldstill.compare import Comparison, compare
from foldstill.data.dataset import Dataset
from foldstill.data.folds import Strategy, make_plan
from foldstill.data.labels import Labels
from foldstill.oof.audit import audit
from foldstill.oof.table import FoldScores, OOFTable
from foldstill.pipeline.arms import combination_arm, member_arms
from foldstill.pipeline.stack import refuse_leaks
from foldstill.stacking import Combiner, CrossFit, Fitted, crossfit_all, default_combiners, fit_all


@dataclass(frozen=True)
class Stacked:
    """Combiners over one table: `fitted` to all its rows, to be applied elsewhere; `crossed`, to be judged."""

    table: OOFTable
    fitted: tuple[Fitted, ...]
    crossed: tuple[CrossFit, ...]

    def __getitem__(self, name: str) -> Fitted:
        """The combination of this name; `.apply(scores)` combines new rows."""
        return {one.name: one for one in self.fitted}[name]

    def compare(self, test: FoldScores | None = None, test_labels: Labels | None = None) -> Comparison:
        """Every arm minus the plain average: on locked test rows when given, else on the table's rows, cross-fitted."""
        if test is not None and test_labels is not None:
            arms = [combination_arm(one, one.apply(test), test.members) for one in self.fitted]
            return compare([*member_arms(test.mean()), *arms], test_labels, rows="test", members=test.mean())
        scores = self.table.scores
        arms = [
            combination_arm(one, cross.proba_NC, scores.members)
            for one, cross in zip(self.fitted, self.crossed, strict=True)
        ]
        return compare([*member_arms(scores), *arms], self.table.labels, rows="oof cross-fitted", members=scores)


def stack(table: OOFTable, combiners: Sequence[Combiner] = (), *, jobs: int = 1) -> Stacked:
    """Cross-fit combiners (all the usual ones when none is given) over a table and fit each to all its rows.

    The plain average must be among them: everything is compared with it. Raises StackError for a table that fails a
    hard audit.
    """
    chosen = tuple(combiners) or default_combiners()
    refuse_leaks(audit(table))
    crossed = crossfit_all(chosen, table, jobs=jobs)
    return Stacked(table, tuple(fit_all(chosen, table, jobs=jobs)), tuple(crossed))


@dataclass(frozen=True)
class Trained:
    """What trained members said: of rows they never saw, and, all fold models, of the locked test rows."""

    table: OOFTable
    test: FoldScores | None
    test_labels: Labels | None


def train(
    views: Mapping[str, NDArray[Any]],
    labels: Labels,
    members: Sequence[Member],
    folder: Path | str,
    *,
    n_folds: int = 5,
    test_share: float = 0.15,
    strategy: Strategy = "stratified_grouped",
    seed: int = 0,
    jobs: int | None = None,
    device: str = "auto",
) -> Trained:
    """Train members over folds from arrays: images (N, H, W, channels) or signals (N, channels, T) by the view's name.

    Weights and scores are kept in `folder`, where an interrupted call goes on.
    """
    from foldstill.base_models import collect, train_members

    dataset = Dataset(labels, views)
    plan = make_plan(labels, n_folds=n_folds, test_share=test_share, strategy=strategy, seed=seed)
    train_members(members, dataset, plan, Path(folder), seed=seed, jobs=jobs, device=device)
    table, test = collect(Path(folder), members, labels, plan)
    return Trained(table, test, labels.take(plan.test_rows) if test is not None else None)
