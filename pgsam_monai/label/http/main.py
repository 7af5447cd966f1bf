"""MONAI Label's start, as `python -m pgsam_monai.label.http.main start_server …`, with connections that end.

Only inside MONAI Label's environment.
"""

from __future__ import annotations

from argparse import Namespace

from pgsam_monai.base.needless_imports import hide_needless_imports

hide_needless_imports()  # before MONAI Label imports MONAI

import uvicorn  # noqa: E402
from monailabel.main import Main  # noqa: E402
from monailabel.utils.others.generic import init_log_config  # noqa: E402

from pgsam_monai.label.http.connections import PatientConnection  # noqa: E402

BACKLOG = 512
SHUTDOWN_S = 20
"""for requests under way when the server is told to end"""


class LabelMain(Main):
    """Its arguments and settings, another way of listening."""

    def action_start_server(self, args: Namespace) -> None:
        """Called by `run`."""
        self.start_server_validate_args(args)
        self.start_server_init_settings(args)
        uvicorn.run(
            args.uvicorn_app, host=args.host, port=args.port, log_level=args.log_level,
            log_config=init_log_config(args.log_config, args.app, "app.log", args.verbose),
            access_log=False, http=PatientConnection, ws="none", backlog=BACKLOG, timeout_graceful_shutdown=SHUTDOWN_S,
        )  # fmt: skip


if __name__ == "__main__":
    LabelMain().run()
