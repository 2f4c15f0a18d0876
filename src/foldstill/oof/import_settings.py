"""Settings of an import: which columns of files made elsewhere hold what."""

from dataclasses import dataclass

from foldstill.errors import OOFError
from foldstill.oof.arrays import ASSIGNED_FOLDS
from foldstill.oof.probabilities import Space
from foldstill.settings import Settings


@dataclass(frozen=True, kw_only=True)
class ImportSettings(Settings):
    """Names of the keys of an `.npz`, or of the columns of a CSV or parquet file. Empty: recognise usual names.

    Examples
    --------
    >>> ImportSettings(group="patient", votes="{class}_vote", drop_members=("*_tta",)).n_folds
    5
    """

    labels: str = ""
    """A CSV or parquet file with ids and labels, when the files of predictions do not hold them."""
    folds: str = ""
    """A CSV or parquet file with one row per id or per group and its fold, when no other file holds the folds."""
    pred: str = ""
    """Key of the predictions (N, M, C)."""
    scores: str = ""
    """Pattern of the score columns in the file of a member, such as `{class}_prediction`; where each member has one
    column only, the column of each file, or a pattern such as `oof_{member}` in a file of all members."""
    positive: str = ""
    """Where each member has one column only, the class whose probability it holds; the other of two classes gets the
    rest. Of 0 and 1 and of false and true it is known."""
    votes: str = ""
    """Key of vote counts (N, C), or pattern of their columns, such as `{class}_vote`."""
    shares: str = ""
    """Key of vote shares (N, C), or pattern of their columns."""
    total: str = ""
    """Key or column of the number of votes behind the shares of each row. One vote per row when there is none."""
    annotators: str = ""
    """Key of the class index that each annotator chose (N, annotators); -1 or NaN for no vote."""
    label: str = ""
    """Key or column of hard labels: class indices or names."""
    skip_unlabelled: bool = False
    """Whether rows without a label are left out, with a warning that says how many; else they are refused."""
    id: str = ""
    """Key or column of the ids. The row numbers when there is none."""
    group: str = ""
    """Key or column of what must not be split between folds. Each row is its own group when there is none."""
    fold: str = ""
    """Key or column of the fold in which each row was held out, or a pattern such as `fold*` of 0/1 columns, one per
    fold."""
    stratum: str = ""
    """Key or column of the stratum of each row. By number of votes when there is none."""
    sample_weight: str = ""
    """Key or column of the weight of each row for reasons other than its votes."""
    members: str = ""
    """Key of the names of the members."""
    classes: tuple[str, ...] = ()
    """Names of the classes, in order. Where files hold several heads, the classes of one head."""
    drop_members: tuple[str, ...] = ()
    """Members to leave out, as names or shell patterns."""
    space: Space = "proba"
    """Whether scores are probabilities or logits."""
    smoothing: float | None = None
    """For members that only name a class: probability of the named class."""
    n_folds: int = ASSIGNED_FOLDS
    """Number of group folds that are made to cross-fit combiners when the files hold no folds."""
    seed: int = 0
    """Seed for those folds."""

    def __post_init__(self) -> None:
        named = [name for name in ("votes", "shares", "annotators", "label") if getattr(self, name)]
        if len(named) > 1:
            raise OOFError(f"labels are named by {named}: name one of votes, shares, annotators or label")
        if "{class}" in self.scores and ("{member}" in self.scores or self.positive):
            raise OOFError(
                f"scores = {self.scores!r} names one column per class, but {{member}} and positive are for one column "
                "per member: leave {class} out, or leave out positive"
            )
        if self.space not in ("proba", "logit"):
            raise OOFError(
                f"space must be proba or logit, got {self.space!r}: name one of the two; "
                "members that only name a class need smoothing instead"
            )
        if self.total and not (self.shares or not named):
            raise OOFError(
                f"total goes with shares only, got total = {self.total!r} with {named[0]}: "
                "counts and hard labels carry their own total; remove total"
            )
