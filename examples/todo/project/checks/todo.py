"""Checks of the to-do program, each by its name: `python3 checks/todo.py add`. They call it as a user does."""

import subprocess
import sys
import tempfile
from pathlib import Path

TODO = Path(__file__).resolve().parent.parent / "todo.py"


def todo(*words: str, code: int = 0) -> str:
    """What the program prints; its exit code is checked."""
    done = subprocess.run([sys.executable, "-B", str(TODO), *words], capture_output=True, text=True, timeout=20)
    assert done.returncode == code, f"todo.py {' '.join(words)} ended with {done.returncode}: {done.stderr[-500:]}"
    return done.stdout


def start() -> None:
    assert "commands" in todo()


def add() -> None:
    assert todo("add", "milk").strip() == "1"
    assert todo("add", "green", "tea").strip() == "2"


def list_() -> None:
    todo("add", "milk")
    assert todo("list") == "1 [ ] milk\n"


def done() -> None:
    todo("add", "milk")
    todo("done", "1")
    assert todo("list") == "1 [x] milk\n"
    todo("done", "7", code=1)


def remove() -> None:
    todo("add", "milk")
    todo("add", "tea")
    todo("remove", "1")
    assert todo("list") == "2 [ ] tea\n"
    assert todo("add", "rice").strip() == "3"


def search() -> None:
    todo("add", "Green tea")
    todo("add", "milk")
    assert todo("search", "TEA") == "1 [ ] Green tea\n"


def clear() -> None:
    todo("add", "milk")
    todo("add", "tea")
    todo("done", "1")
    todo("clear")
    assert todo("list") == "2 [ ] tea\n"


def edit() -> None:
    todo("add", "milk")
    todo("edit", "1", "oat", "milk")
    assert todo("list") == "1 [ ] oat milk\n"


def stats() -> None:
    todo("add", "milk")
    todo("add", "tea")
    todo("done", "2")
    assert todo("stats") == "1 open, 1 done\n"


def export() -> None:
    todo("add", "milk")
    todo("add", "tea")
    todo("done", "2")
    assert todo("export") == "- [ ] milk\n- [x] tea\n"


if __name__ == "__main__":
    import os

    name = sys.argv[1]
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        globals()["list_" if name == "list" else name]()
    print(f"{name} works")
