"""`App`: one store and one worker, for as long as it is open."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from holdfast.core import accept, query
from holdfast.core.address import run_id as id_of
from holdfast.core.books import SHARED
from holdfast.core.budget import Budget, asks_of
from holdfast.core.desk import DISABLE, ENABLE, POLICY
from holdfast.core.document import Found
from holdfast.core.override import Overrides, parse_tables
from holdfast.core.policy import Duration, seconds
from holdfast.core.query import Filters
from holdfast.errors import (
    MessageRefused,
    NotFound,
    RunMismatch,
    UsageError,
)
from holdfast.journal.codec import digest, encode
from holdfast.journal.lookup import Looked, search
from holdfast.journal.open import open_journal
from holdfast.protocols import Clock, Escalation, Journal, Post
from holdfast.runtime import current, preflight
from holdfast.runtime.agent import Agent
from holdfast.runtime.answering import check as check_answer
from holdfast.runtime.asking import late
from holdfast.runtime.chapter import newest
from holdfast.runtime.clock import StoreTime, SystemClock
from holdfast.runtime.config import Config, load
from holdfast.runtime.desk import carry_out, check_operator, order
from holdfast.runtime.escalating import catch_up
from holdfast.runtime.gate import Gate
from holdfast.runtime.lasting import keep
from holdfast.runtime.outcome import checked_key, result_of, until_over
from holdfast.runtime.policies import Policies
from holdfast.runtime.pricing import check_prices
from holdfast.runtime.progress import OnEmit, Watch, Watchers
from holdfast.runtime.scribe import Scribe
from holdfast.runtime.settings import Services, Settings
from holdfast.runtime.thread import in_thread, is_running_here, run_blocking
from holdfast.runtime.tool import declared_specs
from holdfast.runtime.worker import Worker

I = TypeVar("I")  # noqa: E741 - input
O = TypeVar("O")  # noqa: E741 - output


class App:
    """Keeps agents running on one store.

    store: `sqlite:///holdfast.db`, a path ending in .db, or `memory:`. agents: whose due runs this app takes by
    itself, also those that another process left behind; an agent that is passed to `start` or `run` is added.
    config: a `holdfast.toml`; ./holdfast.toml when it exists. on_emit: called with (run id, data) for each `run.emit`.
    policies: what is set of tools' policies, over the file, such as {"find_invoice": {"retry.attempts": 2}}.
    inbox: who tells people of what runs ask; a `holdfast.inbox.Inbox` belongs to one App.
    Open it with `async with app:`; `run_sync` opens and closes it by itself.
    """

    def __init__(
        self,
        store: str | Journal = "sqlite:///holdfast.db",
        *,
        agents: Iterable[Agent[Any, Any]] = (),
        tenant: str = "default",
        config: str | Path | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
        serves: bool = True,
        on_emit: OnEmit | None = None,
        policies: Overrides | None = None,
        inbox: Escalation | None = None,
    ) -> None:
        self._store = store
        self._tenant = tenant
        self._config = config
        self._settings = settings or Settings()
        self._clock = clock
        self._serves = serves
        self._on_emit = on_emit
        self._policies = parse_tables(policies or {})
        self._agents: dict[str, Agent[Any, Any]] = {}
        self._inbox = inbox
        self._services: Services | None = None
        self._worker: Worker | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        if inbox is not None:
            self._agents |= {agent.name: agent for agent in inbox.agents}
        for agent in agents:
            self._register(agent)

    # --- life ------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        current.check_not_loading()
        if self._loop is not None:
            raise UsageError("This App is open already. Use it, or make another one.")
        config = load(self._config)
        policies = Policies(config.tools, self._policies)
        policies.check(declared_specs())
        journal = self._open_journal()
        clock = self._clock or (StoreTime(journal.now) if isinstance(self._store, str) else SystemClock())
        scribe = Scribe(journal, clock)
        self._services = Services(
            journal=journal,
            clock=clock,
            scribe=scribe,
            gate=Gate(clock, self._settings.model_calls_max),
            tenant=self._tenant,
            settings=self._settings,
            watchers=Watchers(self._on_emit),
            prices=config.prices,
            policies=policies,
            stated=config.stated(self._policies),
            agents=self._agents,
            escalation=self._inbox,
        )
        try:
            if self._inbox is not None:
                self._inbox.attach(journal)
            self._services.switches.look(journal)
            self._set_caps(config)
            self._services.caps.look(journal)
            if self._serves and self._inbox is not None:
                catch_up(self._services)
                keep(self._services)
            self._worker = Worker(self._services, self._agents, serves=self._serves)
            self._worker.start()
        except BaseException:  # such as a store whose runs go on in another one: nobody leaves what was not entered
            if isinstance(self._store, str):
                journal.close()
            self._services = self._worker = None
            raise
        self._loop = asyncio.get_running_loop()
        current.app_opened(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        services, is_ours = self._services, isinstance(self._store, str)
        close = services.journal.close if services is not None and is_ours else lambda: None
        try:
            if self._worker is not None:
                await self._worker.stop(close)
        except BaseException:
            close()
            raise
        finally:
            current.app_closed(self)
            if services is not None:
                services.watchers.close()
            self._services = self._worker = self._loop = None

    def _set_caps(self, config: Config) -> None:
        """Caps that the file states hold where nobody has set others at the desk; one that it does not state stays."""
        services = self._open()
        for name, limits in config.caps.items():
            account = services.journal.account(name)
            if name not in services.switches.now.caps and (account is None or account.limits != limits):
                services.journal.cap(name, limits)

    def _open_journal(self) -> Journal:
        if isinstance(self._store, str):
            clock, owns_clock = self._clock or SystemClock(), self._clock is not None
            return open_journal(self._store, clock=clock.now, tenant=self._tenant, owns_clock=owns_clock)
        return self._store

    @property
    def journal(self) -> Journal:
        """The open store."""
        return self._open().journal

    async def until_moved(self) -> None:
        """Comes back never: raises `StoreMoved` when the runs of this store go on in another one."""
        self._open()
        worker = self._worker
        assert worker is not None
        await worker.is_left.wait()
        assert worker.moved is not None
        raise worker.moved

    def _open(self) -> Services:
        if self._services is None:
            raise UsageError("This App is not open. Use it within `async with app:`, or call `run_sync`.")
        return self._services

    def _register(self, agent: Agent[Any, Any]) -> None:
        if not isinstance(agent, Agent):
            raise UsageError(f"{agent!r} is no agent. Decorate the function with @holdfast.agent.")
        if agent.name.startswith("@") and self._agents.get(agent.name) is not agent:
            raise UsageError(f"No agent is called {agent.name!r}: names that begin with @ are holdfast's own.")
        if agent.name not in self._agents:
            preflight.check(agent, self._inbox)
        known = self._agents.setdefault(agent.name, agent)
        if known is not agent:
            raise UsageError(f"Two agents are called {agent.name!r}. Give one another name: @agent(name=…).")

    # --- runs ------------------------------------------------------------------------------------------------

    async def start(
        self,
        agent: Agent[I, O],
        input: I,
        *,
        key: str | None = None,
        budget: Budget | None = None,
        by: str = "",
        account: str = "",
    ) -> str:
        """Start a run, or find the one that this key names; its id. Its record is safe when this returns.

        by: who asks for it, for the record; they may not approve what it does. account: one that it shares with other
        runs, such as `project/NAME`: what they use is counted there, and its caps (`Journal.cap`) hold for all of them.
        """
        services = self._open()
        self._register(agent)
        name = services.clock.fresh_id() if key is None else checked_key(key, agent.name)
        body = encode(input, agent.takes)
        limits = budget.limits().over(agent.limits) if budget is not None else agent.limits
        check_prices(agent.name, agent.models, limits, services.prices, is_priced=services.caps.is_priced)
        message = accept.start(
            agent=agent.name,
            key=name,
            input_digest=digest(body),
            limits=None if limits is None else list(limits),
            body=body,
            by=by or None,
            ask=asks_of(agent.budget, budget),
            **self._counted_in(account),
        )
        run = id_of(services.journal.hash_key, self._tenant, name)
        posted = await services.scribe.post(Post(run, f"start {agent.name} {digest(body)}", message))
        if posted.refused:
            raise RunMismatch(posted.refused)
        if not posted.is_stored:
            run = newest(services.journal, run, name)
        if self._worker is not None and run not in self._worker.drivers:
            await self._worker.admit(run)
        return run

    def _counted_in(self, account: str) -> dict[str, Any]:
        """For the start of a run that shares an account."""
        if not account:
            return {}
        if not account.startswith(SHARED) or not accept.is_signal_name(account):
            raise UsageError(f"{account!r} is no account that runs share. Nothing was started. Write {SHARED}NAME.")
        found = self._open().journal.account(account)
        is_priced = found is not None and found.limits.usd_nano is not None
        return {"accounts": [account], "is_priced": is_priced or None}

    async def run(
        self,
        agent: Agent[I, O],
        input: I,
        *,
        key: str | None = None,
        budget: Budget | None = None,
        by: str = "",
        wait: Duration | None = None,
        account: str = "",
    ) -> O:
        """Start or go on, and give the agent's result.

        by, account: as in `start`. wait: how long to stay for a run that is suspended until a time, or that another
        process drives; then, and at once when only a person can help, `RunWaiting` is raised and the run stays
        resumable. None: stay.
        """
        run = await self.start(agent, input, key=key, budget=budget, by=by, account=account)
        services, worker = self._open(), self._worker
        assert worker is not None
        clock = services.clock
        give_up = None if wait is None else clock.now() + seconds(wait, "wait")
        while True:
            wait_s = None if give_up is None else max(0.0, give_up - clock.now())
            state, error = await until_over(services, worker, run, wait_s)
            if not state.continued:
                return result_of(state, agent, error)
            run = state.continued

    def run_sync(
        self,
        agent: Agent[I, O],
        input: I,
        *,
        key: str | None = None,
        budget: Budget | None = None,
        by: str = "",
        wait: Duration | None = None,
    ) -> O:
        """`run` for code without an event loop, and inside a running one (notebooks)."""
        return self._blocking(self.run(agent, input, key=key, budget=budget, by=by, wait=wait))  # type: ignore[no-any-return]

    def _blocking(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if self._loop is not None and is_running_here(self._loop):
            coroutine.close()
            raise UsageError(
                "run_sync would wait for the loop that it blocks: this App is open on it. Nothing was started. "
                "Write `await app.run(…)`."
            )
        if self._loop is not None:
            if asyncio._get_running_loop() is self._loop:
                coroutine.close()
                raise UsageError(
                    "run_sync was called on the loop that this open App runs on; it would wait for itself for ever. "
                    "Nothing was started. Write `await app.run(…)` there."
                )
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

        async def alone() -> Any:
            serves, self._serves = self._serves, False
            try:
                async with self:
                    return await coroutine
            finally:
                self._serves = serves

        return run_blocking(alone())

    def watch(self, run: str) -> Watch:
        """What this run emits in this process from now on, as an async iterator that ends with the run.

        It yields `Progress`: `.data`, and `.missed`, how many were lost since this watcher is slower than the run.
        """
        services = self._open()
        head = services.journal.head(run)
        if head is None:
            raise NotFound(f"There is no run {run!r} in this store. Give the id that `start` returned.")
        return services.watchers.watch(run, is_over=head.status.is_end)

    async def search(self, words: str = "", **filters: Unpack[Filters]) -> list[Found]:
        """Past runs of this tenant that match, such as `search("refund", outcome="failed", since="7d")`.

        words: all of them must be there; `"in this order"`, `-not`, `begin*`. filters: agent, outcome, tool, error, key
        (its beginning), since, until, usd_min, usd_max; sort (rank, newest, cost), limit. One that is not known is a
        UsageError. The first search reads all runs, later ones those that went on since.
        """
        journal = self._open().journal
        asked = query.read(words, filters, journal.now())
        looked: Looked = await in_thread("search", lambda: search(journal, asked))
        return looked.found

    # --- messages --------------------------------------------------------------------------------------------

    async def answer(
        self,
        run: str,
        question: str,
        value: Any = None,
        *,
        by: str = "",
        result: Any = None,
        digest: str = "",
        via: str = "",
        form: Mapping[str, Any] | None = None,
    ) -> None:
        """Answer an open question; `MessageRefused` says why an answer cannot count.

        result: with "it_happened" for a step in doubt, or "take_this_result" for one that failed, what the tool would
        have returned. form: what is filled in, of a question that is a form. digest: of an approval, the question's
        own: what is approved is what was shown. via: the way by which the person answered, for the record.
        """
        choice = value if isinstance(value, str) else None
        is_about_step = choice in (*accept.DOUBT_OPTIONS, *accept.FAILED_OPTIONS)
        body = encode(value) if not is_about_step else None if result is None else encode(result)
        message = accept.answer(question, choice=choice, by=by, body=body, digest=digest, via=via, form=form)
        check_answer(self._open().journal, run, message, self._inbox)
        await self._post(run, message)
        await self._deliver(run)

    async def cancel(self, run: str, *, by: str = "", why: str = "", now: bool = False) -> None:
        """Cancel a run; an effect in flight finishes first, or, with `now`, is left in doubt and named at the end."""
        await self._post(run, accept.cancel(by=by, why=why, is_now=now))
        await self._deliver(run)

    async def unwind(self, run: str, *, by: str = "", why: str = "") -> None:
        """Undo what a failed, stopped or cancelled run did, in reverse; it ends as it had ended."""
        await self._post(run, accept.unwind(by=by, why=why))
        await self._deliver(run)

    async def pause(self, run: str, *, by: str = "", why: str = "") -> None:
        """Let a run begin nothing more until `resume`; what is under way finishes, and the run is suspended."""
        await self._post(run, accept.pause(by=by, why=why))
        await self._deliver(run)

    async def disable(self, tool: str, *, by: str = "", why: str = "") -> None:
        """Switch a tool off, for all runs of this tenant in every process, within about a second.

        A call of it is then a failure of which it is certain that nothing was begun; its policy says what follows.
        """
        await self._order(accept.command(DISABLE, tool, by=by, why=why))

    async def enable(self, tool: str, *, by: str = "", why: str = "") -> None:
        """Switch a tool on again."""
        await self._order(accept.command(ENABLE, tool, by=by, why=why))

    async def change_policy(
        self, tool: str, settings: Mapping[str, Any] | None, *, by: str = "", why: str = ""
    ) -> None:
        """Set parts of a tool's policy, such as {"retry.attempts": 1, "timeout": "5s"}, for all runs of this tenant;
        they hold over what code, file and command line say. None: as those say again."""
        await self._order(accept.command(POLICY, tool, by=by, why=why, settings=settings))

    async def _order(self, message: accept.Message) -> None:
        services, tenant = self._open(), self._tenant
        posted = order(services.journal, message, services.clock.fresh_id(), tenant)
        if posted.refused:
            raise MessageRefused(posted.refused)
        await in_thread("desk", partial(carry_out, services.journal, services.clock, tenant))
        services.switches.look(services.journal)

    async def resume(self, run: str, *, by: str = "", budget: Budget | None = None) -> None:
        """Reopen a failed or stopped run, or let a blocked or paused one go on; `budget` is added to its caps."""
        if budget is not None:
            check_operator()
        raised = None if budget is None else [part or 0 for part in budget.limits()]
        is_unpause = accept.is_to_pause(mail.message for mail in self._open().journal.mail(run))
        await self._post(run, accept.resume(by=by, raised=raised, is_unpause=is_unpause))
        await self._deliver(run)

    async def signal(self, run: str, name: str, value: Any = None, *, by: str = "") -> None:
        """Tell a run something that it may be waiting for (`run.signal`); kept until a step takes it."""
        await self._post(run, accept.signal(name, by=by, body=encode(value)))
        await self._deliver(run)

    async def _post(self, run: str, message: accept.Message) -> None:
        services = self._open()
        posted = await services.scribe.post(Post(run, services.clock.fresh_id(), message))
        if posted.refused:
            missing = services.journal.head(run) is None
            raise (NotFound if missing else MessageRefused)(late(services.journal, run, message) or posted.refused)

    async def _deliver(self, run: str) -> None:
        worker = self._worker
        if worker is not None:
            driver = worker.drivers.get(run)
            if driver is not None:
                await worker.deliver(driver)
            else:
                worker.entrance.has_mail(run)
                worker.kick()
