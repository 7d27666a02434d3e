"""The web application of a study: one link for each annotator, pages made on the server, no script."""

from __future__ import annotations

import asyncio
import logging
import math
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from clvq_exp.report.embedding import escaping_templates
from clvq_exp.study.answers import Annotator, Answer, answered, check, connect, find, item_at
from clvq_exp.study.design import HIGHEST, LOWEST
from clvq_exp.study.folder import OpenedStudy
from clvq_exp.study.forms import IncompleteError, check_origin, read_body, read_form, token
from clvq_exp.study.guard import Guard
from clvq_exp.study.links import hashed
from clvq_exp.study.pace import Pace
from clvq_exp.study.writer import AnswerWriter

_TEMPLATES = Path(__file__).parent / "templates"
_PAGES = ("start.html.j2", "item.html.j2", "message.html.j2")
_MESSAGES = {
    400: ("This was not a form", "Please go back and send your answer again."),
    403: ("This page is out of date", "Please open your link again: your answers so far are kept."),
    404: ("Not found", "This link leads nowhere. Please check that it is whole."),
    408: ("It took too long", "Please go back and send your answer again."),
    413: ("This was too much", "Please go back and send your answer again."),
    415: ("This was not a form", "Please go back and send your answer again."),
    429: ("A little slower, please", "Please wait a moment, then go back and send your answer again."),
    503: ("Your answer could not be kept", "Please wait a moment, then go back and send it again."),
}
_DIGITS = 6
"""Of a place; longer numbers are not read."""
log = logging.getLogger(__name__)

_Endpoint = Callable[[Request, Annotator], Awaitable[Response]]


class StudyServer:
    """A served study.

    Args:
        study: that is served.
        pace: how fast a link may ask.
    """

    def __init__(self, study: OpenedStudy, pace: Pace | None = None) -> None:
        self._design = study.design
        self._study = study
        self._pace = pace or Pace()
        self._clouds = [study.cloud(each.cloud) for each in study.design.items]
        templates = escaping_templates(_TEMPLATES)
        self._templates = {name: templates.get_template(name) for name in _PAGES}
        self._style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
        self._connection = connect(study.answers)
        self._key = check(self._connection, study.answers, study.name)
        self._writer = AnswerWriter(study.answers)

    @property
    def app(self) -> ASGIApp:
        """The ASGI application."""
        routes = [
            Route("/style.css", self._style_sheet),
            Route("/favicon.ico", self._no_icon),
            Route("/s/{secret}", self._known(self._without_slash)),
            Route("/s/{secret}/", self._known(self._start)),
            Route("/s/{secret}/item", self._known(self._item)),
            Route("/s/{secret}/item", self._known(self._answer), methods=["POST"]),
            Route("/s/{secret}/{place}.png", self._known(self._cloud)),
        ]
        refused: dict[Any, Any] = {HTTPException: self._refused, 500: self._failed}
        app = Starlette(routes=routes, exception_handlers=refused, lifespan=self._lifespan)
        app.router.redirect_slashes = False  # a wrong link gets 404, with a slash or without
        return Guard(app)

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncGenerator[None]:
        yield
        await asyncio.to_thread(self._writer.close)
        self._connection.close()

    def _known(self, endpoint: _Endpoint) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint behind a link: who has none finds nothing there."""

        async def endpoint_of_link(request: Request) -> Response:
            annotator = find(self._connection, hashed(request.path_params["secret"]))
            if annotator is None:
                raise HTTPException(404)
            wait = self._pace.wait(annotator.annotator)
            if wait > 0:
                raise HTTPException(429, headers={"Retry-After": str(math.ceil(wait))})
            return await endpoint(request, annotator)

        return endpoint_of_link

    async def _style_sheet(self, _request: Request) -> Response:
        return Response(self._style, media_type="text/css")

    async def _no_icon(self, _request: Request) -> Response:
        return Response(status_code=204)

    async def _without_slash(self, request: Request, _annotator: Annotator) -> Response:
        return RedirectResponse(f"{request.path_params['secret']}/", 307)

    async def _start(self, _request: Request, annotator: Annotator) -> Response:
        n = answered(self._connection, annotator.annotator)
        return self._page("start.html.j2", answered=n, root="../../")

    async def _item(self, _request: Request, annotator: Annotator) -> Response:
        return self._form(annotator, "")

    def _form(self, annotator: Annotator, problem: str) -> Response:
        """The page of the next item; the start where all are answered."""
        place = answered(self._connection, annotator.annotator)
        item = item_at(self._connection, annotator.annotator, place)
        if item is None:
            return RedirectResponse("./", 303)
        return self._page(
            "item.html.j2",
            422 if problem else 200,
            root="../../",
            place=place,
            words=self._design.items[item].words,
            token=token(self._key, annotator.annotator, place),
            problem=problem,
            scale=range(LOWEST, HIGHEST + 1),
        )

    async def _answer(self, request: Request, annotator: Annotator) -> Response:
        check_origin(request)
        body = await read_body(request)
        try:
            form = read_form(body, self._key, annotator.annotator, len(self._design.labels))
        except IncompleteError as error:
            return self._form(annotator, str(error))
        given = Answer(
            annotator.annotator,
            form.place,
            form.label,
            form.confidence,
            form.seconds,
            datetime.now(UTC).isoformat(timespec="milliseconds"),
        )
        try:
            await asyncio.wrap_future(self._writer.submit(given))
        except sqlite3.Error as error:
            log.error("an answer of %s could not be kept: %s", annotator.name, error)
            raise HTTPException(503, headers={"Retry-After": "5"}) from error
        return RedirectResponse("item", 303)

    async def _cloud(self, request: Request, annotator: Annotator) -> Response:
        """The picture of an item that is answered, or the next one."""
        name: str = request.path_params["place"]
        place = int(name) if name.isascii() and name.isdigit() and len(name) <= _DIGITS else -1
        known = 0 <= place <= answered(self._connection, annotator.annotator)
        item = item_at(self._connection, annotator.annotator, place) if known else None
        if item is None:
            raise HTTPException(404)
        return Response(self._clouds[item], media_type="image/png")

    def _page(self, template: str, status: int = 200, **values: Any) -> Response:
        shown = {"design": self._design, "total": len(self._design.items), **values}
        return HTMLResponse(self._templates[template].render(shown), status)

    async def _refused(self, _request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        status = 404 if status == 405 else status  # what is there is nobody's business without a link
        title, text = _MESSAGES.get(status, _MESSAGES[400])
        response = self._message(title, text, status)
        response.headers.update(getattr(error, "headers", None) or {})
        return response

    async def _failed(self, _request: Request, _error: Exception) -> Response:
        return self._message("Something went wrong", "Please open your link again: your answers are kept.", 500)

    def _message(self, title: str, text: str, status: int) -> Response:
        return self._page("message.html.j2", status, title=title, text=text)
