"""The `papermill` command, with a default output path.

papermill's own command wants two paths. Given one, it fails in a terminal, prints the whole
notebook where stdout is no terminal, and takes that one for the *output* where stdin is a pipe.
So `papermill notebooks/train.ipynb -p algo td3n_rd` would work nowhere. This is papermill's command
unchanged but for that case: an existing notebook given alone is executed into `runs/` of the
current folder. `papermill NOTEBOOK -` still prints it.

Both distributions install a script of this name, and the later one stays. pip installs papermill
first because rdlib depends on it; after an upgrade of papermill alone, install rdlib again.
"""

import copy
import sys
from pathlib import Path
from typing import Any

import papermill.cli

RUNS = Path("runs")


def default_output(notebook: str | None, output: str | None) -> Path | None:
    """Where a notebook given alone goes; None where the caller's paths stand as they are."""
    if output or not notebook or not notebook.endswith(".ipynb") or not Path(notebook).is_file():
        return None
    target = RUNS / Path(notebook).name
    # A notebook that lies in runs/ itself would be written over: leave that one to papermill.
    return None if target.resolve() == Path(notebook).resolve() else target


def run(**options: Any) -> None:
    """papermill's callback; click has parsed the options before."""
    target = default_output(options["notebook_path"], options["output_path"])
    if target and not options["help_notebook"]:
        target.parent.mkdir(parents=True, exist_ok=True)
        print(f"papermill: no output path given, writing {target}", file=sys.stderr)
        options["output_path"] = str(target)
    papermill.cli.papermill.callback(**options)


def main() -> None:
    """Console entry point `papermill`."""
    command = copy.copy(papermill.cli.papermill)
    command.callback = run
    command(prog_name="papermill")


if __name__ == "__main__":
    main()
