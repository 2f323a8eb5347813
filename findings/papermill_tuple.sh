#!/usr/bin/env bash
# papermill: a tuple reaches the notebook as text, and the notebook's own record says that it was a list.
#
# One would guess: execute_notebook(parameters={"seeds": (0, 1)}) sets seeds to (0, 1), or to [0, 1] as JSON would.
#   Lists and dictionaries do arrive as they are.
# What happens: the cell that papermill injects says seeds = "(0, 1)". A loop over it runs six times, over "(", "0" and
#   so on. The metadata of the executed notebook say [0, 1]: what is read there did not run. A tuple inside a list
#   becomes text likewise, and keys of a dictionary that are numbers become text: rates[0] is a KeyError.
# Why it matters: configurations of studies are frozen dataclasses, whose sequences are tuples. A notebook that only
#   passes seeds on, or counts them, runs to its end with the wrong number of runs.
# What helps: lists in parameters; a check of types in the notebook's first cell.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check papermill==2.7.0 ipykernel==7.4.0 nbformat==5.11.1 nbclient==0.11.0
cat > "$folder/run.py" <<'PYTHON'
import json
import sys
from importlib.metadata import version

import nbformat.v4 as v4
import papermill
from nbformat import write

print("papermill", version("papermill"))
defaults = "seeds = [9]\nrates = {9: 0.5}\npairs = []"
report = "import json\nprint(json.dumps([repr(seeds), len([s for s in seeds]), repr(rates), repr(pairs)]))"
kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
cells = [v4.new_code_cell(defaults, metadata={"tags": ["parameters"]}), v4.new_code_cell(report)]
given, run = f"{sys.argv[1]}/given.ipynb", f"{sys.argv[1]}/run.ipynb"
write(v4.new_notebook(cells=cells, metadata=kernel), given)


def seen(parameters):
    """What the kernel saw, and what the executed notebook says that it was given."""
    ran = papermill.execute_notebook(given, run, parameters=parameters, progress_bar=False)
    return json.loads(ran.cells[-1].outputs[0]["text"]), dict(ran.metadata.papermill["parameters"])


changed = False
for parameters in (
    {"seeds": [0, 1], "rates": {"0": 0.1}, "pairs": [[0, 1]]},
    {"seeds": (0, 1), "rates": {0: 0.1}, "pairs": [(0, 1)]},
):
    (seeds, loops, rates, pairs), record = seen(parameters)
    print(f"given {parameters}")
    print(f"  in the kernel: seeds = {seeds}, a loop over it runs {loops} times; rates = {rates}; pairs = {pairs}")
    print(f"  in the record: {record}")
    right = isinstance(parameters["seeds"], list)
    expected = [str(parameters[name]) for name in ("seeds", "rates", "pairs")]
    changed |= ([seeds, rates, pairs] == expected) != right or loops != (2 if right else 6)
    changed |= not right and [seeds, rates, pairs] != ["'(0, 1)'", "{'0': 0.1}", "['(0, 1)']"]
    changed |= list(record["seeds"]) != [0, 1]
print("changed" if changed else "as described")
sys.exit(changed)
PYTHON
"$folder/venv/bin/python" -W ignore "$folder/run.py" "$folder"
