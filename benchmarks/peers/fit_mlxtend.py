"""mlxtend's StackingClassifier over members that are already fitted: logistic regression on their probabilities."""

from exchange import Fit, Problem, columns, run, stacked
from mlxtend.classifier import StackingClassifier
from sklearn.linear_model import LogisticRegression


def stack(problem: Problem) -> Fit:
    classifier = StackingClassifier(
        classifiers=columns(problem),
        meta_classifier=LogisticRegression(max_iter=1000),
        use_probas=True,
        fit_base_estimators=False,
    )
    return stacked(problem, classifier)


if __name__ == "__main__":
    run({"stacking": stack}, soft=False)
