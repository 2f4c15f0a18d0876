"""scikit-learn's StackingClassifier over members that are already fitted: logistic regression on probabilities."""

from exchange import Fit, Problem, columns, run, stacked
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression


def stack(problem: Problem) -> Fit:
    members = [(f"m{m}", column) for m, column in enumerate(columns(problem))]
    classifier = StackingClassifier(
        members, LogisticRegression(max_iter=1000), cv="prefit", stack_method="predict_proba"
    )
    return stacked(problem, classifier)


if __name__ == "__main__":
    run({"stacking": stack}, soft=False)
