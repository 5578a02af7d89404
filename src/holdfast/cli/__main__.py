"""`holdfast`: the entry point, the table of verbs, and the one place where every error becomes words and a code.

Only click is loaded here; see the package's docstring.
"""

from __future__ import annotations

import io
import os
import sys

import click

from holdfast import __version__
from holdfast.cli.exit import HELP, Exit, code_of
from holdfast.cli.lazy import LazyGroup, Verb
from holdfast.cli.output import leave_pipe, report

VERBS = {
    "demo": Verb("holdfast.cli.demo:demo", "See an agent survive a crash."),
    "run": Verb("holdfast.cli.run:run", "Start a run, or go on with it."),
    "worker": Verb("holdfast.cli.worker:worker", "Drive the runs of agents, also those that others left behind."),
    "pause": Verb("holdfast.cli.pause:pause", "Let a run begin nothing more until it is resumed."),
    "resume": Verb("holdfast.cli.resume:resume", "Let a failed, stopped, blocked or paused run go on."),
    "ls": Verb("holdfast.cli.ls:ls", "List runs; those that need you first."),
    "show": Verb("holdfast.cli.show:show", "Where a run is, why, and what it did."),
    "search": Verb("holdfast.cli.search:search", "Find past runs by words, outcome, agent, tool, error, time, cost."),
    "inbox": Verb("holdfast.cli.inbox:inbox", "What people are asked; one question with all that belongs to it."),
    "serve": Verb("holdfast.cli.serve:serve", "The inbox as a web page, to answer in a browser."),
    "answer": Verb("holdfast.cli.answer:answer", "Answer a question of a run."),
    "signal": Verb("holdfast.cli.signal:signal", "Tell a run something it may be waiting for."),
    "cancel": Verb("holdfast.cli.cancel:cancel", "Cancel a run; an effect in flight finishes first."),
    "channels": Verb("holdfast.cli.channels:channels", "Whom questions reach, by what, and when."),
    "tools": Verb("holdfast.cli.tools:tools", "What is switched for all runs; switch tools off and on, set policies."),
    "budget": Verb("holdfast.cli.budget:budget", "What is used and capped; set the caps of a day, of all, of a run."),
    "project": Verb("holdfast.cli.project:project", "Features of a directory: what is done, and what is next."),
    "unwind": Verb("holdfast.cli.unwind:unwind", "Undo what an ended run did, the last step first."),
    "gc": Verb("holdfast.cli.gc:gc", "Forget ended runs by policy, and give their space back."),
    "migrate": Verb("holdfast.cli.migrate:migrate", "Move all runs to another store, where they go on."),
    "doctor": Verb("holdfast.cli.doctor:doctor", "Versions, the store's health, and what is wrong."),
    "adopt": Verb("holdfast.cli.adopt:adopt", "Use a store that was moved, copied or restored."),
    "model-server": Verb("holdfast.cli.model_server:model_server", "A local stand-in for model providers, for tests."),
}


@click.group(
    "holdfast",
    cls=LazyGroup,
    verbs=VERBS,
    epilog=HELP,
    help="Keeps agents running. stdout is data, stderr the rest; --json on every reader.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="holdfast", message="%(prog)s %(version)s")
def holdfast() -> None:
    """The group of all verbs."""


def main() -> None:
    """The script `holdfast`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a locale without ✓ gets an escape, not an error
    code = command_line(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        leave_pipe()
    sys.exit(code)


def command_line(arguments: list[str]) -> int:
    """Run one command; its exit code. Shows errors, never a traceback unless HOLDFAST_DEBUG=1."""
    try:
        return int(holdfast.main(arguments, prog_name="holdfast", standalone_mode=False) or Exit.DONE)
    except (Exception, KeyboardInterrupt) as error:  # a command's top: whatever it is, the user gets words and a code
        if os.environ.get("HOLDFAST_DEBUG") == "1":
            import traceback  # not needed otherwise

            traceback.print_exception(error)
        code = code_of(error)
        report(_words(error, code), type(error).__name__, code, is_json=_wants_json(arguments))
        return code


def _words(error: BaseException, code: Exit) -> list[str]:
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = [] if context is None else [f"See `{context.command_path} --help`."]
        return [*error.format_message().splitlines(), *hint]
    if code is Exit.INTERRUPTED:
        return ["Interrupted. Nothing more was done."]
    if code is not Exit.BUG:
        return [str(error)]
    return [
        f"{type(error).__name__}: {error}",
        "This is a bug in holdfast, or the machine is out of something. What was recorded is safe.",
        "HOLDFAST_DEBUG=1 shows where it happened; please report it with that.",
    ]


def _wants_json(arguments: list[str]) -> bool:
    """Whether `--json` was asked for, also when the arguments cannot be read otherwise."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


if __name__ == "__main__":
    main()
