"""mlxtend's StackingClassifier over members that are fitted already: logistic regression on their probabilities."""

from exchange import Fit, Predict, Problem, columns, run, side_by_side
from mlxtend.classifier import StackingClassifier
from sklearn.linear_model import LogisticRegression


def stack(problem: Problem) -> Fit:
    x_NF, hard_N = side_by_side(problem.proba_MNC), problem.hard_N
    found = StackingClassifier(
        classifiers=columns(problem),
        meta_classifier=LogisticRegression(max_iter=1000),
        use_probas=True,
        fit_base_estimators=False,
    )

    def fit() -> Predict:
        found.fit(x_NF, hard_N)
        return lambda: found.predict_proba(side_by_side(problem.new_MNC))

    return fit


if __name__ == "__main__":
    run({"stacking": stack}, soft=False)
