"""GET /plans/{name}: the report of a plan that a training from nothing has made; only inside MONAI Label's environment.

A report is one page without anything from elsewhere. It names the studies, so it asks for the role that lists them.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import Depends, HTTPException
from fastapi.responses import HTMLResponse
from monailabel.config import RBAC_USER, settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance

from pgsam_monai.label.faults import RequestFault
from pgsam_monai.label.fields import known_name
from pgsam_monai.label.own_bundles import reports

SUMMARY = f"{RBAC_USER}The report of a plan that was made here"


def plan_report(name: str, user: User = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))) -> HTMLResponse:  # noqa: B008
    """The page."""
    return HTMLResponse(page_of(app_instance().app_dir, name))


def page_of(app_dir: str | Path, name: str) -> str:
    """The HTML of a report.

    Raises:
        HTTPException: there is none of that name.
    """
    found = reports(app_dir)
    try:
        return found[known_name("plan", name, found)].read_text(encoding="utf-8")
    except RequestFault as fault:
        raise HTTPException(fault.status, str(fault)) from fault
