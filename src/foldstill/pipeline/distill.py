"""The student and its twin without a teacher, taught on the same rows at the same budget."""

from foldstill.errors import DistillError
from foldstill.oof.store import read_scores, read_table, write_scores
from foldstill.pipeline.run import Run
