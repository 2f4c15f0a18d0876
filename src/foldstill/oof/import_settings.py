"""What an import needs to be told about files that others made."""

from dataclasses import dataclass

from foldstill.errors import OOFError
from foldstill.oof.arrays import ASSIGNED_FOLDS, Space
from foldstill.settings import Settings


@dataclass(frozen=True, kw_only=True)
class ImportSettings(Settings):
    """Which keys of an `.npz`, or columns of a CSV or parquet file, hold what; an empty one is guessed by usual names."""

    labels: str = ""
    """A CSV or parquet file with ids, votes and the like, when the predictions do not hold them."""
    folds: str = ""
    """A CSV or parquet file with one row an id or a group and its fold, when neither of the others holds it."""
    pred: str = ""
    """Key of the predictions (N, M, C)."""
    scores: str = ""
    """How columns of scores are named in a member's file, such as `{class}_prediction`."""
    votes: str = ""
    """Key of vote counts (N, C), or how their columns are named, such as `{class}_vote`."""
    shares: str = ""
    """Key of vote shares (N, C), or how their columns are named."""
    total: str = ""
    """Key or column of the number of votes behind a row's shares; one vote a row when there is none."""
    annotators: str = ""
    """Key of the class index each annotator chose (N, annotators), -1 or NaN for no vote."""
    label: str = ""
    """Key or column of hard labels: class index or name."""
    id: str = ""
    """Key or column of the ids; the row number when there is none."""
    group: str = ""
    """Key or column of what must not be split between folds; each row is a group of its own when there is none."""
    fold: str = ""
    """Key or column of the fold each row was held out in, or a pattern such as `fold*` of 0/1 columns, one a fold."""
    stratum: str = ""
    """Key or column of the stratum of each row; by number of votes when there is none."""
    sample_weight: str = ""
    """Key or column of how much a row counts for reasons other than its votes."""
    members: str = ""
    """Key of the members' names."""
    classes: tuple[str, ...] = ()
    """The classes in their order; where files hold several heads, those of the head wanted."""
    drop_members: tuple[str, ...] = ()
    """Members to leave out, as shell patterns."""
    space: Space = "proba"
    """Whether scores are probabilities or logits."""
    smoothing: float | None = None
    """For members that only name a class: the probability of the named class."""
    n_folds: int = ASSIGNED_FOLDS
    """Group folds made for the cross-fit of combiners when the files hold none."""
    seed: int = 0
    """Of those folds."""

    def __post_init__(self) -> None:
        named = [name for name in ("votes", "shares", "annotators", "label") if getattr(self, name)]
        if len(named) > 1:
            raise OOFError(f"labels are named by {named}: name one of votes, shares, annotators or label")
        if self.space not in ("proba", "logit"):
            raise OOFError(f"space must be proba or logit, got {self.space!r}; class numbers need smoothing instead")
        if self.total and not (self.shares or not named):
            raise OOFError("total goes with shares only: counts and hard labels carry their own total")
