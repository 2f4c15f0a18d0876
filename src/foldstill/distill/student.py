"""A trained student: read from its folder, it takes rows of its view and predicts probabilities.

N rows, C classes. Importing this imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.base_models.jobs import Job
from foldstill.base_models.member import Member, Model
from foldstill.cost import Cost
from foldstill.data.feature_form import FeatureForm, Form, array_in
from foldstill.data.features import FeatureTable, View, array_of, as_view
from foldstill.data.simplex import kl_divergence
from foldstill.errors import DataError, DistillError, MemberError
from foldstill.frames import html_table
from foldstill.manifest import DONE, check_files, read_done

if TYPE_CHECKING:
    from foldstill.base_models.networks import Network


@dataclass(frozen=True)
class KlBySeed:
    """KL of a student per seed, in nats per row."""

    by_seed: tuple[float, ...]
    in_sample: int = 0
    """Number of the rows that the student was trained on, whose KL says nothing about new rows."""

    @property
    def mean(self) -> float:
        return float(np.mean(self.by_seed))

    @property
    def deviation(self) -> float | None:
        """Standard deviation over seeds; None for one seed."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else None

    def __str__(self) -> str:
        spread = "one seed" if self.deviation is None else f"over {len(self.by_seed)} seeds"
        deviation = "," if self.deviation is None else f" ± {self.deviation:.4f}"
        note = f"; in-sample: the student was trained on {self.in_sample} of the rows" if self.in_sample else ""
        return f"KL {self.mean:.4f}{deviation} {spread}{note}"


@dataclass(frozen=True)
class Student:
    """A trained student: rows of its view in, probabilities out."""

    model: Model
    """A network, boosted trees, or whatever else its member left."""
    view: str
    further_seeds: "tuple[Student, ...]" = ()
    """The same student trained from further seeds."""
    taught: frozenset[int] = field(default=frozenset(), repr=False)
    """Hashes of the rows that it was trained on, where they are known: `kl` counts those among its rows."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the probabilities."""
        return self.model.classes

    @property
    def form(self) -> Form | None:
        """What the rows of its view must look like; None where that is not known."""
        forms: Mapping[str, Form] = getattr(self.model, "forms", {})
        return forms.get(self.view)

    @property
    def is_network(self) -> bool:
        return hasattr(self.model, "network")

    @property
    def network(self) -> "Network":
        """Its network; raises DistillError for a student that is none."""
        if not self.is_network:
            raise DistillError(
                f"the student is no network but a {type(self.model).__name__}: this works for networks only"
            )
        network: Network = self.model.network  # type: ignore[attr-defined]
        return network

    def predict(
        self, rows_N: View, rows: NDArray[np.intp] | None = None, *, device: str = "auto"
    ) -> NDArray[np.float32]:
        """Probabilities (N, C) of images (N, H, W, channels), signals (N, channels, T) or features, unscaled.

        With `rows`, of these rows only, which are not copied first.
        Raises DistillError for rows of another shape or type, or with other features, than in training.
        """
        try:
            return self.model.predict({self.view: rows_N}, rows, device=device)
        except (DataError, MemberError) as error:
            raise DistillError(f"the student: {error}") from None

    def kl(self, rows_N: View, votes_NC: ArrayLike, *, device: str = "auto") -> "KlBySeed":
        """KL(votes || prediction) per seed it was trained from, and how many of the rows it was trained on."""
        rows_N = as_view(rows_N)
        votes = np.asarray(votes_NC, dtype=np.float64)
        if votes.ndim != 2 or len(votes) != len(rows_N) or not (votes.sum(axis=1) > 0).all():
            raise DistillError(
                f"votes must be counts ({len(rows_N)}, classes), one or more per row, got shape {votes.shape}"
            )
        target = votes / votes.sum(axis=1, keepdims=True)
        return KlBySeed(
            tuple(
                kl_divergence(target=target, proba=one.predict(rows_N, device=device))
                for one in (self, *self.further_seeds)
            ),
            in_sample=sum(one in self.taught for one in row_hashes(rows_N)) if self.taught else 0,
        )

    def _repr_html_(self) -> str:
        facts = {
            "model": type(self.model).__name__,
            "view": self.view,
            "classes": ", ".join(self.classes),
            "seeds": 1 + len(self.further_seeds),
        }
        return html_table("Student", [{"": name, " ": value} for name, value in facts.items()])

    def export(self, path: Path | str, rows_N: View, *, about: Mapping[str, Any] | None = None) -> Path:
        """Write it as ONNX, checked on these rows; see `foldstill.distill.export.export_onnx`.

        Raises DistillError for a student that cannot be converted.
        """
        if not self.is_network:
            from foldstill.distill.table_onnx import export_features

            return export_features(self.model, FeatureTable.of(rows_N), Path(path), about=about)
        from foldstill.distill.export import export_onnx

        form = self.form
        of_rows = form.as_json() if isinstance(form, FeatureForm) else {"recipe": dict(form.recipe) if form else {}}
        more = of_rows | dict(about or {})
        rows = self.array(rows_N)
        return export_onnx(self.network, rows, Path(path), classes=self.classes, view=self.view, about=more)

    def array(self, rows_N: View) -> NDArray[Any]:
        """Rows of its view as its network takes them; raises DistillError for rows of another form."""
        if self.form is None:
            return array_of(rows_N, self.view)
        try:
            return array_in(self.form, rows_N, self.view)
        except DataError as error:
            raise DistillError(f"the student: {error}") from None

    def cost(self, rows_N: View) -> Cost:
        """Cost of one prediction on one thread of the CPU, measured on the first of these rows."""
        return self.model.cost({self.view: rows_N})


def row_hashes(view: View) -> list[int]:
    """One hash per row, by which a row that was trained on is recognised in this process."""
    values = view.values_NF if isinstance(view, FeatureTable) else view
    return [hash(row.tobytes()) for row in values]


def load_student(folder: Path | str) -> Student:
    """The student that `train_student` left in a folder; raises DistillError if there is none, or it is not
    finished."""
    from foldstill.base_models.kinds import read_member

    folder = Path(folder)
    if not (folder / DONE).exists():
        raise DistillError(f"no trained student in {folder}: train it with `foldstill distill`")
    check_files(folder)
    settings = read_done(folder)["inputs"]["member"]
    if settings is None:
        raise DistillError(
            f"the student in {folder} was trained from a module of your own: build the module, and load "
            "weights.safetensors into it"
        )
    return student_from(read_member(settings), folder)


def student_of(job: Job) -> Student:
    """The student that a finished job left."""
    return student_from(job.member, job.folder)


def student_from(member: Member, folder: Path) -> Student:
    """The student that is the model of a member in a folder; raises DistillError for a member of several views."""
    if len(member.views) != 1:
        raise DistillError(f"a student reads one view, got a member of kind {member.kind!r} that reads {member.views}")
    return Student(member.load(folder), member.views[0])


def predict_student(folder: Path | str, views: Mapping[str, View], *, device: str = "auto") -> NDArray[np.float32]:
    """Probabilities (N, C) of a trained student for new rows, given the view it reads among `views`."""
    student = load_student(folder)
    if student.view not in views:
        raise DistillError(f"the student reads the view {student.view!r}, got {sorted(views)}: give that view")
    return student.predict(views[student.view], device=device)
