"""Makes figures of one style and writes each as SVG (text stays text) and PNG."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Optional

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from palette import GRID, INK, MUTED, PAPER, Look
from wording import plain

matplotlib.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "tessera",
        "font.family": "DejaVu Sans",
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.titleweight": "bold",
        "axes.labelsize": 8.5,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.edgecolor": MUTED,
        "axes.facecolor": PAPER,
        "figure.facecolor": PAPER,
        "savefig.facecolor": PAPER,
        "axes.linewidth": 0.7,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "lines.linewidth": 1.4,
        "xtick.major.width": 0.7,
        "ytick.major.width": 0.7,
        "hatch.linewidth": 0.6,
        "path.simplify": True,
    }
)
DPI = 160


@dataclass
class Drawn:
    """A figure on its way to the page."""

    name: str  # of its files
    title: str
    caption: str
    figure: Optional[Figure]  # None once written
    section: str
    svg: str = ""


def layout_of(figure: Figure) -> Any:
    """Its constrained layout, which has settings that other layouts lack."""
    return figure.get_layout_engine()


def new_figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    layout_of(figure).set(w_pad=0.06, h_pad=0.06, wspace=0.03, hspace=0.04)
    return figure


def grid_of(count: int, columns: int) -> tuple[int, int]:
    """Rows and columns for so many panels."""
    columns = max(1, min(count, columns))
    return -(-count // columns), columns


def panels(
    count: int, columns: int, width: float, height: float, extra: float = 0.0, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """`width`, `height` of a panel; `extra` height for legends, in inches. Panels beyond `count` are removed."""
    rows, columns = grid_of(count, columns)
    figure = new_figure(max(columns * width, 4.6), rows * height + extra)
    axes = list(figure.subplots(rows, columns, squeeze=False, **shared).flat)
    for spare in axes[count:]:
        spare.remove()
    return figure, axes[:count]


def label_below(axes: list[Axes], text: str) -> None:
    """Under the lowest panel of each column."""
    for i, ax in enumerate(axes):
        spec = ax.get_subplotspec()
        if spec is None or i + spec.get_gridspec().ncols >= len(axes):
            ax.set_xlabel(text)


def policy_handle(label: str, look: Look, line: bool = True) -> Line2D:
    return Line2D(
        [], [], color=look.colour, marker=look.marker, linestyle=look.line if line else "none", markersize=5, label=label
    )


def _legend_columns(lengths: list[int], width: float) -> int:
    """As many as fit into `width` inches."""
    return max(1, min(len(lengths), int(width / (0.50 + 0.068 * max(lengths, default=1)))))


def legend_height(handles: list[Any], width: float) -> float:
    """Inches that legend_below() takes."""
    lengths = [len(str(handle.get_label())) for handle in handles]
    return 0.14 + 0.19 * -(-len(lengths) // _legend_columns(lengths, width)) if lengths else 0.0


def legend_below(figure: Figure, handles: list[Any]) -> None:
    """One legend for all panels, under them; the figure must be legend_height() higher for it."""
    width, height = figure.get_size_inches()
    lengths = [len(str(handle.get_label())) for handle in handles]
    taken = legend_height(handles, width) / height
    # Placed by hand: "outside" legends came with matplotlib 3.7, Debian 12 has 3.6.
    layout_of(figure).set(rect=(0, taken, 1, 1 - taken))
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 0.0),
        borderaxespad=0.2,
        handlelength=2.2,
        columnspacing=1.4,
        ncol=_legend_columns(lengths, width),
    )


def _plain_tick(value: float, _: Any = None) -> str:
    return plain(value, 4)


def number_axis(ax: Axes, which: str, values: Iterable[float]) -> None:
    """`which`: x or y. Linear, or logarithmic where values span more than a factor of 12; ticks are plain numbers."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    positive = [value for value in values if value > 0]
    if positive and max(positive) / min(positive) > 12:
        (ax.set_xscale if which == "x" else ax.set_yscale)("log")
        wide = max(positive) / min(positive) > 2000
        axis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=12))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(nbins=6))
    axis.set_major_formatter(FuncFormatter(_plain_tick))


def write(drawn: Drawn, directory: Path) -> list[Path]:
    """Lays out once, writes NAME.svg and NAME.png, keeps the SVG's text and frees the figure."""
    figure = drawn.figure
    assert figure is not None
    paths = [directory / f"{drawn.name}.svg", directory / f"{drawn.name}.png"]
    # By the canvases themselves: Figure.savefig would draw each figure twice more to lay it out again.
    figure.set_dpi(72)  # of SVG, whose unit is the point
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    FigureCanvasSVG(figure).print_svg(paths[0], metadata={"Date": None, "Creator": "tessera", "Title": drawn.title})
    figure.set_dpi(DPI)
    FigureCanvasAgg(figure).print_png(paths[1], metadata={"Title": drawn.title, "Software": "tessera"})
    drawn.svg = paths[0].read_text(encoding="utf-8")
    drawn.figure = None
    return paths
