"""`holdfast model-server`: the test kit's fake provider as a command, so that a program in any language can use it."""

from __future__ import annotations

import signal
from types import FrameType

import click

from holdfast.cli.exit import Exit
from holdfast.cli.output import say
from holdfast.errors import UsageError


@click.command("model-server")
@click.option("--policy", metavar="FILE.py:NAME", help="What the model says; without, it repeats the user's text.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0: any free one.")
@click.option(
    "--idle-s",
    type=click.FloatRange(0, min_open=True),
    default=3600.0,
    show_default=True,
    help="End when idle so long.",
)
def model_server(policy: str | None, port: int, idle_s: float) -> int:
    """A strict local stand-in for a model provider: Anthropic, OpenAI and Gemini, with streams.

    Prints one line of JSON with its url. Ends by Ctrl-C, SIGTERM or when idle; exit code 1 when it was not used as
    planned, such as when steps of a script are left.
    """
    from holdfast.cli.source import policy_of
    from holdfast.testing.model_server import ModelServer, echo

    server = ModelServer(policy_of(policy) if policy else echo, port)
    signal.signal(signal.SIGTERM, _stopped)
    try:
        with server:
            server.serve_until_idle(idle_s)
    except OSError as error:
        raise UsageError(f"Port {port} cannot be had: {error.strerror}. Nothing was started.") from error
    except (KeyboardInterrupt, AssertionError):
        pass  # a signal is the ordinary way to end it; what the check says is said below, for every way
    problems = server.problems()
    for problem in problems:
        say(problem)
    return Exit.FAILED if problems else Exit.DONE


def _stopped(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
