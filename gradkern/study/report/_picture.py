"""A figure as files and in a page: drawn once, with what it shows in words and in numbers."""

import base64
import gzip
import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from gradkern.plotting._style import STYLE
from gradkern.plotting._turned.scene import Scene

# what layouts fit needs no second drawing to find its edges
_WHOLE = STYLE | {"savefig.bbox": "standard"}

_LONG = 100_000  # characters of a table, beyond which it is compressed in the page


@dataclass(frozen=True)
class Picture:
    """A figure as a file and in the page.

    Attributes
    ----------
    name : of its files, without a suffix
    caption : what it shows, below it
    png, svg : the figure; text of the SVG is text
    alt : what it shows, for who cannot see it; "": the caption
    data : its numbers, as CSV; "": none
    topic : heading that it stands under
    scene : the same, to be turned in the page; None: it cannot be
    """

    name: str
    caption: str
    png: bytes
    svg: bytes = b""
    alt: str = ""
    data: str = ""
    topic: str = "Figures"
    scene: Scene | None = None

    @classmethod
    def of(
        cls,
        name: str,
        caption: str,
        figure: Figure,
        *,
        alt: str = "",
        data: pd.DataFrame | None = None,
        topic: str = "Figures",
        scene: Scene | None = None,
    ) -> "Picture":
        """Draw the figure, once: a second drawing may differ by a pixel."""
        png, svg = io.BytesIO(), io.BytesIO()
        with mpl.rc_context(_WHOLE):
            figure.savefig(png, format="png", metadata={"Software": "gradkern"})
            figure.savefig(svg, format="svg", metadata={"Date": None})
        table = "" if data is None else data.to_csv(index=False)
        return cls(name, caption, png.getvalue(), svg.getvalue(), alt, table, topic, scene)

    def write(self, folder: Path) -> None:
        """Write NAME.png, and NAME.svg and NAME.csv if there are such."""
        (folder / f"{self.name}.png").write_bytes(self.png)
        if self.svg:
            (folder / f"{self.name}.svg").write_bytes(self.svg)
        if self.data:
            (folder / f"{self.name}.csv").write_text(self.data, encoding="utf-8")

    def source(self) -> str:
        """The picture as a data URI."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"

    def table(self) -> str:
        """Its numbers as a data URI, compressed where they are many."""
        data = self.data.encode()
        if self.table_name.endswith(".gz"):
            return f"data:application/gzip;base64,{base64.b64encode(gzip.compress(data, mtime=0)).decode()}"
        return f"data:text/csv;charset=utf-8;base64,{base64.b64encode(data).decode()}"

    @property
    def table_name(self) -> str:
        """What the file is called that the page gives of its numbers."""
        return f"{self.name}.csv{'.gz' if len(self.data) > _LONG else ''}"
