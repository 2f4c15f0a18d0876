"""Every head of a multi-label problem from the same files of predictions: imported, stacked and compared in turn."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from foldstill.compare import Comparison, HeadsComparison, over_heads
from foldstill.compare.heads_page import write_heads_page
from foldstill.errors import CompareError, OOFError
from foldstill.files import name_problems
from foldstill.oof.import_settings import ImportSettings
from foldstill.pipeline.compare import compare_stage
from foldstill.pipeline.opening import open_imported
from foldstill.pipeline.stack import stack_stage
from foldstill.workers import Work

REPORT = "heads.html"
HEAD = "{head}"
"""What the name of a head takes the place of in the settings of an import."""


@dataclass(frozen=True)
class Choices:
    """What is stacked and by which metric, as in `stack_stage`."""

    combiners: Sequence[str] = ()
    metric: str | None = None
    accept: Sequence[str] = ()


def head_settings(settings: ImportSettings, head: str) -> ImportSettings:
    """The settings with the name of a head in place of `{head}`.

    Where they name no head, the column of the head holds its label, and its probability in the files of predictions.
    Rows without a label of the head are left out.

    >>> one = head_settings(ImportSettings(group="patient"), "liver")
    >>> one.scores, one.label, one.group
    ('liver', 'liver', 'patient')
    >>> head_settings(ImportSettings(scores="{head}_{class}", label="{head}_grade"), "liver").scores
    'liver_{class}'
    """
    named = [f.name for f in fields(ImportSettings) if HEAD in str(getattr(settings, f.name))]
    if not set(named) & {"scores", "pred"}:
        settings = replace(settings, scores=HEAD)
    if not set(named) & {"label", "votes", "shares", "annotators"}:
        settings = replace(settings, label=HEAD)
    texts = {f.name: getattr(settings, f.name) for f in fields(ImportSettings)}
    changed: dict[str, Any] = {name: text.replace(HEAD, head) for name, text in texts.items() if isinstance(text, str)}
    return replace(settings, skip_unlabelled=True, **changed)


def compare_heads(
    paths: Sequence[Path],
    heads: Sequence[str],
    settings: ImportSettings,
    out: Path,
    choices: Choices = Choices(),
    work: Work = Work(),
) -> HeadsComparison:
    """Import, audit, stack and compare every head in the folder `out`/<head>, and summarise them.

    Raises OOFError for names of heads that repeat or cannot name a folder, and what `verdict` raises of each head.
    """
    if len(set(heads)) < len(heads) or len(heads) < 2:
        raise OOFError(f"--heads must name two or more different heads, got {list(heads)}: name each column once")
    if problems := name_problems("head", heads):
        raise OOFError(f"{problems[0]}: rename its column")
    opened = {head: open_imported(paths, head_settings(settings, head), out / head, work=work) for head in heads}
    compared = {}
    for head, run in opened.items():
        stack_stage(run, choices.combiners, choices.accept, choices.metric)
        compared[head] = compare_stage(run, choices.metric)
    return over_heads(compared)


def compared_heads(folders: Sequence[Path]) -> HeadsComparison:
    """The summary of runs that were compared, one per head; a head has the name of its folder."""
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        raise CompareError(f"folders of heads must have different names, got {names}: rename one of each")
    return over_heads({name: Comparison.read(folder) for name, folder in zip(names, folders, strict=True)})


def write_summary(summary: HeadsComparison, out: Path) -> Path:
    """Write the report of a summary into a folder; it links to the reports of the heads that lie in the same folder."""
    links = {head: f"{head}/report.html" for head in summary.heads if (out / head / "report.html").exists()}
    write_heads_page(summary, out / REPORT, links)
    return out / REPORT
