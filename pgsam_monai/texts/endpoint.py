"""A language model behind an OpenAI-compatible HTTP endpoint: vLLM, Ollama, llama.cpp, a hospital's own server."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from pgsam_monai.base.addresses import is_loopback_url
from pgsam_monai.base.errors import UserFault
from pgsam_monai.texts.answers import SCHEMA
from pgsam_monai.texts.asking import Message

API_KEY_VARIABLE = "OPENAI_API_KEY"
BUSY = (429, 500, 502, 503, 504)
LONGEST_WAIT_S = 120
CONNECT_TIMEOUT_S = 10
MAX_ANSWER_TOKENS = 4096
"""room for models that think before they answer"""


class Endpoint:
    """Asks the model `model` at `address`, such as http://localhost:11434/v1.

    Busy servers (429, 5xx) and broken connections are tried again `retries` times, waiting as Retry-After says or
    twice as long each time from `backoff_s` seconds on. Redirects are never followed. A server on this machine is
    asked directly, past any proxy; ~/.netrc is not read. Answers are demanded as JSON of `schema`.

    Raises:
        UserFault: the address is no http(s) address, or the key can't be one.
    """

    def __init__(
        self, address: str, model: str, *, api_key: str | None = None, timeout_s: float = 300,
        retries: int = 4, backoff_s: float = 1.0, schema: Mapping[str, Any] = SCHEMA,
    ):  # fmt: skip
        self.address, self.model, self._schema = check_address(address), model, schema
        self._key, self._timeout_s, self._retries = _check_key(api_key), timeout_s, retries
        self._plain = False
        retry = Retry(
            total=retries, read=min(1, retries), redirect=0, allowed_methods=None, status_forcelist=BUSY,
            backoff_factor=backoff_s, backoff_max=LONGEST_WAIT_S, retry_after_max=LONGEST_WAIT_S,
            raise_on_status=False,
        )  # fmt: skip
        self._session = requests.Session()
        self._session.trust_env = not is_loopback_url(address)
        self._session.auth = self._sign  # a callable of our own keeps requests from reading ~/.netrc
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def ask(self, messages: Sequence[Message]) -> str:
        """The model's raw answer ('' when it gave none).

        The first requests demand the JSON schema; once a server refuses that (400, 422), plain requests follow.
        Raises UserFault, one sentence each: unreachable, key refused, unknown model, not compatible.
        """
        request = {"model": self.model, "messages": list(messages)}
        response = None
        if not self._plain:
            response = self._send("POST", "chat/completions", {**request, **_extras(self._schema)})
        if response is None or response.status_code in (400, 422):
            response = self._send("POST", "chat/completions", request)
            self._plain = self._plain or response.ok
        if not response.ok:
            raise UserFault(self._refusal(response))
        return self._content(response)

    def models(self) -> list[str]:
        """Names of the models that the server offers; empty if it does not tell."""
        response = self._send("GET", "models")
        try:
            return [str(entry["id"]) for entry in response.json()["data"]] if response.ok else []
        except (ValueError, KeyError, TypeError):
            return []

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        timeout = (CONNECT_TIMEOUT_S, self._timeout_s)
        try:
            response = self._session.request(
                method, f"{self.address}/{path}", json=body, timeout=timeout, allow_redirects=False
            )
        except requests.RequestException as error:
            raise UserFault(
                f"Endpoint {self.address} can't be reached ({self._hide(_reason(error))}; tried up to "
                f"{self._retries + 1} times); start the server or correct --endpoint."
            ) from None
        if response.is_redirect or 300 <= response.status_code < 400:
            target = self._hide(response.headers.get("Location", "elsewhere"))
            raise UserFault(
                f"Endpoint {self.address} redirects to {target}, which is not followed; "
                "name that address as --endpoint if you trust it."
            )
        return response

    def _refusal(self, response: requests.Response) -> str:
        status = response.status_code
        if status in (401, 403):
            sent = "the key given was refused" if self._key else "no key was given"
            return (
                f"Endpoint {self.address} wants another API key ({status}, {sent}); "
                f"put the key into a file for --api_key_file, or into {API_KEY_VARIABLE}."
            )
        if status == 404:
            offered = self.models()
            if offered:
                names = ", ".join(offered[:20]) + (", …" if len(offered) > 20 else "")
                return f"Endpoint {self.address} has no model '{self.model}'; it offers: {names}."
            return (
                f"Endpoint {self.address} answers 404 for model '{self.model}' and lists no models; "
                "correct --endpoint (it usually ends in /v1) or --model."
            )
        said = self._hide(" ".join(response.text.split())[:300]) or "nothing more"
        return f"Endpoint {self.address} answers {status} for model '{self.model}'; it says: {said}"

    def _content(self, response: requests.Response) -> str:
        try:
            content = response.json()["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            said = self._hide(" ".join(response.text.split())[:120])
            raise UserFault(
                f"Endpoint {self.address} does not answer like an OpenAI-compatible server (got: {said}); "
                "correct --endpoint, it usually ends in /v1."
            ) from None
        return content if isinstance(content, str) else ""

    def _hide(self, text: str) -> str:
        return text.replace(self._key, "(key)") if self._key else text


def check_address(address: str) -> str:
    """The address without a trailing slash. Raises UserFault unless it is plain http(s)://host[:port][/path]."""
    try:
        parts = urlsplit(str(address))
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or "@" in parts.netloc:
        got = "" if "@" in str(address) else f"; got '{address}'"  # a password must not be shown
        raise UserFault(
            "--endpoint must be an address such as http://localhost:11434/v1, "
            f"without user, password or query{got}."
        )
    return str(address).rstrip("/")


def host_of(address: str) -> str:
    """Host and port as written in the address."""
    return urlsplit(address).netloc


def read_api_key(file: str | None) -> tuple[str | None, str]:
    """The key and where it is from: the file, else OPENAI_API_KEY, else (None, '').

    Raises:
        UserFault: the file can't be read or is empty.
    """
    if file is None:
        key = os.environ.get(API_KEY_VARIABLE, "").strip()
        return (key, API_KEY_VARIABLE) if key else (None, "")
    try:
        key = Path(file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise UserFault(
            f"--api_key_file '{file}' can't be read ({reason}); it holds the key and nothing else."
        ) from None
    if not key:
        raise UserFault(f"--api_key_file '{file}' is empty; it holds the key and nothing else.")
    return key, str(file)


def _check_key(key: str | None) -> str | None:
    if key and not re.fullmatch(r"[\x21-\x7e]+", key):  # its value must not reach an error message
        raise UserFault("The API key must be one word of ASCII characters; check the file or the variable.")
    return key


def _extras(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What most servers understand and a plain request leaves out."""
    form = {"name": "description", "strict": True, "schema": schema}
    return {
        "temperature": 0, "seed": 0, "max_tokens": MAX_ANSWER_TOKENS,
        "response_format": {"type": "json_schema", "json_schema": form},
    }  # fmt: skip


def _reason(error: requests.RequestException) -> str:
    """The innermost cause in a few words: 'Connection refused', 'Read timed out.'."""
    inner: Any = error
    while True:
        deeper = getattr(inner, "reason", None) or (inner.args[0] if getattr(inner, "args", None) else None)
        if not isinstance(deeper, BaseException):
            break
        inner = deeper
    return str(inner).rsplit("] ", 1)[-1].rsplit(": ", 1)[-1].rstrip(".")[:200] or type(error).__name__
