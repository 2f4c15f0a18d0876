"""What one prediction costs: parameters, multiply-accumulates, memory, latency. Importing this imports no torch."""

from foldstill.cost.cost import Cost, total_cost
from foldstill.cost.units import percent_of, with_unit

__all__ = ["Cost", "percent_of", "total_cost", "with_unit"]
