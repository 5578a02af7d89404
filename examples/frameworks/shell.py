"""A shell command as a step, begun at most once: what it said is kept in a file, which tells what became of it."""

import subprocess
from pathlib import Path
from typing import Any

import holdfast as hf


def became(key: str, command: str) -> hf.Done | hf.NotDone | hf.Unknown:
    """What the files under this key tell; asked after a crash in the middle of a command."""
    done = Path(f"{key}.done")
    if done.exists():
        output, _, code = done.read_text("utf-8").rpartition("\n")
        return hf.Done({"output": output, "returncode": int(code), "exception_info": ""})
    return hf.Unknown("it has begun") if Path(f"{key}.part").exists() else hf.NotDone()


@hf.tool(effect="once", verify=became)
def bash(command: str, *, idempotency_key: str = hf.INJECTED) -> dict[str, Any]:
    """Run a command in a shell, in this directory."""
    kept = f"({command}\n) >$0.part 2>&1; printf '\\n%s' $? >>$0.part; mv $0.part $0.done"
    subprocess.run(["/bin/sh", "-c", kept, idempotency_key], timeout=60, check=True)
    found = became(idempotency_key, command)
    assert isinstance(found, hf.Done)
    return dict(found.result)
