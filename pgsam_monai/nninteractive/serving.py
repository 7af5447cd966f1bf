"""Starts the server of `pgsam click`, and tells its user what to do with it.

Some requests need no framework: Werkzeug, which TensorBoard brings along, reads forms and answers in threads. Its
server is for few users on a machine of theirs, as this one is.
"""

from __future__ import annotations

import logging
import sys

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from pgsam_monai.base.addresses import is_loopback
from pgsam_monai.base.errors import UserFault
from pgsam_monai.label.launch.serving import faults_of_address
from pgsam_monai.nninteractive.answering import Answering
from pgsam_monai.nninteractive.application import Application

PORT = 1527
"""nnInteractive's server has it"""
PATIENCE_S = 60
"""without a byte from a client, after which its connection is closed"""


class Handler(WSGIRequestHandler):
    """One connection; it may not stay silent without end."""

    timeout = PATIENCE_S

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """A line without colours, which logs would keep."""
        self.log("info", "%s %s %s", self.command, ascii(self.path), code)


def require_address(host: str, port: int) -> None:
    """Before the network is loaded. Raises UserFault where nothing can listen there."""
    faults = faults_of_address(host, port)
    if faults:
        raise UserFault(faults[0])


def make_click_server(answering: Answering, *, host: str = "127.0.0.1", port: int = PORT) -> BaseWSGIServer:
    """It listens and has `serve_forever`; port 0 is any free one, then `server_port`.

    Raises:
        OSError: the address can't be listened to, see `require_address`.
    """
    application = Application(answering, only_loopback=is_loopback(host))
    server = make_server(host, port, application, threaded=True, request_handler=Handler)
    server.daemon_threads = True
    return server


def serve(answering: Answering, *, host: str, port: int) -> None:
    """Answer until Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if not is_loopback(host):
        print(
            f"warning: {host} is reached from other machines, the connection isn't encrypted, and nobody is asked who "
            f"they are: everybody who reaches port {port} can use this server. Better: --host 127.0.0.1 and ssh -L "
            f"{port}:127.0.0.1:{port} from there.",
            file=sys.stderr,
        )
    with make_click_server(answering, host=host, port=port) as server:
        print(summary(answering, host, server.server_port), flush=True)
        server.serve_forever()


def summary(answering: Answering, host: str, port: int) -> str:
    """What answers where, and what to do in 3D Slicer."""
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    rows = [
        ("Answers", f"{answering.model.source}, on {answering.model.device}"),
        ("Structure", answering.label),
        ("Address", address),
        (
            "3D Slicer",
            f"module 'nnInteractive' (extension SlicerNNInteractive), Configuration, Server: {address}",
        ),
        ("Several users", f"{address}/NAME, a name for each"),
        ("Stop", "Ctrl-C"),
    ]
    return "\n".join(f"{name:14} {text}" for name, text in rows)
