"""The model card: one page of markdown about a student, with its scores, its cost and its limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foldstill.compare import Interval
from foldstill.cost import Cost
from foldstill.cost.measure import Latency
from foldstill.errors import DistillError
from foldstill.files import write_text


@dataclass(frozen=True)
class CardEntry:
    """One line of the card's table of scores: a label, a value, and its confidence interval where there is one."""

    label: str
    value: float
    interval: Interval | None = None

    def __str__(self) -> str:
        if self.interval is None:
            return f"{self.value:.4f}"
        level = f"{100 * self.interval.level:g} % confidence interval over {self.interval.n_groups} groups"
        return f"{self.value:.4f} [{self.interval.low:.4f}, {self.interval.high:.4f}] ({level})"


@dataclass(frozen=True)
class Card:
    """The facts of a model card; optional facts may be left out.

    Parameters
    ----------
    name : str
        Heading of the card.
    network : str
        Name of the network.
    classes : sequence of str
        Class names.
    view : str
        Name of the view the student reads.
    teacher : str
        What the student was trained on besides the votes.
    data : str
        The training data: source, number of rows, votes per row.
    scored_on : str
        The rows the scores rest on, and whether anything was fitted or chosen on them.
    scores : sequence of CardEntry
        At least one score.
    cost : Cost
        What one prediction costs.
    inputs : sequence of str, optional
        What a row of the view must look like and how it is prepared, one fact each, without a full stop.
    latencies : sequence of Latency, optional
        Latency of the exported files.
    files : mapping of str to str, optional
        File name to a description; a refused precision has its reason here.
    remarks : sequence of str, optional
        Sentences below the scores, without a full stop.
    limits : sequence of str, optional
        Where the student must not be used.

    Raises
    ------
    DistillError
        Without a score.

    Examples
    --------
    >>> card = Card(
    ...     name="student", network="mobilenetv4_conv_small", classes=("seizure", "other"), view="eeg", teacher="auto",
    ...     data="120 rows.", scored_on="30 test rows", scores=[CardEntry("accuracy", 0.9)], cost=Cost(macs=1000),
    ... )
    >>> print(card.markdown().splitlines()[14])
    | accuracy | 0.9000 |
    """

    name: str
    network: str
    classes: Sequence[str]
    view: str
    teacher: str
    data: str
    scored_on: str
    scores: Sequence[CardEntry]
    cost: Cost
    inputs: Sequence[str] = ()
    latencies: Sequence[Latency] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    limits: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.scores:
            raise DistillError("a model card needs at least one score, got none: score the student first")

    def markdown(self) -> str:
        """The card as markdown."""
        lines = [
            f"# {self.name}",
            "",
            f"A {self.network} that reads the view `{self.view}` and predicts one probability per class for "
            f"{len(self.classes)} classes: {', '.join(self.classes)}. Its teacher: {self.teacher}.",
            "",
            "## Data",
            "",
            self.data,
            "",
            *(["## Inputs", "", *(f"- {fact}" for fact in self.inputs), ""] if self.inputs else []),
            "## Scores",
            "",
            f"On {self.scored_on}.",
            "",
            "| score | value |",
            "| --- | --- |",
            *(f"| {entry.label} | {entry} |" for entry in self.scores),
            "",
            *(line for remark in self.remarks for line in (f"{remark[0].upper()}{remark[1:]}.", "")),
            "## Cost",
            "",
            *_cost_lines(self.cost, self.latencies),
        ]
        if self.files:
            lines += ["", "## Files", "", *(f"- `{name}`: {description}" for name, description in self.files.items())]
        limits = [*self.limits, *_ALWAYS]
        return "\n".join([*lines, "", "## Limits", "", *(f"- {limit}" for limit in limits), ""])

    def write(self, path: Path) -> None:
        """Write the card to a file."""
        write_text(path, self.markdown())


_ALWAYS = (
    "Probabilities reproduce the annotators of the training data, including their habits and errors.",
    "Inputs must be prepared as in training; the scores do not cover inputs from another device, site or preparation.",
)


def _cost_lines(cost: Cost, latencies: Sequence[Latency]) -> list[str]:
    counted = [
        ("parameters", cost.parameters, "{:,}"),
        ("multiply-accumulates per row", cost.macs, "{:,}"),
        ("bytes of weights", cost.bytes, "{:,}"),
        ("peak bytes of what is computed for one row", cost.activation_bytes, "{:,}"),
    ]
    lines = ["| cost | |", "| --- | --- |"]
    lines += [f"| {label} | {form.format(value)} |" for label, value, form in counted if value is not None]
    for each in [*_eager(cost), *latencies]:
        threads = "1 thread" if each.threads == 1 else f"{each.threads} threads"
        lines.append(
            f"| {each.name}, {each.rows} row{'s'[: each.rows > 1]}, ms, median / 95th percentile "
            f"({threads} of {each.processor}) | {each.p50_ms:.2f} / {each.p95_ms:.2f} |"
        )
    return lines


def _eager(cost: Cost) -> list[Latency]:
    """The latency of the network itself, in the form of the latencies of its files."""
    threads, processor = cost.threads, cost.processor
    if threads is None or processor is None:
        return []
    measured = [
        (1, cost.latency_1_ms, cost.latency_1_p95_ms),
        (cost.batch, cost.latency_batch_ms, cost.latency_batch_p95_ms),
    ]
    return [
        Latency("eager network", rows, p50, p95, threads, processor)
        for rows, p50, p95 in measured
        if rows is not None and p50 is not None and p95 is not None
    ]
