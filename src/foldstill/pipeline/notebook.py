"""The same stages without a run folder: tables in and comparisons out, arrays in and trained members out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.arguments import require_types
from foldstill.base_models.joined_member import AnyMember
from foldstill.compare import CompareSettings, Comparison, compare
from foldstill.data.dataset import Dataset
from foldstill.data.labels import Labels
from foldstill.errors import MemberError, StackError
from foldstill.frames import FrameLibrary, html_table, make_frame
from foldstill.lock import sole_writer
from foldstill.oof.audit import audit
from foldstill.oof.table import FoldScores, OOFTable
from foldstill.pipeline.arms import combination_arm, member_arms, prior_arm, simplest_first
from foldstill.pipeline.experiment import FoldSettings
from foldstill.pipeline.stack import refuse_leaked_table, select_by_metric
from foldstill.stacking import Combiner, CrossFit, FittedCombiner, crossfit_all, default_combiners, fit_all
from foldstill.workers import Work


@dataclass(frozen=True)
class Stacked:
    """Combiners over one OOF table, made by `stack`.

    Index it by a combiner's name to get the combination that was fitted to all rows:
    `stacked["auto"].apply(scores)` combines new rows.
    """

    table: OOFTable
    fitted: tuple[FittedCombiner, ...]
    """The combinations fitted to all rows of the table, to be used on other rows."""
    crossed: tuple[CrossFit, ...]
    """The cross-fitted scores of the rows of the table, to be judged."""
    metric: Any = "kl"
    """What the combiners decided by."""

    def __getitem__(self, name: str) -> FittedCombiner:
        return self.fitted[self._index(name)]

    def _index(self, name: str) -> int:
        names = [one.name for one in self.fitted]
        if name not in names:
            raise StackError(f"no combiner {name!r} was fitted: name one of {names}")
        return names.index(name)

    def held_out(self, name: str) -> NDArray[np.float64]:
        """Cross-fitted probabilities (N, C) of the table's rows: each row by a combiner that was fitted without it.

        These, and not `stacked[name].apply(table.scores)`, can be judged on these rows and can teach a student.
        """
        return self.crossed[self._index(name)].proba_NC

    def to_frame(self, library: FrameLibrary = "pandas") -> Any:
        """One row per combiner: its name, its cross-fitted KL, and what it chose or weighted.

        Parameters
        ----------
        library : {"pandas", "polars"}, default "pandas"
            Library of the frame.
        """
        lines = self._lines()
        return make_frame({name: [line[name] for line in lines] for name in lines[0]}, library)

    def _lines(self) -> list[dict[str, Any]]:
        pairs = sorted(zip(self.fitted, self.crossed, strict=True), key=lambda pair: pair[1].kl)
        return [{"combiner": one.name, "kl": cross.kl, "explanation": one.explanation} for one, cross in pairs]

    def _repr_html_(self) -> str:
        title = f"{len(self.fitted)} combiners of {len(self.table.members)} members"
        lines = [{"combiner": line["combiner"], "KL": line["kl"], "": line["explanation"]} for line in self._lines()]
        return html_table(title, lines, "KL of cross-fitted predictions. compare() gives intervals.")

    def compare(
        self, test: FoldScores | None = None, test_labels: Labels | None = None, *, metric: Any = None
    ) -> Comparison:
        """Compare every combination and member with the plain average.

        Parameters
        ----------
        test : FoldScores, optional
            Scores of locked test rows, (K, N, M, C). Without them the table's own rows are compared, cross-fitted.
        test_labels : Labels, optional
            Labels of the locked test rows.
        metric : str, Metric or callable, optional
            What decides, as in `stack`; by default what the combiners decided by.

        Returns
        -------
        Comparison
            Scores, differences with 95 % confidence intervals, and a verdict.
        """
        settings = CompareSettings(metric=self.metric if metric is None else metric)
        others = [one.combiner for one in self.fitted]
        pairs = sorted(zip(self.fitted, self.crossed, strict=True), key=lambda pair: simplest_first(pair[0].combiner))
        if test is not None and test_labels is not None:
            members = test.mean()
            arms = [combination_arm(one, one.apply(test), test.members, others=others) for one, _ in pairs]
            arms = [prior_arm(self.table, len(members)), *member_arms(members), *arms]
            return compare(arms, test_labels, rows="test", members=members, settings=settings)
        scores = self.table.scores
        arms = [combination_arm(one, cross.proba_NC, scores.members, others=others) for one, cross in pairs]
        arms = [prior_arm(self.table), *member_arms(scores), *arms]
        comparison = compare(arms, self.table.labels, rows="oof cross-fitted", members=scores, settings=settings)
        return replace(comparison, n_unscored=self.table.n_unscored)


def stack(
    table: OOFTable,
    combiners: Sequence[Combiner | str] = (),
    *,
    accept: Sequence[str] = (),
    metric: Any = "kl",
    work: Work = Work(workers=1),
) -> Stacked:
    """Cross-fit combiners over an OOF table, and fit each to all its rows.

    Parameters
    ----------
    table : OOFTable
        Held-out scores of the members, with labels and folds.
    combiners : sequence of Combiner or str, optional
        The combiners, or their names for those with default settings, such as `["average", "auto"]`; the default ones
        when none is given. The plain average is always added.
    accept : sequence of str, optional
        Ids of audit checks whose failure is known to be harmless, such as "A7".
    metric : str, Metric or callable, default "kl"
        What `auto`, convex weights and greedy selection decide by, and the comparison. A function is called with vote
        shares (N, C), probabilities (N, C) and weights (N,); high values are better unless its attribute `better` is
        "low".
    work : Work, default Work(workers=1)
        Number of processes, and what receives the progress.

    Returns
    -------
    Stacked
        The fitted combinations and their cross-fitted scores.

    Raises
    ------
    StackError
        If the table fails a hard check of the audit, because no combination of a leaked table can be trusted.

    Examples
    --------
    >>> import numpy as np, foldstill as fs
    >>> rng = np.random.default_rng(0)
    >>> truth_NC = rng.dirichlet([1.0, 1.0, 1.0], 120)
    >>> noisy_NMC = truth_NC[:, None] * rng.uniform(0.5, 1.5, (120, 2, 3))
    >>> scores_NMC = noisy_NMC / noisy_NMC.sum(-1, keepdims=True)
    >>> patients = np.arange(120) // 2
    >>> votes_NC = rng.multinomial(8, truth_NC)
    >>> table = fs.oof_table(scores_NMC, votes=votes_NC, groups=patients, folds=patients % 3)
    >>> stacked = fs.stack(table)
    >>> stacked["average"].apply(table.scores).shape
    (120, 3)
    """
    require_types(stack, locals())
    named = [one for one in combiners if not isinstance(one, str)]
    names = [one if isinstance(one, str) else one.name for one in combiners]
    chosen = select_by_metric(named or default_combiners(), names, metric)
    refuse_leaked_table(audit(table).accept(accept))
    crossed = crossfit_all(chosen, table, workers=work.workers, on_progress=work.report)
    fitted = fit_all(chosen, table, workers=work.workers, on_progress=work.report)
    return Stacked(table, tuple(fitted), tuple(crossed), metric)


@dataclass(frozen=True)
class Trained:
    """Scores of trained members, made by `train`."""

    table: OOFTable
    """The prediction for each row by the fold model that never saw the row's group."""
    test: FoldScores | None
    """Scores of the locked test rows by all fold models; None without locked rows."""
    test_labels: Labels | None
    """Labels of the locked test rows; None without locked rows."""


def train(
    views: Mapping[str, Any],
    labels: Labels,
    members: Sequence[AnyMember],
    folder: Path | str,
    *,
    folds: FoldSettings = FoldSettings(),
    seed: int = 0,
    work: Work = Work(),
) -> Trained:
    """Train members over folds on arrays, and collect their held-out predictions.

    Parameters
    ----------
    views : mapping of str to array
        Inputs per view name: images (N, H, W, channels), signals (N, channels, T), or features as a pandas or polars
        frame or an array (N, F).
    labels : Labels
        Votes and groups of the N samples.
    members : sequence of Member
        The members; each is trained once per fold.
    folder : path
        Folder for weights and scores. An interrupted call continues there.
    folds : FoldSettings, default FoldSettings()
        Number of folds, share of locked test rows, and how groups are divided.
    seed : int, default 0
        Seed from which every random number is derived.
    work : Work, default Work()
        Number of processes, device, and what receives the progress.

    Returns
    -------
    Trained
        The OOF table, and the scores and labels of the locked test rows.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np, foldstill as fs
    >>> images = np.random.default_rng(0).integers(0, 255, (24, 16, 16, 1), dtype=np.uint8)
    >>> labels = fs.Labels.from_hard(np.arange(24) % 2, groups=np.arange(24) // 2)
    >>> small = fs.TimmMember(name="small", network="test_vit", recipe=fs.Recipe(epochs=1, batch_size=8))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trained = fs.train({"image": images}, labels, [small], folder, folds=fs.FoldSettings(n_folds=2),
    ...                        work=fs.Work(workers=1, device="cpu"))
    >>> trained.table.proba_NMC.shape
    (20, 1, 2)
    """
    require_types(train, locals())
    from foldstill.base_models import collect, train_members

    if labels.heads is not None:
        raise MemberError(
            "train collects one table, and labels of heads (multi-label) have a table per head: use train_members and "
            "collect_heads of foldstill.base_models, or an experiment file with data.heads"
        )
    dataset = Dataset(labels, views)
    plan = folds.plan(labels, seed, Path())
    with sole_writer(Path(folder)):
        train_members(members, dataset, plan, Path(folder), seed=seed, work=work)
    table, test = collect(Path(folder), members, labels, plan)
    return Trained(table, test, labels.take(plan.test_rows) if test is not None else None)
