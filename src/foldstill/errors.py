"""What a user's mistake raises: one class per package, each a sentence with what was wanted, what came, where and the cure."""


class FoldstillError(ValueError):
    """A mistake in what was given, not in foldstill; the command line prints its sentence and exits with code 2."""


class DataError(FoldstillError):
    """Labels, votes, inputs or files that do not hold what they should."""


class FoldError(FoldstillError):
    """A fold plan that cannot be made, or that would leak."""


class MemberError(FoldstillError):
    """A member that cannot be built or trained."""


class OOFError(FoldstillError):
    """A score table that is not what it claims to be."""


class StackError(FoldstillError):
    """A combiner that cannot be fitted or applied."""


class DistillError(FoldstillError):
    """A student, target or export that cannot be made."""


class CompareError(FoldstillError):
    """Arms that cannot be compared."""


class CostError(FoldstillError):
    """A cost that cannot be counted or measured."""


class ExperimentError(FoldstillError):
    """An experiment file or a run folder that does not fit."""
