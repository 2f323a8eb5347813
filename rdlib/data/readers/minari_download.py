"""Minari's own download, from $MINARI_REMOTE."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from rdlib.data.checks import NotFoundError
from rdlib.data.readers.cache import move_into_place, staging


def download(dataset_id: str, base: Path) -> None:
    """Bring `dataset_id` to `base`, through a hidden folder: a killed download never looks complete.
    Raises NotFoundError."""
    import minari

    try:
        with staging(base) as aside:
            with _with_variable("MINARI_DATASETS_PATH", str(aside)), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # newer versions; the folder of an earlier attempt
                minari.download_dataset(dataset_id, force_download=True)
            for metadata in sorted(aside.rglob("data/metadata.json")):
                folder = metadata.parent.parent  # a combined dataset brings its parts along
                move_into_place(folder, base, folder.relative_to(aside).as_posix())
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise NotFoundError(
            f"Minari dataset {dataset_id} is not in {base} and could not be downloaded ({reason}); "
            "check the name and the network, put the dataset below $MINARI_DATASETS_PATH, or use "
            "a bundled one (hopper-medium, door-human)"
        ) from error
    if not (base / dataset_id / "data" / "metadata.json").is_file():
        raise NotFoundError(f"Minari's download of {dataset_id} ended without bringing it to {base}")


@contextlib.contextmanager
def _with_variable(variable: str, value: str) -> Iterator[None]:
    """Set an environment variable for a while: Minari takes its root from nowhere else."""
    before = os.environ.get(variable)
    os.environ[variable] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
