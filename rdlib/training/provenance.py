"""The versions and commit that ran."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("rdlib", "torch", "numpy", "mujoco", "gymnasium", "gymnasium-robotics", "minari")


def provenance() -> dict[str, Any]:
    """The versions and commit that a record carries."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {"versions": versions, "commit": _commit()}


def _commit() -> str | None:
    """Of this package; with a + where the package itself, not just a text beside it, has changed since.
    Where git or the repository is missing, as in a container, what RDLIB_COMMIT says."""
    here, told = Path(__file__).parents[1], os.environ.get("RDLIB_COMMIT") or None

    def git(*arguments: str) -> str:
        call = ["git", "-C", str(here), *arguments]
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if not git("ls-files", "__init__.py"):  # installed inside somebody else's repository
            return told
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return told
