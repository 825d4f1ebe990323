"""Gives each policy one colour, marker and line over all figures, and figures their inks.

Colours: Okabe and Ito's set for the colour-blind, filled up from Paul Tol's "muted"; yellow is left out (unreadable on
white). Every contender also has a marker of its own, so that no figure needs colour to be read. Pages swap the hex values of
LIGHT for CSS variables (page.py), with those of DARK on dark screens: each value here must be used for nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LIGHT = {
    "ink": "#1b1f25",
    "muted": "#646b75",
    "grid": "#d8dde3",
    "paper": "#fefefe",
    "stall": "#c3352b",
    "compute": "#b9c0c9",
    "blue": "#0072b2",
    "vermillion": "#d55e00",
    "green": "#009e73",
    "pink": "#cc79a7",
    "orange": "#e69f00",
    "sky": "#56b4e9",
    "wine": "#882255",
    "olive": "#999933",
    "grey": "#808790",
    "indigo": "#332288",
}
DARK = {
    "ink": "#e8eaed",
    "muted": "#a0a7b1",
    "grid": "#363c45",
    "paper": "#15181d",
    "stall": "#ff7a6e",
    "compute": "#5d6570",
    "blue": "#4aa8e6",
    "vermillion": "#ff8640",
    "green": "#2fc79a",
    "pink": "#e6a2c8",
    "orange": "#f2b84a",
    "sky": "#8ad0fa",
    "wine": "#d0679f",
    "olive": "#c3c35c",
    "grey": "#a3a9b2",
    "indigo": "#9b8cf0",
}

INK, MUTED, GRID, PAPER = (LIGHT[name] for name in ("ink", "muted", "grid", "paper"))
STALL, COMPUTE = LIGHT["stall"], LIGHT["compute"]

# Policies that most experiments have look alike in all reports.
_KNOWN = {
    "sti": "blue",
    "elastic": "vermillion",
    "greedy-byte": "green",
    "knapsack": "pink",
    "std-pipeline": "orange",
    "load-exec": "sky",
    "preload": "wine",
    "fixed": "olive",
    "random": "grey",
    "optimal": "ink",
}
_FREE = ("blue", "vermillion", "green", "pink", "orange", "sky", "wine", "olive", "indigo", "grey")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*", "d", "8")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))

# Bits: few light, many dark, exact darkest. Steps of viridis, whose lightness rises evenly: the colour-blind, and prints in
# grey, keep the order.
_BITS = {1: "#fef3a5", 2: "#fde725", 3: "#a0da39", 4: "#4ac16d", 5: "#1fa187", 6: "#277f8e", 7: "#365c8d", 8: "#46327e"}
EXACT_COLOUR = "#3b0a50"
ABSENT = LIGHT["grid"]


def bits_colour(bits: int) -> str:
    return ABSENT if bits <= 0 else _BITS.get(bits, EXACT_COLOUR if bits > 8 else _BITS[8])


def bits_ink(bits: int) -> str:
    """Readable on bits_colour(), on light and dark pages alike."""
    return "#11151a" if bits <= 5 else "#f4f6f8"


@dataclass(frozen=True)
class Look:
    colour: str
    marker: str
    line: Any  # as matplotlib takes it
    name: str  # of the colour, for style sheets


def looks(labels: list[str]) -> dict[str, Look]:
    """Known policies get their own colour; others what is free, in order; when all are used, again with another dash."""
    taken = {_KNOWN[label] for label in labels if label in _KNOWN}
    free = [name for name in _FREE if name not in taken]
    found: dict[str, Look] = {}
    others = 0
    for i, label in enumerate(labels):
        marker = _MARKERS[i % len(_MARKERS)]
        if label in _KNOWN:
            name = _KNOWN[label]
            dash = _DASHES[2] if name == "ink" else _DASHES[0]
        else:
            pool = free if others < len(free) else list(_FREE)
            name = pool[others % len(pool)]
            dash = _DASHES[0] if others < len(free) else _DASHES[1 + (others - len(free)) // len(_FREE) % 3]
            others += 1
        found[label] = Look(LIGHT[name], marker, dash, name)
    return found
