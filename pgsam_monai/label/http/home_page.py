"""The page at the server's own address: what can be asked, without anything from the internet."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

STYLE = (
    "body{font:16px sans-serif;margin:2em auto;max-width:60em;padding:0 1em;color:#222;background:#fff}"
    "td{padding:.2em 1em .2em 0;vertical-align:top}code{background:#eee;padding:.1em .3em}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}code{background:#333}a{color:#8cf}}"
)


def home_page(address: str, models: list[str], api: Mapping[str, Any]) -> str:
    """HTML.

    Args:
        address: of the server, without a slash at the end.
        models: names of what it serves.
        api: its OpenAPI description.
    """
    rows = [
        f"<tr><td>{method.upper()}</td><td><code>{escape(path)}</code></td><td>{escape(_words(entry))}</td></tr>"
        for path, methods in api["paths"].items()
        for method, entry in methods.items()
    ]
    served = ", ".join(f"<code>{escape(name)}</code>" for name in models)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>pgsam label</title><style>{STYLE}</style>'
        f"<h1>MONAI Label with bundles of pgsam-monai</h1><p>Models: {served}.</p>"
        f"<p>In 3D Slicer: module <b>MONAI Label</b>, server address <code>{escape(address)}</code>.</p>"
        '<p><a href="info/">What is served</a> · <a href="health">Health</a> · <a href="datastore/?output=all">Studies'
        '</a> · <a href="logs/">Log</a> · <a href="openapi.json">Description for programs</a></p>'
        f"<h2>What can be asked</h2><table>{''.join(rows)}</table></html>"
    )


def _words(entry: Mapping[str, Any]) -> str:
    """A summary without MONAI Label's mark for the role that is needed."""
    return str(entry.get("summary", "")).rpartition("| - ")[2].strip()
