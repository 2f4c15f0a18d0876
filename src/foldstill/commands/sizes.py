"""Cost of students and of the ensemble on an experiment's data, counted before anything is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foldstill.base_models.joined_member import resolve
from foldstill.cost import Cost, percent_of, total_cost, with_unit
from foldstill.data.dataset import Dataset
from foldstill.data.features import FeatureTable
from foldstill.distill.sizes import is_network, size_of, student_sizes
from foldstill.errors import DistillError
from foldstill.pipeline.experiment import Experiment
from foldstill.pipeline.experiment_file import ExperimentFile
from foldstill.pipeline.run import Run

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Sizes:
    """Counted cost per student, and of all fold models of the ensemble, on rows of one view."""

    view: str
    shape: tuple[int, ...]
    """Shape of one row of the view, as it is stored."""
    students: dict[str, Cost]
    ensemble: Cost | None
    """None where a member is no network: its size is known only when it has been trained."""
    n_models: int

    def line(self, name: str) -> str:
        """The cost of a student in one sentence."""
        cost = self.students[name]
        return (
            f"{name}: {with_unit(cost.parameters)} parameters, {with_unit(cost.macs)} multiply-accumulates per row of "
            f"{self.view} ({' x '.join(map(str, self.shape))})"
            + (f", {self.share(cost)} of those of the {self.n_models} fold models" if self.ensemble else "")
        )

    def share(self, cost: Cost) -> str:
        """A cost as a percentage of the ensemble's multiply-accumulates."""
        return percent_of(cost.macs or 0, self.ensemble.macs or 1) if self.ensemble else ""

    def table(self) -> "Table":
        """One line per student, then the ensemble."""
        from rich.table import Table

        shape = " x ".join(map(str, self.shape))
        caption = f"one row of the view {self.view}, {shape}, float32; memory is the peak of what is computed for it"
        table = Table(box=None, pad_edge=False, header_style="bold", caption=caption, caption_justify="left")
        table.add_column("student")
        for title in ("parameters", "MACs per row", "of the ensemble", "weights, MB", "memory, MB"):
            table.add_column(title, justify="right", no_wrap=True)
        rows = self.students | ({f"all {self.n_models} fold models": self.ensemble} if self.ensemble else {})
        for name, cost in rows.items():
            numbers = (with_unit(cost.parameters), with_unit(cost.macs), self.share(cost))
            table.add_row(name, *numbers, *(f"{(n or 0) / 1e6:.2f}" for n in (cost.bytes, cost.activation_bytes)))
        return table

    def answer(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "view": self.view,
            "shape": self.shape,
            "students": [{"name": name, **_counted(cost)} for name, cost in self.students.items()],
            "ensemble": {"models": self.n_models, **_counted(self.ensemble)} if self.ensemble else None,
        }


def _counted(cost: Cost) -> dict[str, int | None]:
    """What is known of a cost before anything is trained or measured."""
    return {
        "parameters": cost.parameters,
        "macs": cost.macs,
        "bytes": cost.bytes,
        "activation_bytes": cost.activation_bytes,
    }


def list_sizes(target: Path, changes: Sequence[str] = ()) -> Sizes:
    """Sizes of the named networks, of the experiment's students and of its ensemble on its data; nothing is written."""
    file = ExperimentFile.read(target, changes)
    experiment, root = file.experiment, file.root
    dataset = experiment.data.load(root)
    n_folds = experiment.folds.plan(dataset.labels, experiment.seed, root).n_folds
    views = [view for member in resolve(experiment.member) for view in member.views] or sorted(dataset.views)
    view = experiment.student.view if experiment.student else views[0]
    # The named sizes are networks of images and signals.
    is_table = isinstance(dataset.view(view), FeatureTable)
    named = {} if is_table else student_sizes(dataset.view(view), len(dataset.labels.classes), experiment.student)
    sizes = _sizes(experiment, dataset, n_folds, view, named)
    if not sizes.students:
        raise DistillError(
            f"no student of the feature table {view!r} is a network, and the size of other students is known when they "
            "are trained: run `foldstill run`, whose report shows it"
        )
    return sizes


def chosen_sizes(run: Run) -> Sizes | None:
    """Cost of the run's own students; None if it has none."""
    experiment = run.experiment
    if experiment.student is None:
        return None
    return _sizes(experiment, run.dataset, run.plan.n_folds, experiment.student.view, {})


def _sizes(experiment: Experiment, dataset: Dataset, n_folds: int, view: str, named: dict[str, Cost]) -> Sizes:
    n_classes = len(dataset.labels.classes)
    students = dict(named)
    for each in (experiment.student, *experiment.ablation):
        if each is not None and each.member().uses_device:
            cost = size_of(each.member(), [dataset.view(each.view)], n_classes)
            # Ablations with the same network are left out.
            if cost not in [students[name] for name in students.keys() - named.keys()]:
                students[f"{each.name} ({each.network_name})"] = cost
    members = resolve(experiment.member)
    ensemble = None
    if all(is_network(member) for member in members):
        costs = [size_of(m, [dataset.view(v) for v in m.views], n_classes) for m in members]
        ensemble = total_cost(costs * n_folds)
    return Sizes(view, dataset.view(view).shape[1:], students, ensemble, len(members) * n_folds)
