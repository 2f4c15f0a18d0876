"""Counts and shares as a person reads them."""


def with_unit(value: float | None) -> str:
    """A count with three digits and a unit; a dash where it was not measured.

    >>> with_unit(28_000_000), with_unit(950), with_unit(None)
    ('28 M', '950', '–')
    """
    if value is None:
        return "–"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def percent_of(part: float, total: float) -> str:
    """A share as percent, with two digits below 10 %.

    >>> percent_of(64, 1000), percent_of(118, 100), percent_of(0.052, 100)
    ('6.4 %', '118 %', '0.052 %')
    """
    share = 100 * part / total
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"
