"""Row `import`: whole processes, from start to exit, against a Python that does nothing.

`import holdfast`, `holdfast --help`, and for orientation `import holdfast; holdfast.App`, which loads the runtime.
The difference to `python -c pass` is what holdfast adds; the targets are about the whole.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from functools import partial

from bench.measure import Place, Row, Target, in_turns, median, seconds_of

COMMANDS = {
    "pass": ["-c", "pass"],
    "import": ["-c", "import holdfast"],
    "app": ["-c", "import holdfast; holdfast.App"],
    "help": ["-m", "holdfast.cli", "--help"],
}
LIMITS_S = {"import": 0.1, "help": 0.15}


def measure(place: Place) -> Row:
    """Milliseconds a process."""
    row = Row()
    commands = dict(COMMANDS)
    if importlib.util.find_spec("holdfast.cli") is None:
        del commands["help"]
        row.notes.append("help: there is no holdfast.cli yet")
    works = {name: partial(_process_s, command) for name, command in commands.items()}
    in_turns(1, **works)  # byte code and the page cache
    found = in_turns(place.count(15, 1), **works)
    row.numbers = {f"{name}_ms": median(times) * 1e3 for name, times in found.items()}
    row.ratios = {f"{name}_vs_pass": median(found[name]) / median(found["pass"]) for name in found if name != "pass"}
    row.targets = {
        f"{name}_ms": Target(row.numbers[f"{name}_ms"], limit_s * 1e3)
        for name, limit_s in LIMITS_S.items()
        if name in found
    }
    return row


def _process_s(arguments: list[str]) -> float:
    command = [sys.executable, *arguments]
    return seconds_of(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
