"""The model server's stand-in for a model that writes a to-do program, one feature at a time.

It reads in the task which feature it is to build, writes the files of that feature, and says that it is done. Its
first attempt at `remove` is wrong, as it claims all the same: only the check finds that. It keeps no state.
"""

import re

from holdfast.testing.model_server import Reply, Request, text, tool_use

FEATURE = re.compile(r"and on no other: (\S+)\.\n")
MAIN = """import importlib
import json
import sys
from pathlib import Path

FILE = Path("tasks.json")
HERE = Path(__file__).resolve().parent


def main(words):
    names = sorted(path.stem for path in (HERE / "commands").glob("*.py"))
    if not words or words[0] not in names:
        print("commands:", ", ".join(names))
        return 2 if words else 0
    data = json.loads(FILE.read_text()) if FILE.exists() else {"next": 1, "tasks": []}
    code = importlib.import_module(f"commands.{words[0]}").run(data, words[1:])
    FILE.write_text(json.dumps(data))
    return code or 0


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    sys.exit(main(sys.argv[1:]))
"""
SHOW = """def line(task):
    return f"{task['id']} [{'x' if task['done'] else ' '}] {task['text']}"


def run(data, words):
    for task in data["tasks"]:
        print(line(task))
"""
FILES = {
    "start": {"todo.py": MAIN, "commands/help.py": 'def run(data, words):\n    print("see the list of commands")\n'},
    "add": {
        "commands/add.py": """def run(data, words):
    data["tasks"].append({"id": data["next"], "text": " ".join(words), "done": False})
    print(data["next"])
    data["next"] += 1
"""
    },
    "list": {"commands/list.py": SHOW},
    "done": {
        "commands/done.py": """def run(data, words):
    found = [task for task in data["tasks"] if str(task["id"]) == words[0]]
    for task in found:
        task["done"] = True
    return 0 if found else 1
"""
    },
    "remove": {
        "commands/remove.py": """def run(data, words):
    data["tasks"][:] = [task for task in data["tasks"] if str(task["id"]) != words[0]]
"""
    },
    "search": {
        "commands/search.py": """from commands.list import line


def run(data, words):
    for task in data["tasks"]:
        if words[0].lower() in task["text"].lower():
            print(line(task))
"""
    },
    "clear": {
        "commands/clear.py": """def run(data, words):
    data["tasks"][:] = [task for task in data["tasks"] if not task["done"]]
"""
    },
    "edit": {
        "commands/edit.py": """def run(data, words):
    for task in data["tasks"]:
        if str(task["id"]) == words[0]:
            task["text"] = " ".join(words[1:])
"""
    },
    "stats": {
        "commands/stats.py": """def run(data, words):
    done = sum(task["done"] for task in data["tasks"])
    print(f"{len(data['tasks']) - done} open, {done} done")
"""
    },
    "export": {
        "commands/export.py": """def run(data, words):
    for task in data["tasks"]:
        print(f"- [{'x' if task['done'] else ' '}] {task['text']}")
"""
    },
}
WRONG = 'def run(data, words):\n    data["tasks"].pop()\n'


def policy(request: Request) -> Reply:
    """The next file of the feature, or that it is done."""
    found = FEATURE.search(next(part.text for part in request.parts if hasattr(part, "by")))
    assert found is not None, "the task names no feature"
    refused = "The check says no" in request.last_text
    files = dict(FILES[found[1]])
    if found[1] == "remove" and not refused:
        files = {"commands/remove.py": WRONG}
    written = [call.arguments for call in request.tool_calls if call.name == "write_file"]
    for path, content in files.items():
        if {"path": path, "content": content} not in written:
            return tool_use("write_file", {"path": path, "content": content})
    return text(f"{found[1]} is done.")
