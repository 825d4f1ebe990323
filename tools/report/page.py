"""Assembles the page: one file with its figures, style and script inside, that opens without a network."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import jinja2
from markupsafe import Markup, escape

from differences import DifferencesAt
from drawing import Drawn
from palette import DARK, LIGHT
from tables import Table

HERE = Path(__file__).resolve().parent


@dataclass
class Section:
    name: str
    title: str
    text: str = ""
    figures: list[Drawn] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    differences: list[DifferencesAt] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        return not (self.figures or self.tables or self.differences)


@dataclass
class Page:
    title: str
    facts: list[tuple[str, str]]
    command: str
    again: str
    experiment: str
    remarks: list[str]
    errors: Optional[Table]
    sections: list[Section]
    rows: int


_SWAPPED = {value: f"var(--{name})" for name, value in LIGHT.items()}
_COLOURS = re.compile("|".join(map(re.escape, _SWAPPED)), re.IGNORECASE)
_IDS = re.compile(r'(\bid="|href="#|url\(#)')
_FONT = re.compile(r"'DejaVu Sans'[^;\"]*")


def inline_svg(drawn: Drawn) -> str:
    """The figure for the page: no prolog, ids of its own, colours that follow the reader's light or dark, and its title."""
    svg = drawn.svg[drawn.svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    svg = _IDS.sub(lambda match: f"{match[1]}{drawn.name}-", svg)
    svg = _COLOURS.sub(lambda match: _SWAPPED[match[0].lower()], svg)
    svg = _FONT.sub("var(--figure-font)", svg)
    width = re.search(r'<svg[^>]*?\swidth="([0-9.]+)pt"', svg)
    size = f' style="width: {float(width[1]) * 4 / 3:.0f}px"' if width else ""
    svg = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(drawn.title)}"{size}', 1)


def _variables(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())


def render(page: Page) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["inline"] = lambda drawn: Markup(inline_svg(drawn))
    style = (HERE / "page.css").read_text(encoding="utf-8")
    script = (HERE / "page.js").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        page=page, light=_variables(LIGHT), dark=_variables(DARK), style=style, script=script
    )
