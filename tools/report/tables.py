"""Tables as values: what the page shows and sorts by. No HTML here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional, Union

Sortable = Union[float, str, None]


@dataclass(frozen=True)
class Cell:
    text: str
    sort: Sortable = None  # None: sorts last
    style: str = ""  # CSS classes
    hint: str = ""  # shown on hovering
    heat: Optional[float] = None  # 0 to 1: how strongly it is tinted
    colour: str = ""  # name of a contender's colour


@dataclass
class Table:
    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""
    filterable: bool = False
    folded: bool = False  # behind a line to click
    numeric: set[int] = field(default_factory=set)  # columns that are set flush right

    def __post_init__(self) -> None:
        if not self.numeric:
            self.numeric = {
                i
                for i in range(len(self.columns))
                if any(isinstance(row[i].sort, (int, float)) for row in self.rows if i < len(row))
            }


def words(text: str, style: str = "", hint: str = "") -> Cell:
    return Cell(text, text, style, hint)


def contender(label: str, colour: str) -> Cell:
    return Cell(label, label, "contender", colour=colour)


def quantity(value: Optional[float], text: str, **more: object) -> Cell:
    return Cell(text, value, **more)  # type: ignore[arg-type]
