"""MONAI Label's endpoints, each in a thread of its own, checked, with faults as sentences and no file left behind.

Its own run one after the other on the event loop, so that nothing at all is answered during a long inference. Only
inside MONAI Label's environment.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse
from fastapi.routing import APIRoute
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.utils.app import app_instance

from pgsam_monai.label.faults import is_unexpected, status_and_sentence
from pgsam_monai.label.fields import is_dicomweb, json_object
from pgsam_monai.label.http.checks import CHECKS, check_fields
from pgsam_monai.label.http.infer_endpoint import file_as_it_is, infer
from pgsam_monai.label.http.sign_in import fetch_token
from pgsam_monai.label.http.uploads import dataset_archive, new_session

logger = logging.getLogger(__name__)

Given = dict[str, Any]
Call = Callable[[MONAILabelApp, Given], Any]

SLIDES, PROXY = "/infer/wsi", "/proxy/"
"""whole slides of pathology, which aren't served here; a DICOMweb server's studies, for OHIF"""
CHANGING = ("/logs/", "/datastore/")
"""what sends files that grow or are replaced"""
FORMS = ("params", "info")
"""fields that hold JSON"""
OURS: dict[tuple[str, str], Call] = {
    ("POST", "/infer/{model}"): infer,
    ("PUT", "/session/"): new_session,
    ("GET", "/datastore/dataset"): dataset_archive,
    ("POST", "/auth/token"): fetch_token,
}
"""in place of MONAI Label's"""
LONG = (
    ("GET", "/datastore/dataset"),
    ("POST", "/batch/infer/{model}"),
    ("POST", "/train/{model}"),
    ("POST", "/scoring/{method}"),
)
"""may take minutes, when they are asked to answer at the end only"""
INFERENCE_LINE, RECORDS_LINE, LONG_LINE = CapacityLimiter(1), CapacityLimiter(1), CapacityLimiter(4)
"""One inference at a time, and one change of the records; the two don't wait for each other."""


def guard(router: APIRouter) -> None:
    """Put guarded endpoints in place of a router's own; before an application includes it."""
    dropped = (SLIDES,) if is_dicomweb(settings.MONAI_LABEL_STUDIES) else (SLIDES, PROXY)
    routes = [route for route in router.routes if not route.path.startswith(dropped)]
    router.routes[:] = [
        _guarded(route) if isinstance(route, APIRoute) and not route.path.startswith(PROXY) else route
        for route in routes
    ]


def _guarded(route: APIRoute) -> APIRoute:
    endpoint, key = route.endpoint, (next(iter(route.methods)), route.path)
    call = OURS.get(key) or _stock(endpoint, changing=route.path.startswith(CHANGING))
    check, line = CHECKS.get(key), _line_of(key)

    @functools.wraps(endpoint)  # FastAPI reads the parameters from it, those about users included
    async def guarded(**given: Any) -> Any:
        def answer() -> Any:
            app = app_instance()
            app.adopt_trained()
            check_fields(given)
            if check is not None:
                check(app, given)
            return call(app, given)

        return await _in_thread(answer, line)

    return APIRoute(
        route.path, guarded, methods=route.methods, name=route.name, summary=route.summary, tags=route.tags,
        responses=route.responses, deprecated=route.deprecated, include_in_schema=route.include_in_schema,
        response_model=route.response_model,
    )  # fmt: skip


def _line_of(key: tuple[str, str]) -> CapacityLimiter:
    if key == ("POST", "/infer/{model}"):
        return INFERENCE_LINE
    return LONG_LINE if key in LONG else RECORDS_LINE


def _stock(endpoint: Callable, *, changing: bool) -> Call:
    """MONAI Label's own endpoint, a coroutine that never waits for anything.

    `changing`: the files that it sends may change meanwhile, and starlette would send more or less than it has said.
    """

    def call(app: MONAILabelApp, given: Given) -> Any:
        for name in FORMS:
            if isinstance(given.get(name), str):
                json_object(name, given[name])
        try:
            answer = asyncio.run(endpoint(**given))
            if changing and isinstance(answer, FileResponse):
                disposition = answer.headers.get("content-disposition")
                return file_as_it_is(answer.path, media_type=answer.media_type, disposition=disposition)
            return answer
        except BaseException:
            tasks = given.get("background_tasks")  # FastAPI forgets them when a request fails
            for task in tasks.tasks if tasks is not None else ():
                task.func(*task.args)
            raise

    return call


async def _in_thread(answer: Callable[[], Any], line: CapacityLimiter) -> Any:
    try:
        return await to_thread.run_sync(answer, limiter=line)
    except HTTPException:
        raise
    except Exception as fault:
        status, sentence = status_and_sentence(fault)
        if is_unexpected(fault):
            logger.exception("A request failed")
        raise HTTPException(status, sentence) from fault
