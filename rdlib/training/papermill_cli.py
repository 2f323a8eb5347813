"""`papermill NOTEBOOK -p NAME VALUE` without an output path.

papermill's own command wants two paths. Given one, it fails in a terminal, prints the whole notebook where
stdout is no terminal, and takes that one for the *output* where stdin is a pipe. So
`papermill notebooks/train.ipynb -p algo td3n_rd` would work nowhere.

rdlib does not replace that command. It registers a place to write to (entry point `papermill.io`), which
papermill loads when it starts; without rdlib, papermill is as it was. Where the command has one notebook
and no output path, this place becomes its output: the executed notebook lies beside its records, in
runs/ALGO/DATASET, or in runs/ where it trains nothing. Until it has run to its end its name is
`….unfinished.ipynb`, so that a run that is refused or stops writes over none that is whole.
"""

import atexit
import json
import sys
from pathlib import Path
from typing import Any

PLACE = "rdlib-runs.ipynb"  # stands for the path that is known once the notebook's parameters are
# papermill's options: how many words follow each. A test compares them with papermill's.
FOLLOW = {
    2: "-p --parameters -r --parameters_raw",
    1: "-f --parameters_file -y --parameters_yaml -b --parameters_base64 --engine --autosave-cell-every -k "
    "--kernel -l --language --cwd --stdout-file --stderr-file --log-level --start-timeout --start_timeout "
    "--execution-timeout",
    0: "--inject-input-path --inject-output-path --inject-paths --request-save-on-cell-execute "
    "--no-request-save-on-cell-execute --prepare-only --prepare-execute --progress-bar --no-progress-bar "
    "--log-output --no-log-output --report-mode --no-report-mode",
}
OPTIONS = {option: count for count, options in FOLLOW.items() for option in options.split()}


def completed(words: list[str]) -> list[str]:
    """papermill's arguments, with PLACE as the output path if they name one notebook that exists, and only
    that. Options that are not known here are papermill's business: then nothing is added."""
    paths, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        name, equals, _ = word.partition("=")
        if word == "-" or not word.startswith("-"):
            paths.append(word)
        elif name not in OPTIONS:
            return words
        elif not equals:
            del rest[: OPTIONS[name]]
    one = len(paths) == 1 and paths[0].endswith(".ipynb") and Path(paths[0]).is_file()
    return [*words, PLACE] if one else words


class Runs:
    """What papermill writes notebooks to. One notebook is written many times while it runs."""

    def __init__(self) -> None:
        self.target: Path | None = None  # of the notebook, once it is known
        self.notebook: dict[str, Any] = {}  # as last written

    def read(self, path: str) -> str:
        """Never asked for: no notebook is read from here."""
        raise FileNotFoundError(path)

    def listdir(self, path: str) -> list[str]:
        """Nothing is listed."""
        return []

    def pretty_path(self, path: str) -> str:
        """What papermill logs before the notebook is read."""
        return f"{self.target}" if self.target else "below runs/"

    def write(self, content: str, path: str) -> None:
        """Write the notebook as it stands. Ends the process in one line where that cannot be done."""
        notebook = json.loads(content)
        if self.target is None:
            self.target = (Path.cwd() / target(notebook)).absolute()
            if self.target == Path(notebook["metadata"]["papermill"]["input_path"]).absolute():
                sys.exit(f"papermill: {self.target} would be written over; give an output path")
            print(f"papermill: no output path given, writing {_short(self.target)}", file=sys.stderr)
            atexit.register(self.tell)
        notebook["metadata"]["papermill"]["output_path"] = str(self.target)
        part = self.target.with_suffix(".unfinished.ipynb")
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            if is_whole(notebook):
                part.replace(self.target)
        except OSError as error:
            sys.exit(f"papermill: cannot write {part}: {error.strerror}; give an output path")
        self.notebook = notebook

    def tell(self) -> None:
        """Say at the end where a notebook that did not come to its own stands."""
        if self.target is None or not self.notebook or is_whole(self.notebook):
            return
        begun = (self.target.parent / "checkpoint.safetensors").exists()
        said = "what ran is in " + str(_short(self.target.with_suffix(".unfinished.ipynb")))
        if begun and not errors(self.notebook) - {"KeyboardInterrupt"}:
            said += "; the same command resumes the run from its last checkpoint"
        print(f"papermill: not finished; {said}", file=sys.stderr)


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def errors(notebook: dict[str, Any]) -> set[str]:
    """The names of the errors that its cells ended in."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    return {output["ename"] for output in outputs if output["output_type"] == "error"}


def target(notebook: dict[str, Any]) -> Path:
    """Where the executed notebook goes: beside the records of the run that its parameters ask for, or in
    runs/ where they ask for none, or for one that is refused."""
    from rdlib.engine.config import ConfigError
    from rdlib.training.parameters import from_notebook, literals

    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if {"parameters", "injected-parameters"} & set(cell["metadata"].get("tags", ())):
            names |= literals("".join(cell["source"]))
    folder = Path("runs")
    if {"algo", "dataset", "out"} <= names.keys():
        try:
            folder = from_notebook(names).folder
        except ConfigError:
            pass  # the notebook itself says so
    return folder / Path(notebook["metadata"]["papermill"]["input_path"]).name


def is_whole(notebook: dict[str, Any]) -> bool:
    """Whether all cells have run without an error, or none was to run (--prepare-only)."""
    about = notebook["metadata"]["papermill"]
    code = [c for c in notebook["cells"] if c["cell_type"] == "code" and "".join(c["source"]).strip()]
    ran = about.get("end_time") is not None and all(cell["execution_count"] for cell in code)
    return not errors(notebook) and (ran or "start_time" not in about)


def _is_papermill(words: list[str]) -> bool:
    """Whether this process is papermill's command."""
    name = Path(words[0]).name if words else ""
    module = ("-m", "papermill") in zip(sys.orig_argv, sys.orig_argv[1:])
    return name.startswith("papermill") or (module and name == "-m")


RUNS = Runs()
if _is_papermill(sys.argv):
    sys.argv[1:] = completed(sys.argv[1:])
