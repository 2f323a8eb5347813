"""What all tests share: no cache but their own, one thread, tests that say what they lacked."""

import pytest
import torch

from rdlib.engine import compiler, hardware

torch.set_num_threads(1)  # nets are tiny here, and several workers share the cores


# The longest files begin, or one worker would end with one of them while the other has nothing left.
LONGEST = ("tests/workflow/", "tests/book/test_train_notebook", "tests/training/test_papermill_cli")


def pytest_collection_modifyitems(items):
    """Tests marked gpu("what needs it") or compiler("what needs it") are skipped, by name and need, where
    there is no GPU or nothing to compile with."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
    skip_marked(items, "gpu", "" if torch.cuda.is_available() else "no CUDA device")
    if any(item.get_closest_marker("compiler") for item in items):
        skip_marked(items, "compiler", compiler.lack(torch.device("cpu")))


def skip_marked(items, name, lack):
    for item in items:
        if lack and (mark := item.get_closest_marker(name)):
            need = mark.args[0] if mark.args else item.name
            item.add_marker(pytest.mark.skip(reason=f"NOT TESTED, {lack}: {need}"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Nothing is read from or left in the user's cache."""
    monkeypatch.setenv("RDLIB_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def default_product():
    """A run chooses the matrix product for its process; the next test must not depend on it."""
    hardware.use_matmul("default")


@pytest.fixture
def same_product(monkeypatch):
    """Two runs may measure differently which matrix product is quicker, and then round differently."""
    monkeypatch.setattr(hardware, "choose_matmul", lambda device: hardware.use_matmul("default"))
