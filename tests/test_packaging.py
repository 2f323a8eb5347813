"""pyproject.toml, the lock, environment.yml, licence, version and public address all agree."""

import ast
import re
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
import yaml
from helpers import extras
from helpers.extras import needed
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import rdlib

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = [Requirement(line) for lines in PROJECT["optional-dependencies"].values() for line in lines]
PYTHONS = ["3.11.9", "3.12.9", "3.13.9"]


def locked() -> list[Requirement]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def pins(python: str) -> dict[str, Version]:
    """What the lock installs on Linux with this Python. A name that comes twice fails."""
    where = {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": "linux",
    }
    found: dict[str, Version] = {}
    for requirement in locked():
        if requirement.marker is None or requirement.marker.evaluate(where):
            name = canonicalize_name(requirement.name)
            assert name not in found, f"{name} is pinned twice for Python {python}"
            [specifier] = requirement.specifier
            found[name] = Version(specifier.version)
    return found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("requirement", CORE + EXTRAS, ids=str)
def test_lock_satisfies_pyproject(requirement, python):
    version = pins(python).get(canonicalize_name(requirement.name))
    assert version is not None, f"{requirement.name} is not in the lock: make lock"
    assert version in requirement.specifier, f"locked {version}, wanted {requirement}: make lock"


def test_lock_fits_any_machine():
    """Exact public versions by name: no local build (+cpu), no address, no CUDA package."""
    for requirement in locked():
        assert requirement.url is None, requirement
        assert [s.operator for s in requirement.specifier] == ["=="], requirement
        assert "+" not in str(requirement.specifier), requirement
        assert not requirement.name.startswith(("nvidia", "cuda", "triton")), requirement
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_lock_keeps_what_results_were_made_with():
    """mujoco 3.5.0 changed Hopper's contact dynamics; see PINS in the Makefile."""
    for python in PYTHONS:
        assert str(pins(python)["mujoco"]) == "3.4.0"


@pytest.mark.parametrize("requirement", CORE, ids=str)
def test_core_has_lower_bounds_only(requirement):
    assert [s.operator for s in requirement.specifier] == [">="]


def test_environment_is_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == PROJECT["name"]
    *conda, pip = environment["dependencies"]
    python = Requirement(next(line for line in conda if line.startswith("python")))
    for version in PYTHONS:
        assert version in python.specifier
    assert Version("3.10") not in python.specifier
    assert pip == {"pip": ["-r requirements.lock", "-e ."]}


def test_pythons():
    supported = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if ":: Python :: 3." in c]
    assert supported == [python.rpartition(".")[0] for python in PYTHONS]
    assert PROJECT["requires-python"] == ">=3.11"


def test_version_is_everywhere_the_same():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    entries = re.findall(r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert rdlib.__version__ == str(citation["version"]) == entries[0]


def test_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    assert PROJECT["license"] == citation["license"] == "MIT"


def test_public_address_is_set_once():
    """Every link to the repository begins with [project.urls] Repository, or its form on Colab."""
    address = PROJECT["urls"]["Repository"]
    assert address.startswith("https://github.com/") and not address.endswith("/")
    slug = re.escape(address.removeprefix("https://github.com/"))
    hosts = r"(github\.com|raw\.githubusercontent\.com|colab\.research\.google\.com/github)"
    allowed = re.compile(rf"https://{hosts}/{slug}(?![\w-])")
    link = re.compile(
        r"https?://(?:[\w-]+\.)*(?:github(?:usercontent)?\.com|google\.com/github)/[^\s\"'<>)\]]*"
    )
    named = ("README.md", "CONTRIBUTING.md", "CITATION.cff", "CHANGELOG.md", "_config.yml")
    pages = [ROOT / name for name in named]
    pages += [page for folder in ("notebooks", "book") for page in (ROOT / folder).rglob("*")]
    texts = [p for p in pages if p.suffix in {".md", ".cff", ".yml", ".py", ".ipynb"} and p.is_file()]
    own = 0
    for page in texts:
        for url in link.findall(page.read_text()):
            if "/rdlib" in url or "/github/" in url:
                assert allowed.match(url), f"{page.relative_to(ROOT)}: {url} is not at {address}"
                own += 1
    assert own, "no page links to the repository"


def test_tests_import_what_only_an_extra_brings_by_needed():
    """Or a file of tests would fail where they can be skipped by name."""
    named = {name for packages in extras.EXTRAS.values() for name in packages}
    assert named - {"docutils", "jupyter_cache", "sphinx"} <= {r.name for r in EXTRAS}
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not named & {m.split(".")[0] for m in modules}, f"{path}: {modules}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel as `pip install .` builds it."""
    [path] = (
        needed("hatchling", "builders.wheel")
        .WheelBuilder(str(ROOT))
        .build(directory=str(tmp_path_factory.mktemp("dist")))
    )
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_wheel_has_the_package_and_its_data(wheel):
    inside = set(wheel.namelist())
    for path in (ROOT / "rdlib").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert path.relative_to(ROOT).as_posix() in inside
    assert any(name.startswith("rdlib/data/bundled/door_human/") for name in inside)
    assert any(re.match(r"rdlib/data/bundled/policies/.*\.safetensors$", name) for name in inside)
    assert not [name for name in inside if not name.startswith(("rdlib/", "rdlib-"))]


def test_wheel_metadata(wheel):
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = HeaderParser().parsestr(wheel.read(name).decode())
    assert metadata["Name"] == "rdlib" and metadata["Version"] == rdlib.__version__
    assert metadata["License-Expression"] == "MIT"
    needs = [Requirement(line) for line in metadata.get_all("Requires-Dist")]
    core = {r.name: r for r in needs if r.marker is None}
    assert "torch" in core and "numpy" in core
    for requirement in core.values():
        assert [s.operator for s in requirement.specifier] == [">="], requirement
    [scripts] = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    points = wheel.read(scripts).decode()
    assert "[papermill.io]\nrdlib-runs.ipynb = rdlib.training.papermill_cli:RUNS" in points
    # Of commands it brings none: `papermill` stays papermill's, and is whole after rdlib is gone.
    assert "console_scripts" not in points and not [n for n in wheel.namelist() if "/scripts/" in n]
