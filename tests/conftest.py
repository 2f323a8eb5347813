"""What all tests share: no cache but their own, one thread, GPU tests that say why they did not run."""

import pytest
import torch

from rdlib import matmul

torch.set_num_threads(1)  # nets are tiny here, and several workers share the cores


def pytest_collection_modifyitems(items):
    """Tests marked gpu("what needs it") are skipped, by name and need, where there is no GPU."""
    if torch.cuda.is_available():
        return
    for item in items:
        if mark := item.get_closest_marker("gpu"):
            need = mark.args[0] if mark.args else item.name
            item.add_marker(pytest.mark.skip(reason=f"NOT TESTED, no CUDA device: {need}"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Nothing is read from or left in the user's cache."""
    monkeypatch.setenv("RDLIB_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def default_product():
    """A run chooses the matrix product for its process; the next test must not depend on it."""
    matmul.use("default")


@pytest.fixture
def same_product(monkeypatch):
    """Two runs may measure differently which matrix product is quicker, and then round differently."""
    monkeypatch.setattr(matmul, "choose", lambda device: matmul.use("default"))
