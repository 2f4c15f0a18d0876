"""The model card: one page of markdown that travels with a student, and says where it may not be trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from foldstill.compare.bootstrap import Interval
from foldstill.cost import Cost
from foldstill.cost.measure import Latency
from foldstill.errors import DistillError
from foldstill.files import write_text


@dataclass(frozen=True)
class Score:
    """One figure of the card: what it is, its value, and its interval where one was computed."""

    what: str
    value: float
    interval: Interval | None = None

    def __str__(self) -> str:
        if self.interval is None:
            return f"{self.value:.4f}"
        level = f"{self.interval.level:.0%} interval over {self.interval.n_groups} groups"
        return f"{self.value:.4f} [{self.interval.low:.4f}, {self.interval.high:.4f}] ({level})"


@dataclass(frozen=True)
class Card:
    """What a reader must know before using a student. Only what is given is printed; nothing is made up."""

    name: str
    network: str
    classes: Sequence[str]
    view: str
    teacher: str
    data: str
    """What it was trained on: source, rows, votes a row."""
    scored_on: str
    """The rows the scores are of, and whether anything was fitted or chosen on them."""
    scores: Sequence[Score]
    cost: Cost
    latencies: Sequence[Latency] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    """File name to what is in it, refused precisions included with their reason."""
    remarks: Sequence[str] = ()
    """Sentences below the scores, such as what its uncertainty is worth."""
    limits: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.scores:
            raise DistillError("a model card needs at least one score with the rows it is of: score the student first")

    def markdown(self) -> str:
        lines = [
            f"# {self.name}",
            "",
            f"A {self.network} that reads the view `{self.view}` and gives one probability for each of "
            f"{len(self.classes)} classes: {', '.join(self.classes)}. Its teacher: {self.teacher}.",
            "",
            "## Data",
            "",
            self.data,
            "",
            "## Scores",
            "",
            f"On {self.scored_on}.",
            "",
            "| score | value |",
            "| --- | --- |",
            *(f"| {s.what} | {s} |" for s in self.scores),
            "",
            *(line for remark in self.remarks for line in (f"{remark[0].upper()}{remark[1:]}.", "")),
            "## Cost",
            "",
            *_cost_lines(self.cost, self.latencies),
        ]
        if self.files:
            lines += ["", "## Files", "", *(f"- `{name}`: {what}" for name, what in self.files.items())]
        limits = [*self.limits, *_ALWAYS]
        return "\n".join([*lines, "", "## Limits", "", *(f"- {limit}" for limit in limits), ""])

    def write(self, path: Path) -> None:
        write_text(path, self.markdown())


_ALWAYS = (
    "Probabilities follow the annotators of the training data, their habits and their errors included.",
    "Inputs must be made as in training; inputs of another device, site or preparation are not covered by the scores.",
)


def _cost_lines(cost: Cost, latencies: Sequence[Latency]) -> list[str]:
    known = [
        ("parameters", cost.parameters, "{:,}"),
        ("multiply-accumulates a row", cost.macs, "{:,}"),
        ("bytes of weights", cost.bytes, "{:,}"),
        ("bytes computed for one row, the most at one time", cost.activation_bytes, "{:,}"),
    ]
    lines = ["| cost | |", "| --- | --- |"]
    lines += [f"| {what} | {form.format(value)} |" for what, value, form in known if value is not None]
    for each in [*_eager(cost), *latencies]:
        threads = "1 thread" if each.threads == 1 else f"{each.threads} threads"
        lines.append(
            f"| {each.what}, {each.rows} row{'s'[: each.rows > 1]}, ms, median / 95th percentile "
            f"({threads} of {each.processor}) | {each.p50_ms:.2f} / {each.p95_ms:.2f} |"
        )
    return lines


def _eager(cost: Cost) -> list[Latency]:
    """What was measured of the network itself, in the form of what was measured of its files."""
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
