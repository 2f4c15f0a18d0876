"""scikit-learn's StackingClassifier over members that are already fitted: logistic regression on probabilities."""

from exchange import Fit, Predict, Problem, columns, run, side_by_side
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression


def stack(problem: Problem) -> Fit:
    x_NF, hard_N = side_by_side(problem.proba_MNC), problem.hard_N
    members = [(f"m{m}", column) for m, column in enumerate(columns(problem))]
    stacking_classifier = StackingClassifier(
        members, LogisticRegression(max_iter=1000), cv="prefit", stack_method="predict_proba"
    )

    def fit() -> Predict:
        stacking_classifier.fit(x_NF, hard_N)
        return lambda: stacking_classifier.predict_proba(side_by_side(problem.new_MNC))

    return fit


if __name__ == "__main__":
    run({"stacking": stack}, soft=False)
