"""Pictures behind a slider, as one piece of HTML: no network, no script beside it, keys work as well.

A notebook shows the object itself; the book, Colab and Jupyter run the few lines in `oninput`.
"""

import html
import io
import re
from collections.abc import Sequence
from urllib.parse import quote

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

_MOVE = (
    "const f=this.closest('figure'),l=f.querySelectorAll('img');"
    "l.forEach((x,i)=>{x.style.display=i==this.value?'block':'none'});"
    "const t=l[this.value].dataset.label;f.querySelector('output').textContent=t;"
    "this.setAttribute('aria-valuetext',t)"
)


def svg(figure: Figure) -> str:
    """The figure as SVG of a third of the usual size: text as text, coordinates to a hundredth of a point,
    no metadata. The same figure gives the same text. Closes the figure."""
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rdlib"}):
        figure.savefig(file, format="svg", metadata=nothing)
    plt.close(figure)
    short = re.sub(r"(\.\d\d)\d+", r"\1", file.getvalue())
    return re.sub(r"\s*\n\s*", " ", short[short.index("<svg") :])


class Slider:
    """Pictures (SVG texts), a label for each (what the slider says there), and `about`, what all of them
    show: the slider's name and the start of each picture's alt text. Starts at picture `at`."""

    def __init__(self, pictures: Sequence[str], labels: Sequence[str], about: str, at: int = 0):
        if not pictures or len(pictures) != len(labels):
            raise ValueError(
                f"{len(pictures)} pictures and {len(labels)} labels: expected as many, at least one"
            )
        if not 0 <= at < len(pictures):
            raise ValueError(f"at = {at}, expected 0 to {len(pictures) - 1}")
        self.pictures, self.labels, self.about, self.at = list(pictures), list(labels), about, at

    def _repr_html_(self) -> str:
        about, now = html.escape(self.about), html.escape(self.labels[self.at])
        images = []
        for i, (picture, label) in enumerate(zip(self.pictures, self.labels, strict=True)):
            data = quote(picture, safe=" =:/;,()'-._*!?@[]{}|+$")  # unlike base64 it compresses on its way
            shown, text = "block" if i == self.at else "none", html.escape(label)
            images.append(
                f'<img src="data:image/svg+xml,{data}" alt="{about}: {text}" data-label="{text}" '
                f'style="display:{shown};max-width:100%;height:auto">'
            )
        return (
            f'<figure class="interactive"><label>{about}<br>'
            f'<input type="range" min="0" max="{len(images) - 1}" value="{self.at}" step="1" '
            f'autocomplete="off" aria-label="{about}" aria-valuetext="{now}" oninput="{_MOVE}"></label> '
            f"<output>{now}</output>{''.join(images)}</figure>"
        )
