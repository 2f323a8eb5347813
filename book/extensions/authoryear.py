"""A bibliography labelled as the text cites, by author and year; sphinxcontrib-bibtex brings numbers or
initials."""

from collections import Counter
from typing import Any

from pybtex.database import Entry
from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style as UnsrtStyle
from pybtex.style.labels import BaseLabelStyle
from sphinx.application import Sphinx


def label(entry: Entry) -> str:
    """'Ma et al., 2023'; one or two authors by name."""
    persons = entry.persons["author"]
    last = [" ".join([*p.prelast_names, *p.last_names]).strip("{}") for p in persons]
    names = " and ".join(last) if len(last) <= 2 else f"{last[0]} et al."
    return f"{names}, {entry.fields['year']}"


class Labels(BaseLabelStyle):
    """Two works of one label are told apart by a letter."""

    def format_labels(self, sorted_entries: list[Entry]):
        """The label of each entry, in order."""
        labels = [label(entry) for entry in sorted_entries]
        total, seen = Counter(labels), Counter[str]()
        for text in labels:
            yield text + (chr(ord("a") + seen[text]) if total[text] > 1 else "")
            seen[text] += 1


class Style(UnsrtStyle):
    """Plain entries, sorted by author."""

    default_label_style = Labels
    default_sorting_style = "author_year_title"


def setup(app: Sphinx) -> dict[str, Any]:
    """The style is `bibtex_default_style: authoryear`."""
    register_plugin("pybtex.style.formatting", "authoryear", Style)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
