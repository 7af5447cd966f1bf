"""Who a request is from, by the token of an OpenID Connect server; only inside MONAI Label's environment.

MONAI Label 0.8.5 verifies tokens in a way that newer releases of PyJWT refuse, so that nobody would be let in, and
answers 500 where its realm can't be reached.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jwt
import requests
from fastapi import Depends, HTTPException
from monailabel.config import settings
from monailabel.endpoints.user.auth import User, oauth2_scheme
from starlette.concurrency import run_in_threadpool

logger = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""of public keys only: with one of a shared secret, anybody who knows the public key could sign"""
KEY_SECONDS = 300


async def current_user(token: str = Depends(oauth2_scheme)) -> User:
    """The user that a token names; takes the place of MONAI Label's own."""
    return await run_in_threadpool(user_of, token)


def user_of(token: str) -> User:
    """
    Raises:
        HTTPException: 401 for a token that isn't good, 503 where nobody can tell.
    """
    try:
        key = _public_key(settings.MONAI_LABEL_AUTH_REALM_URI, int(time.monotonic() // KEY_SECONDS))
    except (requests.RequestException, ValueError, KeyError) as error:
        logger.exception("The realm's public key can't be fetched")
        raise HTTPException(
            503,
            f"Tokens can't be checked: {settings.MONAI_LABEL_AUTH_REALM_URI} gives no public key "
            f"({type(error).__name__}); is it up, and is it a realm's address?",
        ) from error
    try:
        claims = jwt.decode(
            token, key, algorithms=ALGORITHMS, options={"verify_aud": False, "require": ["exp"]}
        )
    except jwt.PyJWTError as error:
        raise HTTPException(
            401, f"The token isn't accepted ({error}); sign in again.", headers={"WWW-Authenticate": "Bearer"}
        ) from error
    return User(
        username=str(claims.get(settings.MONAI_LABEL_AUTH_TOKEN_USERNAME) or claims.get("sub") or "unknown"),
        email=claims.get(settings.MONAI_LABEL_AUTH_TOKEN_EMAIL),
        name=claims.get(settings.MONAI_LABEL_AUTH_TOKEN_NAME),
        roles=_roles(claims),
    )


def fetch_token(app: object, given: Mapping[str, Any]) -> dict[str, Any]:
    """A token for a name and a password, from the realm; for clients that don't ask it themselves.

    Raises:
        HTTPException: 401 for a wrong password, 503 where the realm doesn't answer as one.
    """
    realm, wait_s = settings.MONAI_LABEL_AUTH_REALM_URI, settings.MONAI_LABEL_AUTH_TIMEOUT
    form = given["form_data"]
    words = {
        "client_id": settings.MONAI_LABEL_AUTH_CLIENT_ID, "grant_type": "password", "username": form.username,
        "password": form.password,
    }  # fmt: skip
    try:
        described = requests.get(f"{realm}/.well-known/openid-configuration", timeout=wait_s)
        described.raise_for_status()
        reply = requests.post(described.json()["token_endpoint"], data=words, timeout=wait_s)
        if reply.status_code in (400, 401, 403):
            raise HTTPException(401, "The realm doesn't accept this name and password.")
        reply.raise_for_status()
        return reply.json()
    except (requests.RequestException, ValueError, KeyError) as error:
        logger.exception("The realm gives no token")
        raise HTTPException(503, f"No token: {realm} doesn't answer as a realm does; is it up?") from error


@lru_cache(maxsize=2)
def _public_key(realm: str, _period: int) -> str:
    """PEM, as Keycloak publishes it; asked for anew in each period, because keys change."""
    reply = requests.get(realm, timeout=settings.MONAI_LABEL_AUTH_TIMEOUT)
    reply.raise_for_status()
    return f"-----BEGIN PUBLIC KEY-----\n{reply.json()['public_key']}\n-----END PUBLIC KEY-----"


def _roles(claims: dict[str, Any]) -> list[str]:
    """Found where the setting says, as in realm_access#roles."""
    found: Any = claims
    for name in settings.MONAI_LABEL_AUTH_TOKEN_ROLES.split("#"):
        found = found.get(name) if isinstance(found, dict) else None
    return [role for role in found if isinstance(role, str)] if isinstance(found, list) else []
