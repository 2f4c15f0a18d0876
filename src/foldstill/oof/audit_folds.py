"""A1 and A2: does each group stay in one fold, and do the folds prove that every score was held out?"""

from typing import ClassVar

import numpy as np

from foldstill.data.folds import torn_groups
from foldstill.oof.audit_check import AuditInput, Check, finding
from foldstill.oof.findings import Finding, Severity


class GroupsInOneFold(Check):
    """Looks for groups that are split between folds.

    A group in two folds lets a member score rows of a group on which it was trained.
    """

    id: ClassVar[str] = "A1"
    title: ClassVar[str] = "groups in one fold"
    severity: ClassVar[Severity] = "hard"

    def check(self, inputs: AuditInput) -> Finding:
        table = inputs.table
        torn = torn_groups(table.labels.groups, table.fold_N)
        n_groups = len(np.unique(table.labels.groups))
        sizes = [int((table.fold_N == fold).sum()) for fold in table.folds]
        if len(torn):
            return finding(
                self,
                "fail",
                f"{len(torn)} of {n_groups} groups are in several folds; first: {torn[:3].tolist()}.",
                "name the group that the members' folds were made by, or train them again on folds made by this group",
            )
        return finding(
            self,
            "pass",
            f"{len(table)} rows of {n_groups} groups, "
            f"each in one of {len(sizes)} folds ({min(sizes)} to {max(sizes)} rows).",
        )


class Provenance(Check):
    """Asks whether the folds prove that each score was held out.

    Only folds of our own training loop prove that no member scored a row of a group it had seen.
    """

    id: ClassVar[str] = "A2"
    title: ClassVar[str] = "held-out provenance"

    def check(self, inputs: AuditInput) -> Finding:
        table = inputs.table
        if table.plan_digest and table.made_elsewhere:
            names = ", ".join(table.made_elsewhere[:4]) + (", ..." if len(table.made_elsewhere) > 4 else "")
            return finding(
                self,
                "warn",
                f"{len(table.made_elsewhere)} of {len(table.members)} members were made elsewhere ({names}): nothing "
                "proves that each row was scored by a model that had not seen its group.",
                "check that they were trained with the folds of the plan; A5 to A7 look for traces of leaks",
            )
        if table.plan_digest:
            return finding(self, "pass", f"Members were trained on fold plan {table.plan_digest}.")
        if table.folds_assigned:
            return finding(
                self,
                "warn",
                "The table came without folds; those in it were made for cross-fitting combiners only.",
                "import the folds the members were trained with, or be sure that no member saw these rows",
            )
        return finding(
            self,
            "warn",
            "Folds were imported: nothing proves that each row was scored by a model that had not seen its group.",
            "check how the members were trained; A5 to A7 look for traces of leaks",
        )
