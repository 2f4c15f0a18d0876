"""What foldstill expects of a data source."""

from pathlib import Path
from typing import TYPE_CHECKING

from foldstill.testing.requirements import require

if TYPE_CHECKING:
    from foldstill.data.source import DataSource


def check_source(source: "DataSource", root: Path, new_rows: Path | None = None) -> None:
    """Check that a data source keeps the promises of `DataSource`.

    Parameters
    ----------
    source : DataSource
        The source to check.
    root : Path
        Folder at which relative paths of the source start.
    new_rows : Path or None, default None
        Rows for `inputs`, in the form of the data set; None skips the checks of new rows.

    Raises
    ------
    AssertionError
        With the promise that is broken.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from foldstill.data import DigitsData
    >>> with TemporaryDirectory() as folder:
    ...     check_source(DigitsData(rows=20, size=8), Path(folder))
    """
    from foldstill.data.features import view_digest
    from foldstill.errors import FoldstillError
    from foldstill.workers import Work

    name = type(source).__name__
    require(bool(source.title and source.summary), f"{name} must have a title and a summary")
    source.prepare(root, Work(workers=1))
    require(source.is_prepared(root), f"{name}.is_prepared must be true after prepare")
    source.prepare(root, Work(workers=1))
    data, again = source.load(root), source.load(root)
    ids = data.labels.ids.tolist()
    require(len(set(ids)) == len(ids), f"{name}.load must give each row an id of its own")
    require(data.digest == again.digest, f"{name}.load must give the same data set twice")
    missing = root / "there is no such file"
    try:
        source.inputs(missing)
    except FoldstillError as error:
        require(bool(str(error)), f"{name}.inputs must name what is missing")
    else:
        raise AssertionError(f"{name}.inputs must raise FoldstillError for a missing file, it read {missing}")
    if new_rows is None:
        return
    rows, rows_again = source.inputs(new_rows), source.inputs(new_rows)
    require(len(set(rows.ids.tolist())) == len(rows.ids), f"{name}.inputs must give each row an id of its own")
    require(rows.ids.tolist() == rows_again.ids.tolist(), f"{name}.inputs must give the same ids twice")
    require(set(rows.views) == set(data.views), f"{name}.inputs must give the views of load: {sorted(data.views)}")
    for view, array in rows.views.items():
        stored = data.view(view)
        require(
            rows.recipes.get(view) in (None, data.recipes.get(view)),
            f"{name}.inputs: view {view!r} must have the recipe that load gives, {data.recipes.get(view)}, or none "
            f"where it is not known, got {rows.recipes.get(view)}",
        )
        require(len(array) == len(rows.ids), f"{name}.inputs: view {view!r} must have one row per id")
        require(
            (array.shape[1:], array.dtype) == (stored.shape[1:], stored.dtype),
            f"{name}.inputs: view {view!r} must have the shape and type that load gives, {stored.dtype} "
            f"{stored.shape[1:]}, got {array.dtype} {array.shape[1:]}",
        )
        same = view_digest(array) == view_digest(rows_again.views[view])
        require(same, f"{name}.inputs: view {view!r} must be the same twice")
