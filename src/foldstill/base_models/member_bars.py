"""The progress of jobs as one bar per member."""

from __future__ import annotations

from collections.abc import Sequence

from foldstill.base_models.jobs import Job, JobProgress
from foldstill.workers import Progress, Work


class MemberBars:
    """Turns the progress of jobs into one bar per member, with the mean held-out KL of its finished models."""

    def __init__(self, work: Work, jobs: Sequence[Job], *, of_pairs: bool) -> None:
        self._report = work.report
        self._suffix, self._unit = (", pairs of folds", "pairs") if of_pairs else ("", "folds")
        self._n_models = {name: sum(job.member.name == name for job in jobs) for name in {j.member.name for j in jobs}}
        self._epochs: dict[str, dict[tuple[int, ...], int]] = {name: {} for name in self._n_models}
        self._held_out: dict[str, dict[tuple[int, ...], float]] = {name: {} for name in self._n_models}

    def __call__(self, progress: JobProgress) -> None:
        scores, n_models = self._held_out[progress.member], self._n_models[progress.member]
        notes = []
        if progress.held_out_kl is not None:
            scores[progress.folds] = progress.held_out_kl
        else:
            notes.append(f"training loss {progress.loss:.4f}")
        if scores:
            mean = sum(scores.values()) / len(scores)
            notes.append(f"held-out KL {mean:.4f} over {len(scores)} of {n_models} {self._unit}")
        # The last epoch counts when the held-out rows are scored, so that a full bar has its score.
        done = progress.epoch if progress.folds in scores else min(progress.epoch, progress.epochs - 1)
        epochs = self._epochs[progress.member]
        epochs[progress.folds] = done
        task = progress.member + self._suffix
        self._report(Progress(task, sum(epochs.values()), progress.epochs * n_models, ", ".join(notes)))
