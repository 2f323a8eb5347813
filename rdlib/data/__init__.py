"""Datasets: names and reference scores (catalog), D4RL and Minari readers, and checked host
arrays.
"""

from rdlib.data.catalog import PAPER_DATASETS, REFERENCE_SCORES, load, names, normalised_score
from rdlib.data.checks import DataError
from rdlib.data.dataset import Dataset, cache_root

__all__ = [
    "PAPER_DATASETS",
    "REFERENCE_SCORES",
    "DataError",
    "Dataset",
    "cache_root",
    "load",
    "names",
    "normalised_score",
]
