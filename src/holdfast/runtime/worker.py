"""The worker of one process: claims runs, keeps its lease alive, and brings mail to the runs it holds.

Invariants
1. A run is driven at most once in this process.
2. The lease is renewed by a thread of its own, and only while the event loop turns; a stuck loop loses it.
3. Nothing begins after the lease may have run out, nor in a run that was taken over while it had (`is_fenced`).
4. A run that left without an end (a lapsed lease, a store that failed) is given back: it is nobody's, never held by
   a worker that does not drive it. A store or a run that fails stops neither the worker nor other runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from holdfast.core.desk import DESK
from holdfast.core.heads import Status, Why
from holdfast.core.state import State, fold
from holdfast.errors import InternalError, JournalCorrupt, JournalError, StoreMoved
from holdfast.journal.process import this_worker
from holdfast.protocols import Claim, Lease
from holdfast.runtime import desk, mailroom
from holdfast.runtime.agent import Agent
from holdfast.runtime.collector import crowds, uncollected
from holdfast.runtime.driver import Driver
from holdfast.runtime.entrance import Entrance
from holdfast.runtime.escalating import chains_of
from holdfast.runtime.keeper import Keeper, Kept, give_back
from holdfast.runtime.senders import wake
from holdfast.runtime.settings import Services
from holdfast.runtime.thread import let_go

AnyAgent = Agent[object, object]
_log = logging.getLogger("holdfast")


CLAIMS_MAX = 100
"""Due runs taken in one look; more wait for the next."""


class Worker:
    """Drives the runs of the agents it knows."""

    def __init__(self, services: Services, agents: dict[str, AnyAgent], *, serves: bool) -> None:
        self._services = services
        self._agents = agents
        self._serves = serves
        self._identity = this_worker("worker_" + services.clock.fresh_id()[:16])
        self._ticked_at = self._renewed_at = services.clock.monotonic()
        self._gone: set[Lease] = set()
        """Of runs that somebody else took while our lease had run out; they are still driven here, or about to be."""
        self._caps_due_at = self._ticked_at
        self._kick = asyncio.Event()
        self._hush: Callable[[], None] = lambda: None
        """Ends the doorbell."""
        self._loop_task: asyncio.Task[None] | None = None
        self._end_beat: Callable[[], None] | None = None
        self.entrance = Entrance(services.clock, self._begin, lambda: services.scribe.active)
        self._has_more = False
        """The last look took as many as it could, or none since others have yet to begin."""
        self._admitted: dict[str, list[asyncio.Future[Driver | None]]] | None = None
        """Runs to claim at the end of this tick."""
        self._adopted: set[str] = set()
        """Runs that others of this process started, and that are driven here though it does not serve."""
        self._delivering: set[asyncio.Task[None]] = set()
        self._watchers: dict[str, set[asyncio.Future[None]]] = {}
        self._is_closing_oldest = False
        self._kept: list[Kept] = []
        """Runs that left while an effect of them was under way."""
        self._owed: list[tuple[Lease, float | None]] = []
        """Leases to give back, and when their runs are due again."""
        self._claiming = 0
        """Claims that are under way."""
        self._is_unsure = False
        """The store failed at a claim, or at what was claimed: this worker may hold what it does not drive."""
        self.is_stopping = False
        """Nothing is taken any more, also for a caller that waits for a run which was just given back."""
        self.moved: StoreMoved | None = None
        """Why nothing is taken any more: the runs of this store go on in another one."""
        self.is_left = asyncio.Event()
        self.drivers: dict[str, Driver] = {}
        self._threaded: dict[str, Driver] = {}
        """Those of them that hold a thread."""
        services.is_fenced = self._is_fenced
        services.on_change = self._changed
        services.on_posted = self._posted
        services.adopt = self.adopt
        services.follow = self.follow

    @property
    def id(self) -> str:
        """The worker's id."""
        return self._identity.id

    # --- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take a lease, and begin to look for work."""
        self._renew()
        self._end_beat = self._services.clock.beat(self._services.settings.lease_s / 3, self._keep_alive)
        loop = asyncio.get_running_loop()
        self._hush = self._services.journal.listen(partial(wake, loop, self._kick.set))
        self._loop_task = loop.create_task(self._look(), name="holdfast worker")

    async def stop(self, then: Callable[[], None] = lambda: None) -> None:
        """Give every run back, resumable, and retire. then: called when nothing is done for this worker any more."""
        self.is_stopping = True
        try:
            await self._stopped()
        finally:
            crowds.count(self, 0)
        self._retire(then)

    async def _stopped(self) -> None:
        self._hush()
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.wait({self._loop_task})
        self._refuse(self.entrance.empty())
        await asyncio.gather(*(driver.shut_down() for driver in list(self.drivers.values())))
        if self._delivering:
            await asyncio.wait(self._delivering)
        await self._services.scribe.settled()
        if self._end_beat is not None:
            await asyncio.to_thread(self._end_beat)

    def _retire(self, then: Callable[[], None]) -> None:
        """Go; but a run whose effect is still under way stays ours until its thread has ended, or this process.

        The thread that an async body may have left behind cannot be seen: such a run waits until our lease is over.
        """
        seen = [kept for kept in self._kept if kept.is_seen]

        def over() -> None:
            try:
                if len(seen) == len(self._kept):
                    self._services.journal.retire(self.id)
            except StoreMoved:
                pass  # whose row is there helps nobody any more
            finally:
                then()

        if seen:
            Keeper(self._services, self._identity, seen, over).start()
        else:
            over()

    def _renew(self) -> None:
        asked_at = self._services.clock.monotonic()  # a slow store may have counted from any time after this
        self._services.journal.register(self._identity, self._services.settings.lease_s)
        if self._has_run_out():
            held = set(self._services.journal.held(self.id))
            ours = {*self.entrance.leases, *(driver.lease for driver in list(self.drivers.values()))}
            self._gone = ours - held
        self._renewed_at = asked_at

    def _keep_alive(self) -> None:
        """The beat of the lease, called apart from the loop."""
        if self._services.clock.monotonic() - self._ticked_at < self._services.settings.lease_s * 2 / 3:
            try:
                self._renew()
            except StoreMoved as moved:
                self.moved = moved  # told at the next look
            except JournalError:
                pass  # the lease runs out by itself; `is_fenced` then stops all beginnings

    def _is_fenced(self, lease: Lease) -> bool:
        return self._has_run_out() or lease in self._gone

    def _has_run_out(self) -> bool:
        return self._services.clock.monotonic() - self._renewed_at >= self._services.settings.lease_s

    async def _look(self) -> None:
        while True:
            self._kick.clear()  # what comes from here on is looked at in the next round
            self._ticked_at = self._services.clock.monotonic()
            try:
                self._give_back()
                self._services.switches.look(self._services.journal)
                self._look_at_caps()
                await self._let_admitted_in()
                if self._serves and self._agents:
                    self._has_more = len(self.entrance) > 0 or await self.claim(None) >= CLAIMS_MAX
                elif due := [run_id for run_id in self._adopted if run_id not in self.drivers]:
                    await self.claim(due)
                for driver in self._to_tell():
                    await self.deliver(driver)
            except StoreMoved as moved:
                self.moved = moved
            except JournalError as error:
                _log.warning("The store failed; nothing is lost, and it is asked again in a moment. %s", error)
            if self.moved is not None:  # there is nothing more to do here, and never will be
                _log.error("%s", self.moved)
                self.is_left.set()
                return
            await self._pause(self._services.settings.poll_s)

    def _to_tell(self) -> list[Driver]:
        """Runs here that have mail which they may not know of. One that has not begun is about to look by itself."""
        unread = self._services.journal.unread(self.id) if self.drivers else []
        found = [self.drivers.get(run_id) for run_id in unread]
        return [driver for driver in found if driver is not None and driver.has_begun]

    def _look_at_caps(self) -> None:
        if self._ticked_at >= self._caps_due_at:
            self._caps_due_at = self._ticked_at + self._services.settings.poll_s
            self._services.caps.look(self._services.journal)

    async def _pause(self, limit_s: float) -> None:
        call_off = self._services.clock.call_later(limit_s, self._kick.set)
        try:
            await self._kick.wait()
        finally:
            call_off()

    # --- runs ------------------------------------------------------------------------------------------------

    async def claim(self, run_ids: list[str] | None) -> int:
        """Take what may be taken, of these runs or of all; how many it was."""
        if self.is_stopping:
            return 0
        agents = [*self._agents, *desk.AGENTS]
        limit = CLAIMS_MAX if run_ids is None else len(run_ids)
        ask = partial(self._services.journal.claim, self.id, run_ids=run_ids, agents=agents, limit=limit)
        self._claiming += 1
        try:
            claims = await self._services.scribe.do(ask)
        except JournalError:
            self._is_unsure = True
            raise
        finally:
            self._claiming -= 1
        return self._take(claims)

    def _take(self, claims: Sequence[Claim]) -> int:
        if self.is_stopping:  # it began to while a thread claimed them
            self._refuse(claims)
            return 0
        failed: JournalError | None = None
        room = self.entrance.room()
        with uncollected():
            for place, claim in enumerate(claims):
                if place >= room and claim.head.agent not in desk.AGENTS:
                    self.entrance.add(claim)
                    continue
                try:
                    self._drive(claim)
                except JournalError as error:
                    failed = failed or error
        if failed is not None:
            self._is_unsure = True
            raise failed
        return len(claims)

    def _refuse(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            self._services.scribe.release(claim.lease, claim.head.wake_at)

    def _begin(self, claim: Claim) -> None:
        """There is room for this one now; what fails is given back, and seen when it is asked for again."""
        try:
            self._drive(claim)
        except JournalError as error:
            self._is_unsure = True
            _log.warning("The store failed; nothing is lost, and it is asked again in a moment. %s", error)

    async def admit(self, run_id: str) -> Driver | None:
        """Take this run if it may be taken; all that are admitted in one tick are claimed in one transaction. Gives who
        drives it then, and may have failed already."""
        if run_id in self.entrance:
            return None
        loop = asyncio.get_running_loop()
        if self._admitted is None:
            self._admitted = {}
            loop.call_soon(self._begin_admitted)
        claimed: asyncio.Future[Driver | None] = loop.create_future()
        self._admitted.setdefault(run_id, []).append(claimed)
        return await claimed

    async def _let_admitted_in(self) -> None:
        """What was started here is claimed first, in one transaction: the bell that rings for it rings here too."""
        for _ in range(2):  # `_begin_admitted`, and the claim
            if self._admitted is not None:
                await asyncio.sleep(0)

    def _begin_admitted(self) -> None:
        task = asyncio.get_running_loop().create_task(self._claim_admitted())
        self._delivering.add(task)
        task.add_done_callback(self._delivering.discard)

    async def _claim_admitted(self) -> None:
        admitted, self._admitted = self._admitted or {}, None
        failed: JournalError | None = None
        try:
            await self.claim(list(admitted))
        except JournalError as error:
            failed = error
        for run_id, future in [(run_id, future) for run_id, waiting in admitted.items() for future in waiting]:
            if future.done():
                continue
            if failed is None:
                future.set_result(self.drivers.get(run_id))
            else:
                future.set_exception(failed)

    def _give_back(self) -> None:
        if self._is_unsure and not self._claiming:
            self._take_stock()
        for kept in [kept for kept in self._kept if kept.is_over]:
            give_back(self._services, kept)
            self._kept.remove(kept)
        self._owed += self._services.scribe.take_owed()
        while self._owed:
            self._services.scribe.release(*self._owed.pop(0))  # changes nothing when somebody else has the run

    def _take_stock(self) -> None:
        """Give back what this worker holds without knowing it: as long as it lives, nobody else could take it."""
        known = {*self.drivers, *(lease.run_id for lease in self.entrance.leases)}
        known |= {*(kept.lease.run_id for kept in self._kept), *(lease.run_id for lease, _ in self._owed)}
        now = self._services.clock.now()
        held = self._services.journal.held(self.id)
        self._owed += [(lease, now) for lease in held if lease.run_id not in known]
        self._is_unsure = False

    def _drive(self, claim: Claim) -> None:
        journal = self._services.journal
        if claim.head.agent in desk.AGENTS:
            desk.work(journal, claim, self._services.clock)
            if claim.head.agent == DESK:
                self._services.switches.look(journal)
            return
        try:
            is_fresh = claim.head.status is Status.READY
            state = State() if is_fresh else fold(journal.events(claim.lease.run_id))
            driver = Driver(self._services, claim, self._agents[claim.head.agent], state)
        except JournalError as error:
            is_damaged = isinstance(error, JournalCorrupt)  # then it is due when somebody has told it something
            wake_at = None if is_damaged else self._services.clock.now() + self._services.settings.poll_s
            self._owed.append((claim.lease, wake_at))
            raise
        self.drivers[claim.lease.run_id] = driver
        crowds.count(self, len(self.drivers))
        for chain in chains_of(self._services, claim.lease.run_id, state):
            self.follow(chain)
        if driver.agent.is_sync:
            self._threaded[claim.lease.run_id] = driver
        _log.info("%s (%s) %s", claim.lease.run_id, claim.head.key, _begins(claim, state))
        driver.start()

    async def deliver(self, driver: Driver) -> None:
        """Let a run read its mail now."""
        if not driver.is_gone and not driver.is_closing:
            await mailroom.open_mail(driver)

    def _posted(self, run_ids: Sequence[str]) -> None:
        for run_id in run_ids:
            task = asyncio.get_running_loop().create_task(self._bring(run_id))
            self._delivering.add(task)
            task.add_done_callback(self._delivering.discard)

    async def _bring(self, run_id: str) -> None:
        """Let a run read its mail, or begin it; when that fails it is seen at the next look."""
        try:
            if (driver := self.drivers.get(run_id)) is not None:
                await self.deliver(driver)
            else:
                self.entrance.has_mail(run_id)
                await self.admit(run_id)
        except JournalError as error:
            _log.warning("The store failed; nothing is lost, and it is asked again in a moment. %s", error)

    def adopt(self, run_id: str) -> None:
        """Drive this run here, as long as nobody else does; and what it waits for: the runs that are part of it."""
        self._adopted.add(run_id)
        head = self._services.journal.head(run_id)
        if head is not None and head.why == Why.CHILD:
            for child in fold(self._services.journal.events(run_id)).open_children:
                self.adopt(child)
        self.kick()

    def follow(self, run_id: str) -> None:
        """Drive this run here, as long as nobody else does."""
        self._adopted.add(run_id)
        self.kick()

    def kick(self) -> None:
        """Look for work now."""
        self._kick.set()

    def _changed(self, driver: Driver) -> None:
        run = driver.lease.run_id
        if (became := _became(driver)) not in (None, driver.told):
            driver.told = became
            _log.info("%s (%s) %s", run, driver.state.key, became)
        if driver.is_gone and self.drivers.get(run) is driver:
            del self.drivers[run]
            crowds.count(self, len(self.drivers))
            self._threaded.pop(run, None)
            if driver.state.status.is_end:
                self._services.watchers.over(run)
                self._adopted.discard(run)
            if driver.is_kept:
                self._keep(driver)
            elif driver.record.refusal is not None:
                settings = self._services.settings
                is_bug = isinstance(driver.record.refusal, InternalError)
                wait_s = settings.lease_s if is_bug else settings.poll_s
                self._owed.append((driver.lease, self._services.clock.now() + wait_s))
            if self._has_more or not driver.state.status.is_end:  # what has ended leaves nothing to look for
                self._kick.set()
        self.entrance.look()
        for watcher in self._watchers.get(run, ()):
            let_go(watcher)
        self._close_oldest_soon()

    def _keep(self, driver: Driver) -> None:
        kept, loop = Kept(driver.lease, driver.living), asyncio.get_running_loop()
        self._kept.append(kept)
        for sender in kept.senders:
            sender.when_over(partial(wake, loop, self._kick.set))

    def _close_oldest_soon(self) -> None:
        """Once for all that change in this tick: thousands may come to rest together."""
        settings = self._services.settings
        is_many = len(self._threaded) > settings.parked_sync_max or len(self.drivers) > settings.parked_max
        if is_many and not self._is_closing_oldest:
            self._is_closing_oldest = True
            asyncio.get_running_loop().call_soon(self._close_oldest)

    def _close_oldest(self) -> None:
        self._is_closing_oldest = False
        settings = self._services.settings
        for drivers, most in ((self._threaded, settings.parked_sync_max), (self.drivers, settings.parked_max)):
            waiting = [driver for driver in drivers.values() if driver.is_parked]
            for driver in waiting[: max(0, len(waiting) - most)]:
                driver.close_soon()

    async def change_of(self, run_id: str, limit_s: float) -> None:
        """Wait until something becomes of this run here, at most so long."""
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.setdefault(run_id, set()).add(changed)
        call_off = self._services.clock.call_later(limit_s, partial(let_go, changed))
        try:
            await changed
        finally:
            call_off()
            self._watchers[run_id].discard(changed)
            if not self._watchers[run_id]:
                del self._watchers[run_id]


def _begins(claim: Claim, state: State) -> str:
    """What a process does with a run that it has just taken, in words."""
    if not state.count:
        return "begins."
    after = f"goes on after event {state.count}"
    return f"{after}; its last owner went without giving it back." if claim.is_takeover else f"{after}."


def _became(driver: Driver) -> str | None:
    """What has become of a run here, in words; None when that is no news."""
    state, refusal = driver.state, driver.record.refusal
    if refusal is not None:
        return f"has left this process: {refusal}" if driver.is_gone else None
    if state.status.is_end if driver.is_gone else state.status is Status.SUSPENDED:
        return f"{state.status} ({state.why})" if state.why else state.status
    return None
