import pytest

from foldstill.compare import Interval
from foldstill.cost import Cost
from foldstill.cost.measure import Latency
from foldstill.distill.card import Card, CardEntry
from foldstill.errors import DistillError

FACTS = {
    "name": "student",
    "network": "mobilenetv4_conv_small",
    "classes": ("seizure", "other"),
    "view": "eeg",
    "teacher": "auto",
    "data": "120 rows",
    "scored_on": "30 locked test rows",
}


def test_a_card_shows_scores_with_intervals_and_costs_with_the_machine(tmp_path):
    interval = Interval(0.31, 0.25, 0.37, level=0.95, method="bootstrap_t", n_groups=12, p=0.01)
    card = Card(
        **FACTS,
        scores=[CardEntry("KL to the votes", 0.31, interval), CardEntry("accuracy", 0.9)],
        cost=Cost(
            parameters=2_500_000,
            macs=121_000_000,
            latency_1_ms=3.0,
            latency_1_p95_ms=4.0,
            threads=1,
            processor="Some CPU",
        ),
        latencies=[Latency("student.onnx", 32, 1.5, 2.25, 1, "Some CPU")],
        files={"student.int8.onnx": "not written: int8 is refused"},
        remarks=["uncertainty: of little use"],
        limits=["Adults only."],
    )
    card.write(tmp_path / "card.md")
    text = (tmp_path / "card.md").read_text()
    assert "| KL to the votes | 0.3100 [0.2500, 0.3700] (95 % confidence interval over 12 groups) |" in text
    assert "| accuracy | 0.9000 |" in text
    assert "| parameters | 2,500,000 |" in text
    assert "bytes of weights" not in text
    assert "32 rows, ms, median / 95th percentile (1 thread of Some CPU) | 1.50 / 2.25 |" in text
    assert "| eager network, 1 row, ms, median / 95th percentile (1 thread of Some CPU) | 3.00 / 4.00 |" in text
    assert "int8 is refused" in text
    assert "- Adults only." in text
    assert "\nUncertainty: of little use.\n" in text
    assert "seizure, other" in text


def test_a_card_without_a_score_is_refused():
    with pytest.raises(DistillError, match="at least one score"):
        Card(**FACTS, scores=[], cost=Cost())
