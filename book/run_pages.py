"""Runs the notebooks into the book's cache, two at a time: python book/run_pages.py [NOTEBOOK ...]

`jupyter-book build` then shows what ran here and runs nothing itself. A notebook whose code is in the cache
does not run again. Of one in which a cell fails the traceback is printed, and this exits with 1.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nbformat
import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.cache.main import JupyterCacheBase
from jupyter_cache.executors.utils import ExecutionResult, single_nb_execution

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = yaml.safe_load((ROOT / "_config.yml").read_text())["execute"]["timeout"]  # seconds a cell


def execute(path: Path) -> ExecutionResult:
    """`path`, run where it lies."""
    page = nbformat.read(path, as_version=4)
    return single_nb_execution(page, cwd=str(path.parent), timeout=TIMEOUT, allow_errors=False)


def missing(paths: list[Path], cache: JupyterCacheBase) -> list[Path]:
    """Those whose code is not in the cache."""
    found = []
    for path in paths:
        try:
            cache.match_cache_notebook(nbformat.read(path, as_version=4))
        except KeyError:
            found.append(path)
    return found


def main(paths: list[Path], folder: Path = ROOT / "_build/.jupyter_cache") -> int:
    """Run what is missing of `paths`; 1 where a cell fails."""
    cache, failed = get_cache(str(folder)), 0
    paths = missing(paths, cache)
    with ProcessPoolExecutor(2) as pool:
        for path, result in zip(paths, pool.map(execute, paths)):
            if result.err:
                failed = 1
                print(f"{path}\n{result.exc_string}", file=sys.stderr)
                continue
            cache.cache_notebook_bundle(
                CacheBundleIn(result.nb, str(path), data={"execution_seconds": result.time}),
                check_validity=False,
                overwrite=True,
            )
            print(f"{path.name}: {result.time:.0f} s", flush=True)
    return failed


if __name__ == "__main__":
    # `train`, the longest, is last by name and begins first.
    given = [Path(word).resolve() for word in sys.argv[1:]]
    sys.exit(main(given or sorted((ROOT / "notebooks").glob("*.ipynb"), reverse=True)))
