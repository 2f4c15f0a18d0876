import numpy as np
import pytest

from foldstill.compare import Arm, compare
from foldstill.compare.metrics import scores
from foldstill.data.labels import Labels
from foldstill.data.simplex import kl_divergence, softmax


def test_a_student_is_compared_with_the_arm_that_taught_it(rng):
    votes = rng.integers(0, 5, (60, 3)) + 1
    labels = Labels.from_votes(votes, groups=np.arange(60) // 3)
    average, taught, one, two = rng.dirichlet(np.ones(3), (4, 60))
    comparison = compare(
        [
            Arm("average", "average", average),
            Arm("convex", "combination", taught),
            Arm("student", "student", one, teacher="convex", further_seeds=(two,)),
            Arm("other", "ablation", taught, teacher="convex"),
            Arm("of another", "ablation", one, teacher="absent"),
        ],
        labels,
    )
    followed = comparison["student"].fidelity
    assert followed.teacher == "convex"
    assert followed.kl == pytest.approx(np.mean([kl_divergence(target=taught, proba=p) for p in (one, two)]))
    same = [np.mean(p.argmax(1) == taught.argmax(1)) for p in (one, two)]
    assert followed.agreement == pytest.approx(np.mean(same))
    assert (comparison["other"].fidelity.kl, comparison["other"].fidelity.agreement) == (pytest.approx(0), 1)
    assert comparison["of another"].fidelity is None
    assert comparison["average"].fidelity is None
    line = next(r for r in comparison.table() if r["arm"] == "student" and r["rows"] == "all")
    assert line["kl_from_teacher"] == followed.kl


def test_the_calibrated_kl_ignores_overconfidence_only(rng):
    truth = rng.dirichlet(np.ones(4), 4000)
    target = np.stack([rng.multinomial(6, p) for p in truth]) / 6
    calibrated, overconfident = truth, softmax(3 * np.log(truth))
    good, bad = (scores(target=target, proba=p) for p in (calibrated, overconfident))
    assert bad["kl"] > good["kl"] + 0.1
    assert bad["calibrated_kl"] == pytest.approx(good["calibrated_kl"], abs=1e-3)
    assert good["calibrated_kl"] == pytest.approx(good["kl"], abs=2e-3)
    assert scores(target=target[:1], proba=calibrated[:1])["calibrated_kl"] is None
