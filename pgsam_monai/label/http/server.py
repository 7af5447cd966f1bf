"""The application that `pgsam label` starts: MONAI Label's, made fit for more than one careful user.

Only inside MONAI Label's environment. Importing this builds the application, because uvicorn is given its name.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from monailabel import endpoints as stock_endpoints
from monailabel.config import settings
from monailabel.endpoints.user.auth import get_current_user
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.async_tasks import utils as background
from starlette.middleware.cors import CORSMiddleware

from pgsam_monai.base.addresses import is_loopback
from pgsam_monai.base.errors import UserFault
from pgsam_monai.label.faults import LONGEST, cut, sendable, status_and_sentence
from pgsam_monai.label.fields import max_bytes
from pgsam_monai.label.http.endpoints import guard
from pgsam_monai.label.http.gate import Application, Gate, Receive, Send
from pgsam_monai.label.http.home_page import home_page
from pgsam_monai.label.http.plan_reports import SUMMARY, plan_report
from pgsam_monai.label.http.sign_in import current_user
from pgsam_monai.label.reading.reader import reader
from pgsam_monai.label.temporary import PREFIX

logger = logging.getLogger(__name__)

PARTS = (
    "activelearning", "batch_infer", "datastore", "infer", "info", "login", "logs", "model", "ohif", "proxy", "scoring",
    "session", "train", "wsi_infer",
)  # fmt: skip
REPLACED = ("/", "/docs", "/reload")
"""pages with scripts from the internet, and a new app without its checks for whoever asks"""
OWN_GROUP: dict[str, Any] = (
    {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}
)
LOOPBACK_PAGES = r"https?://(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?"


async def health() -> dict[str, Any]:
    """Does the server live, what does it serve, is it training; asks nobody who they are and reads no study."""
    app = app_instance()
    app.adopt_trained()
    return {
        "status": "ok",
        "models": list(app._infers),
        "training": bool(background.processes("train")),
        "version": metadata.version("pgsam-monai"),
    }


async def home(request: Request) -> HTMLResponse:
    """The page at /."""
    address = str(request.base_url).rstrip("/")
    return HTMLResponse(home_page(address, list(app_instance()._infers), request.app.openapi()))


async def tell_fault(request: Request, fault: Exception) -> JSONResponse:
    """What no endpoint has told; the traceback is logged by uvicorn."""
    status, sentence = status_and_sentence(fault)
    return JSONResponse({"detail": sentence}, status)


async def tell_misfit(request: Request, fault: RequestValidationError) -> JSONResponse:
    """Parameters that are missing or of another type, in one sentence."""
    parts = [f"{'.'.join(map(str, error['loc'][1:])) or 'body'}: {error['msg']}" for error in fault.errors()]
    return JSONResponse({"detail": sendable(cut("; ".join(parts), LONGEST)) + "."}, 422)


def build() -> FastAPI:
    """MONAI Label's application with our endpoints, faults, rules for web pages and check of tokens."""
    for name in PARTS:
        guard(importlib.import_module(f"{stock_endpoints.__name__}.{name}").router)
    with contextlib.redirect_stdout(io.StringIO()):  # it says which pages it lets in, which isn't so here
        from monailabel.app import app
    app.router.routes[:] = [
        route for route in app.router.routes if getattr(route, "path", "") not in REPLACED
    ]
    app.user_middleware[:] = [kept for kept in app.user_middleware if kept.cls is not CORSMiddleware]
    app.add_middleware(
        CORSMiddleware, allow_origins=allowed_origins(), allow_origin_regex=LOOPBACK_PAGES, allow_credentials=True,
        allow_methods=["*"], allow_headers=["*"],
    )  # fmt: skip
    app.add_api_route("/", home, methods=["GET"], include_in_schema=False)
    app.add_api_route("/health", health, methods=["GET"], summary="Does the server live?", tags=["App"])
    app.add_api_route("/plans/{name}", plan_report, methods=["GET"], summary=SUMMARY, tags=["Train"])
    app.router.lifespan = live
    app.add_exception_handler(RequestValidationError, tell_misfit)
    app.add_exception_handler(Exception, tell_fault)
    if settings.MONAI_LABEL_AUTH_ENABLE:
        app.dependency_overrides[get_current_user] = current_user
    return app


def allowed_origins() -> list[str]:
    """Addresses of web pages that may ask, beside those of this machine."""
    listed = settings.MONAI_LABEL_APP_CONF.get("allow_origin", "")
    return [origin for origin in listed.split(",") if origin]


async def live(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """The server's life, as ASGI has it: start MONAI Label's app, and end its processes in the end."""
    await receive()
    try:
        start_app()
    except Exception as fault:
        if not isinstance(fault, UserFault):
            logger.exception("The server can't start")
        return await send({"type": "lifespan.startup.failed", "message": f"pgsam: {fault}"})
    await send({"type": "lifespan.startup.complete"})
    await receive()
    end_processes()
    reader.end()
    if Path(tempfile.gettempdir()).name.startswith(PREFIX):
        shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)
    await send({"type": "lifespan.shutdown.complete"})


def start_app() -> None:
    """Make the app, which loads and checks all weights."""
    background.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": Apart})
    app = app_instance()
    app.server_mode(True)
    app.on_init_complete()
    logger.info("Serving %s at port %s", ", ".join(app._infers), settings.MONAI_LABEL_SERVER_PORT)


class Apart(subprocess.Popen):
    """A process that a Ctrl-C at the server's terminal doesn't reach: `end_processes` ends it, without a traceback."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options, **OWN_GROUP)


def end_processes() -> None:
    """Trainings and scorings end with the server, those that wait included."""
    for executor in background.background_executors.values():
        executor.shutdown(wait=False, cancel_futures=True)
    for method in list(background.background_processes):
        while background.processes(method):
            background.stop_background_task(method)


def served() -> Application:
    """What uvicorn serves."""
    conf = settings.MONAI_LABEL_APP_CONF
    return Gate(
        inside=build(), origins=allowed_origins(), only_loopback=is_loopback(conf.get("host", "")),
        max_bytes=max_bytes(conf),
    )  # fmt: skip


app = served()
