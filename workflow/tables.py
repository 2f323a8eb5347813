"""Write both tables (CSV, Markdown, LaTeX), figures (SVG) and statistics (CSV) from the records: nothing is
trained. effects.csv and summary.csv are of Table 1's pairs, correlations1.csv is of its columns.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import pandas as pd

from rdlib.engine.config import ConfigError
from rdlib.results import compare, grid, plots, tables, typeset, webtable
from rdlib.training.checkpoint import CheckpointError, write_atomically
from rdlib.training.record import RecordError

HERE = Path(__file__).parent
SCALES = {"paper": "ours", "study": "study", "quick": "quick"}
PUBLISHED = HERE.parent / "book" / "results"  # the paper's and CORL's numbers are there whatever is run


def write(results: Path, to: Path) -> list[Path]:
    """Everything that `results` gives, into `to`. Raises ConfigError, RecordError, TableError before it
    writes, CheckpointError where it cannot."""
    if not any((results / scale).is_dir() for scale in ("paper", "study", "quick")):
        raise RecordError(f"{results}: has no folder of records, paper, study or quick")
    matplotlib.use("agg")
    plots.use_style()
    files: dict[str, str] = {}
    figures = {}
    for table in (1, 2):
        boxes = tables.read(table, results)
        files[f"table{table}.csv"] = tables.frame(boxes, grid.commands()).to_csv(index=False)
        files[f"table{table}.md"] = webtable.shown(boxes).markdown
        files[f"table{table}.tex"] = typeset.latex(boxes)
        for scale in ("ours", "study", "quick"):  # smaller runs beside no number of the paper
            found = [runs for runs in (getattr(b, scale) for b in boxes) if runs]
            if found:
                shown = [b.printed for b in boxes] if scale == "ours" else []
                figures[f"table{table}-seeds-{found[0].scale}.svg"] = plots.seed_points(found, shown)
        if table == 1:
            files["effects.csv"] = of_all_scales(compare.effects, boxes)
            files["summary.csv"] = of_all_scales(compare.summary, boxes)
        files[f"correlations{table}.csv"] = of_all_scales(compare.correlations, boxes)
    for name, text in files.items():
        write_atomically(to / name, text.encode())
    for name, figure in figures.items():
        figure.savefig(to / name, metadata={"Date": None})
    return [to / name for name in (*files, *figures)]


def of_all_scales(
    statistic: Callable[[Sequence[tables.Box], str], pd.DataFrame], boxes: Sequence[tables.Box]
) -> str:
    """The rows of every scale as one CSV, the scale before each."""
    found = {scale: statistic(boxes, of) for scale, of in SCALES.items()}
    return pd.concat(found, names=["scale"]).reset_index("scale").to_csv(index=False)


def main() -> int:
    """The command of `make tables` and of the Snakefile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=PUBLISHED)
    parser.add_argument("--to", type=Path, default=Path("runs/tables"))
    a = parser.parse_args()
    try:
        print(*write(a.results, a.to), sep="\n")
    except (CheckpointError, ConfigError, RecordError, tables.TableError) as error:
        print(f"tables: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
