"""The algorithms, one file each, and the names they go by."""

from rdlib.algos.registry import ALGORITHMS, Entry, Recipe, build, find, names
from rdlib.algos.scales import Scale

__all__ = ["ALGORITHMS", "Entry", "Recipe", "Scale", "build", "find", "names"]
