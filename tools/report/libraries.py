"""Finds matplotlib, numpy and jinja2, if need be with the distribution's Python in place of the one that was called."""

from __future__ import annotations

import importlib.util
import os
import sys

NEEDED = ("matplotlib", "numpy", "jinja2")
DISTRIBUTION = "/usr/bin/python3"  # where apt's packages go
_ONCE = "TESSERA_REPORT_PYTHON"  # set: already tried


def missing() -> list[str]:
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def require(program: str) -> None:
    """Returns only where all is there: starts over with the distribution's Python, or ends with the remedy."""
    lacking = missing()
    if not lacking:
        return
    if _ONCE not in os.environ and os.access(DISTRIBUTION, os.X_OK):
        os.environ[_ONCE] = sys.executable or "python3"
        os.execv(DISTRIBUTION, [DISTRIBUTION, *sys.argv])
    sys.exit(
        f"{program}: {', '.join(lacking)} cannot be imported by {sys.executable}; "
        "as root run: apt-get install python3-matplotlib python3-jinja2"
    )
