"""The algorithms, one file each, and the names they go by."""

from rdlib.algos.registry import ALGORITHMS, AlgorithmEntry, Recipe, build, find, names, register
from rdlib.algos.scales import Scale

__all__ = ["ALGORITHMS", "AlgorithmEntry", "Recipe", "Scale", "build", "find", "names", "register"]
