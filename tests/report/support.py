"""Runs a test file against the report's programs: FILE_test.py [DIRECTORY of report.py]. Exit code 77: skipped."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
PROGRAMS = (
    Path(sys.argv.pop(1)).resolve()
    if len(sys.argv) > 1 and Path(sys.argv[1]).is_dir()
    else HERE.parent.parent / "tools/report"
)
sys.path[:0] = [str(HERE), str(PROGRAMS)]


def main() -> None:
    missing = [name for name in ("matplotlib", "numpy", "jinja2") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"SKIPPED: {', '.join(missing)} is missing; apt-get install python3-matplotlib python3-jinja2")
        sys.exit(77)
    unittest.main(verbosity=2)


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAMS / program), *map(str, arguments)], capture_output=True, text=True, timeout=500
    )
