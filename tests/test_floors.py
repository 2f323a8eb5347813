"""The floors of the house: a module imports only from its own floor or below, and never in circles."""

import ast
import re
from pathlib import Path

import pytest

import rdlib

ROOT = Path(rdlib.__file__).parent
FLOORS = {
    4: ("train", "groups", "plan", "grid", "online", "cli", "__main__", "bench", "projection",
        "papermill_cli", "policy", "video"),
    3: ("algos", "evaluate", "toy", "watch"),
    2: ("rd", "kernel", "engine", "graphs", "compiled", "roofline", "data", "rows", "tables", "compare",
        "typeset", "plots", "slider"),
    1: ("nets", "denoiser", "rng", "checkpoint", "simulate", "results", "stats", "matmul", "memory"),
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}
# catalog asks for the behaviour policies only when a bundled dataset is rolled out.
LAZY = {("rdlib.data.catalog", "rdlib.data.behaviour")}


def module_name(path: Path) -> str:
    parts = ["rdlib", *path.relative_to(ROOT).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(p): p for p in sorted(ROOT.rglob("*.py"))}


def imported(name: str, source: str, package: bool, modules=MODULES) -> set[str]:
    """The modules of rdlib that `source` imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                up = parts[: len(parts) - node.level + package]
                base = ".".join([*up, *([node.module] if node.module else [])])
            within = {f"{base}.{a.name}" for a in node.names} & modules.keys()
            found |= within if len(within) == len(node.names) else {base} | within
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module"
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            found.add(node.args[0].value)
    return {m for m in found & modules.keys() if m != name}


def imports_of(name: str) -> set[str]:
    path = MODULES[name]
    return imported(name, path.read_text(), path.name == "__init__.py")


def floor(name: str) -> int | None:
    parts = name.split(".")
    return None if len(parts) == 1 else FLOOR_OF[parts[1]]


@pytest.mark.parametrize("name", sorted(MODULES.keys() - {"rdlib"}))
def test_a_module_imports_only_from_its_floor_or_below(name):
    room = name.split(".")[1]
    assert room in FLOOR_OF, f"rdlib.{room} stands on no floor: add it here and to the design"
    for other in imports_of(name) - {"rdlib"}:
        assert floor(other) <= floor(name), f"{name} (floor {floor(name)}) imports {other}"


def circle(edges: dict[str, set[str]]) -> list[str] | None:
    """A closed walk, or None."""
    done: set[str] = set()

    def visit(at: str, path: list[str]) -> list[str] | None:
        if at in path:
            return [*path[path.index(at) :], at]
        if at in done:
            return None
        for to in sorted(edges.get(at, ())):
            if found := visit(to, [*path, at]):
                return found
        done.add(at)
        return None

    for start in sorted(edges):
        if found := visit(start, []):
            return found
    return None


def with_packages(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """Importing a.b.c runs a.b first: an edge to it for everybody outside of a.b."""
    full = {}
    for name, targets in edges.items():
        more = set(targets)
        for target in targets:
            parent = target.rpartition(".")[0]
            if parent in edges and parent != "rdlib" and not f"{name}.".startswith(f"{parent}."):
                more.add(parent)
        full[name] = more
    return full


def test_there_are_no_import_circles():
    # The package's own doors name train and plan, and open them only when asked.
    edges = {name: imports_of(name) - {"rdlib"} for name in MODULES if name != "rdlib"}
    assert circle(with_packages(edges)) is None


def test_the_lazy_import_of_the_behaviour_policies_is_all_that_is_lazy_within_data():
    assert "rdlib.data.behaviour" in imports_of("rdlib.data.catalog")
    for name, target in LAZY:
        assert name not in imports_of(target) and "rdlib.data" not in imports_of(target)


def test_rdlib_itself_imports_nothing_of_the_house_at_once():
    tree = ast.parse((ROOT / "__init__.py").read_text())
    top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {a.name for n in top for a in n.names} | {getattr(n, "module", None) for n in top}
    assert not {n for n in names if n and n.split(".")[0] in ("rdlib", "torch", "numpy")}


def test_these_tests_see_what_they_should():
    modules = {"rdlib": 1, "rdlib.train": 1, "rdlib.data": 1, "rdlib.data.d4rl": 1, "rdlib.rd": 1}

    def seen(source: str, name: str = "rdlib.nets", package: bool = False) -> set[str]:
        return imported(name, source, package, modules)

    assert seen("def f():\n  from rdlib.train import x") == {"rdlib.train"}
    assert seen("from rdlib import rd, train") == {"rdlib.rd", "rdlib.train"}
    assert seen("import rdlib.data.d4rl as d") == {"rdlib.data.d4rl"}
    assert seen("from .rd import x") == {"rdlib.rd"}
    assert seen("from . import d4rl", "rdlib.data", True) == {"rdlib.data.d4rl"}
    assert seen("from .. import rd", "rdlib.data.d4rl") == {"rdlib.rd"}
    assert seen("import_module('rdlib.train')") == {"rdlib.train"}
    assert seen("if TYPE_CHECKING:\n  from rdlib.data import d4rl") == {"rdlib.data.d4rl"}
    assert seen("from rdlib.data import d4rl, load") == {"rdlib.data", "rdlib.data.d4rl"}
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


@pytest.mark.parametrize("path", MODULES.values(), ids=MODULES)
def test_nothing_that_can_run_code_is_ever_loaded(path):
    text = path.read_text()
    for name in ("pickle", "torch.load(", "joblib", "eval(", "exec(", "allow_pickle=True"):
        assert not re.search(rf"(?<![\w.]){re.escape(name)}", text), name
