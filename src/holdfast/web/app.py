"""The routes of the page. GET and HEAD only read; each POST is checked for session and token before it does anything.

/              to the inbox
/login         a one-time code; POST signs in
/logout        POST signs out
/inbox         what is open
/stats         how much that is, and how people answer
/q/RUN/Q       one question; POST to …/answer answers it, to …/take says who takes care of it, to …/seen who has
               opened it
/reachability  whether anybody can be reached, as it was measured
/events        news of the inbox (server-sent events)
/static/NAME   our own styles and script
/slack         what people have pressed in Slack, POST only, by its signature; where the file names an app for it
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from holdfast.errors import JournalError, MessageRefused, PolicyInvalid
from holdfast.inbox.measuring import FileMeasures
from holdfast.protocols import Clock, Journal, Roll
from holdfast.runtime.escalating import seen, take
from holdfast.views import asking
from holdfast.views.advice import advice
from holdfast.views.asking import Item
from holdfast.views.fields import fields as form_fields
from holdfast.views.precedent import precedent
from holdfast.views.sheet import earlier, sheet
from holdfast.views.stats import stats, summary, tables
from holdfast.views.taking import taken
from holdfast.views.text import ago
from holdfast.views.unasked import unasked
from holdfast.web import answer, reach
from holdfast.web.feed import LISTENERS_MAX, Feed
from holdfast.web.form import fields
from holdfast.web.guard import Guard
from holdfast.web.login import Login
from holdfast.web.page import page, static
from holdfast.web.row import read, row
from holdfast.web.session import Session
from holdfast.web.slack_door import PATH, Door
from holdfast.web.who import Who

_INSIDE = re.compile(r"/(inbox|stats|reachability|q/[A-Za-z0-9_]{1,80}/[A-Za-z0-9_]{1,80})")


@dataclass(frozen=True, slots=True)
class Inbox:
    """The page over one store."""

    journal: Journal
    clock: Clock
    who: Who
    login: Login
    feed: Feed
    roll: Roll
    """Who may answer what only some may."""
    measures: FileMeasures = field(default_factory=FileMeasures)
    """Whether anybody can be reached."""
    door: Door | None = None
    """Where Slack brings what people have pressed."""

    def app(self, origins: Sequence[str]) -> ASGIApp:
        """It, as it is reached under these origins and no others."""
        routes = [
            Route("/", self.home),
            Route("/login", self.ask_code),
            Route("/login", self.sign_in, methods=["POST"]),
            Route("/logout", self.sign_out, methods=["POST"]),
            Route("/inbox", self.inbox),
            Route("/q/{run}/{question}", self.question),
            Route("/q/{run}/{question}/answer", self.answer, methods=["POST"]),
            Route("/q/{run}/{question}/take", self.take, methods=["POST"]),
            Route("/q/{run}/{question}/seen", self.seen, methods=["POST"]),
            Route("/stats", self.stats),
            Route("/reachability", self.reachability),
            Route("/events", self.events),
            Route("/static/{name}", self.static),
        ]
        if self.door is not None:
            routes.append(Route(PATH, self.door.take, methods=["POST"]))
        handlers: dict[Any, Any] = {HTTPException: _refused, JournalError: _unwell}
        return Guard(Starlette(routes=routes, exception_handlers=handlers), origins, [PATH] if self.door else [])

    # --- who ---------------------------------------------------------------------------------------------------

    def _signed_in(self, request: Request) -> Session:
        session = self.who.session(request)
        if session is None:
            raise HTTPException(401, "You are not signed in. Nothing was done.")
        return session

    async def home(self, request: Request) -> Response:
        """The way to the inbox."""
        return RedirectResponse("/inbox", 303)

    async def ask_code(self, request: Request) -> Response:
        """The form for a one-time code."""
        if self.who.session(request) is not None:
            return RedirectResponse(_inside(request.query_params.get("next", "")), 303)
        return self._code_page(_inside(request.query_params.get("next", "")), "", 200)

    async def sign_in(self, request: Request) -> Response:
        """A session for whoever has the code."""
        sent = await fields(request)
        after = _inside(sent.get("next", ""))
        name = None if self.who.header else self.login.enter(sent.get("code", "")[:100])
        if name is None:
            left = self.login.tries_left
            told = f"This is not the code. {left} tries are left." if left else "Too many wrong codes. Try again later."
            return self._code_page(after, told, 403)
        response = RedirectResponse(after, 303)
        self.who.sign_in(response, name)
        return response

    def _code_page(self, after: str, told: str, status: int) -> Response:
        return page("login", status, next=after, told=told, by_proxy=bool(self.who.header))

    async def sign_out(self, request: Request) -> Response:
        """Ends the session."""
        session, sent = self._signed_in(request), await fields(request)
        if not self.who.sessions.is_token(sent.get("token", ""), session, "logout"):
            raise HTTPException(403, "This form belongs to another session. You are still signed in.")
        response = RedirectResponse("/login", 303)
        self.who.sign_out(response, session)
        return response

    # --- what is asked -----------------------------------------------------------------------------------------

    async def inbox(self, request: Request) -> Response:
        """All that is open."""
        session = self.who.session(request)
        if session is None:
            return _to_login(request)
        facts = await run_in_threadpool(read, self.journal)
        held = len(await run_in_threadpool(unasked, self.journal))
        return page("inbox", **facts, held=held, **self._frame(session))

    async def stats(self, request: Request) -> Response:
        """How many, how old, and how people answer."""
        session = self.who.session(request)
        if session is None:
            return _to_login(request)
        found = await run_in_threadpool(stats, self.journal)
        return page(
            "stats", summary=summary(found), tables=tables(found), remarks=found.remarks, **self._frame(session)
        )

    async def reachability(self, request: Request) -> Response:
        """Whether anybody can be reached."""
        session = self.who.session(request)
        if session is None:
            return _to_login(request)
        try:
            facts = await run_in_threadpool(reach.read, self.journal, self.measures)
        except PolicyInvalid as wrong:
            raise HTTPException(503, str(wrong)) from wrong
        return page("reachability", **facts, **self._frame(session))

    async def question(self, request: Request) -> Response:
        """One question, open or closed."""
        session = self.who.session(request)
        if session is None:
            return _to_login(request)
        items, item = await self._found(request)
        return await self._question_page(session, items, item, "", 200)

    async def answer(self, request: Request) -> Response:
        """Answers it, when the form is of this session and of what the session was shown."""
        session, sent = await self._checked(request)
        items, item = await self._found(request)
        shown = sheet(item, self.journal.now())
        try:
            await run_in_threadpool(answer.post, self.journal, self.clock, self.roll, item, shown, sent, session)
        except HTTPException as refused:
            items, item = await self._found(request)  # as it is now
            return await self._question_page(session, items, item, refused.detail, refused.status_code, sent)
        return RedirectResponse(f"/q/{item.run}/{item.id}", 303)

    async def take(self, request: Request) -> Response:
        """Says that whoever is signed in takes care of it."""
        session, _ = await self._checked(request)
        items, item = await self._found(request)
        try:
            await run_in_threadpool(take, self.journal, item.run, item.id, session.name, self.clock.fresh_id())
        except MessageRefused as refused:
            return await self._question_page(session, items, item, str(refused), 409)
        return RedirectResponse(f"/q/{item.run}/{item.id}", 303)

    async def seen(self, request: Request) -> Response:
        """Keeps that whoever is signed in has opened it. The page says so by a script: a GET keeps nothing."""
        session, _ = await self._checked(request)
        _, item = await self._found(request)
        await run_in_threadpool(seen, self.journal, item.run, item.id, session.name)
        return Response(status_code=204)

    async def _checked(self, request: Request) -> tuple[Session, dict[str, str]]:
        """Who has sent the form of this question, and what."""
        session, sent, of = self._signed_in(request), await fields(request), request.path_params
        answer.check_token(self.who.sessions, session, of["run"], of["question"], sent)
        return session, sent

    async def _found(self, request: Request) -> tuple[list[Item], Item]:
        run, question = request.path_params["run"], request.path_params["question"]
        if _INSIDE.fullmatch(f"/q/{run}/{question}") is None:
            raise HTTPException(404, "There is no such question.")
        items = await run_in_threadpool(asking.history, self.journal, run)
        found = next((one for one in items if one.id == question), None)
        item = None if found is None else await run_in_threadpool(taken, self.journal, found)
        if item is None:
            raise HTTPException(404, "There is no such question in this store.")
        return items, item

    async def _question_page(
        self,
        session: Session,
        items: list[Item],
        item: Item,
        told: str,
        status: int,
        typed: Mapping[str, str] = MappingProxyType({}),
    ) -> Response:
        now = self.journal.now()
        token = self.who.sessions.token(session, *answer.about(item.run, item.id, item.digest))
        may_not = answer.may_not(item, session, self.roll)
        last = await run_in_threadpool(precedent, self.journal, item)
        return page(
            "question",
            status,
            item=item,
            row=row(item, now),
            sheet=sheet(item, now, last),
            fields=[] if item.schema is None else form_fields(item.schema, typed),
            earlier=[(f"{ago(now - at)} ago", what, became) for at, what, became in earlier(items, item)],
            token=token,
            told=told,
            may_not="" if item.state != "open" else may_not,
            advice=advice(self.journal),
            **self._frame(session),
        )

    def _frame(self, session: Session) -> dict[str, Any]:
        return {"name": session.name, "leave": "" if self.who.header else self.who.sessions.token(session, "logout")}

    # --- the rest ----------------------------------------------------------------------------------------------

    async def events(self, request: Request) -> Response:
        """News of the inbox."""
        session = self._signed_in(request)
        if self.feed.listeners >= LISTENERS_MAX:
            raise HTTPException(503, "Too many pages are open. They all work; this one shows no news by itself.")
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        return StreamingResponse(self.feed.stream(session), media_type="text/event-stream")

    async def static(self, request: Request) -> Response:
        """A file of ours."""
        found = static(request.path_params["name"])
        if found is None:
            raise HTTPException(404, "There is no such file.")
        return found


def _inside(path: str) -> str:
    """Where to go after the login: only to a page of ours."""
    return path if _INSIDE.fullmatch(path) else "/inbox"


def _to_login(request: Request) -> Response:
    return RedirectResponse(f"/login?next={quote(_inside(request.url.path))}", 303)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    name = HTTPStatus(error.status_code).phrase
    return page("error", error.status_code, title=name, told="" if error.detail == name else error.detail)


async def _unwell(request: Request, error: Exception) -> Response:
    """The store cannot be read or written: said, and not taken for an empty inbox."""
    return page("error", 503, title="The store is unwell", told=f"{error} Look with `holdfast doctor`.")
