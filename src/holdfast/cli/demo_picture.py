"""The demo's one screen: what each process did for which ticket, and the verdict. Plain text, no colour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from holdfast.cli.demo_measure import Doubt, Measured, Share
from holdfast.core.budget import USD_NANO
from holdfast.core.events import Charge, StepKind
from holdfast.testing.ledger import Effect
from holdfast.views.text import safe_text

WIDTH = 80


def picture(seen: Measured) -> str:
    """All of it."""
    return "\n".join([*_tickets(seen), "", *_facts(seen), "", _verdict(seen)])


def _tickets(seen: Measured) -> Iterator[str]:
    killed, next_one = seen.pids
    yield f" An agent closes {len(seen.tickets)} refund tickets. It is killed in the middle of one, and goes on."
    yield ""
    yield f" {'step':>4}  {'ticket':6}  {'model calls':11}  {'effects':18}  outcome"
    yield from _rows(seen, seen.before, is_before=True)
    yield f"{f' SIGKILL to process {killed}; process {next_one} goes on ':-^{WIDTH}}"
    yield from _rows(seen, seen.after, is_before=False)


def _rows(seen: Measured, shares: Mapping[str, Share], *, is_before: bool) -> Iterator[str]:
    for step, ticket in enumerate(seen.tickets, 1):
        share = shares.get(ticket)
        if share is None:
            continue
        outcome = seen.results.get(ticket, "no result")
        if step == seen.killed_at:
            outcome = f"killed in {seen.killed_in}: in doubt" if is_before else _settled(seen, ticket)
        effects = ", ".join(map(_effect, share.effects)) or "-"
        yield _cut(f" {step:>4}  {ticket:6}  {share.model_calls or '-':<11}  {effects:18}  {outcome}")


def _effect(effect: Effect) -> str:
    cents = effect.args.get("cents")
    return effect.name if cents is None else f"{effect.name} {cents / 100:.2f}"


def _settled(seen: Measured, ticket: str) -> str:
    return "; ".join(f"verify said {_said(doubt)}" for doubt in seen.doubts if doubt.ticket == ticket)


def _said(doubt: Doubt) -> str:
    return ", ".join(doubt.said).replace("_", " ")


def _cut(line: str) -> str:
    shown = safe_text(line)
    return shown if len(shown) <= WIDTH else shown[: WIDTH - 1] + "…"


def _facts(seen: Measured) -> Iterator[str]:
    total, kept, spent = len(seen.tickets), seen.kept, seen.spent
    names = ", ".join(f"{count} {name}" for name, count in sorted(seen.effects.items()))
    cap = "" if seen.usd_max is None else f" (cap {seen.usd_max / USD_NANO:.2f})"
    yield f" killed at    step {seen.killed_at} of {total}: {seen.killed_in} begun, no outcome in the journal"
    yield f" resumed at   step {seen.resumed_at} of {total}, by the same command in a new process"
    yield (
        f" kept         {kept.total()} recorded steps ({kept[StepKind.MODEL]} model calls, {kept[StepKind.TOOL]} tool "
        f"calls); {seen.redone} done again"
    )
    yield f" in doubt     {len(seen.doubts)}{''.join(_doubt(doubt, seen.keys) for doubt in seen.doubts)}"
    yield f" effects      {seen.effects.total()} in the ledger ({names}): {seen.repeated} repeated, {seen.lost} lost"
    yield f" model calls  {seen.model_calls} at the model server: {seen.model_calls_repeated} repeated"
    yield (
        f" spent        {_usd(spent)} USD{cap}, {spent.tokens:,} tokens; before the kill {_usd(seen.spent_at_kill)} USD"
    )


def _usd(spent: Charge) -> str:
    return f"{spent.usd_nano / USD_NANO:.4f}"


def _doubt(doubt: Doubt, keys: Sequence[str]) -> str:
    sent = "sent again, same key" if len(set(keys)) == 1 else f"sent {len(keys)} times, under {len(set(keys))} keys"
    then = "taken as the outcome" if len(keys) == 1 and doubt.served else sent
    return f": {doubt.name} of {doubt.ticket}; verify said {_said(doubt)}: {then}"


def _verdict(seen: Measured) -> str:
    if seen.faults:
        return f" NOT AS PROMISED: {'; '.join(seen.faults)}."
    return " Nothing was done twice, and nothing was lost."
