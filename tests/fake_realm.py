"""An OpenID Connect realm on the loopback interface, as Keycloak shows itself, and tokens that it signed or didn't."""

from __future__ import annotations

import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

REALM = "/realms/lab"
MAKE_TOKENS = """
import base64, hashlib, hmac, json, time
import jwt
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import rsa

key, other = (rsa.generate_private_key(65537, 2048) for _ in range(2))
der = key.public_key().public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)
pem = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)


def claims(*roles, lives_s=600):
    roles = [f"monailabel-{role}" for role in roles]
    return {"preferred_username": "ann", "realm_access": {"roles": roles}, "exp": int(time.time()) + lives_s}


def code(content):
    return base64.urlsafe_b64encode(content).rstrip(b"=")


# Signed with what everybody can read, as if it were a shared secret.
text = b".".join(code(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims("admin")))
forged = text + b"." + code(hmac.new(pem, text, hashlib.sha256).digest())
without_end = claims("admin")
del without_end["exp"]
sign = lambda content, by=key: jwt.encode(content, by, algorithm="RS256")
print(json.dumps({
    "public_key": base64.b64encode(der).decode(),
    "user": sign(claims("user")),
    "admin": sign(claims("user", "annotator", "admin")),
    "no roles": sign({"sub": "ann", "exp": int(time.time()) + 600}),
    "odd roles": sign({"sub": "ann", "realm_access": "all", "exp": int(time.time()) + 600}),
    "expired": sign(claims("admin", lives_s=-60)),
    "endless": sign(without_end),
    "stranger's": sign(claims("admin"), other),
    "unsigned": jwt.encode(claims("admin"), None, algorithm="none"),
    "forged": forged.decode(),
    "no token": "x.y.z",
}))
"""


def make_tokens(python: Path) -> dict[str, str]:
    """The realm's public key and tokens by what they are; `python` has PyJWT and cryptography."""
    done = subprocess.run([str(python), "-c", MAKE_TOKENS], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


class Realm:
    """`with Realm(tokens, port=…):` serves the realm until the end; ann's password is "secret"."""

    def __init__(self, tokens: dict[str, str], *, port: int):
        self.server = ThreadingHTTPServer(("127.0.0.1", port), _handler(tokens))

    def __enter__(self) -> Realm:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def _handler(tokens: dict[str, str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            address = f"http://{self.headers['Host']}"
            pages = {
                REALM: {"realm": "lab", "public_key": tokens["public_key"]},
                f"{REALM}/.well-known/openid-configuration": {"token_endpoint": f"{address}{REALM}/token"},
            }
            self.reply(200 if self.path in pages else 404, pages.get(self.path, {}))

        def do_POST(self):
            words = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            known = words.get("username") == ["ann"] and words.get("password") == ["secret"]
            good = {"access_token": tokens["user"], "token_type": "Bearer", "expires_in": 600}
            self.reply(*((200, good) if known else (401, {"error": "invalid_grant"})))

        def reply(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
