"""A real MONAI Label server: it asks who one is, ends with its trainings, and won't start with what it can't serve."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import torch
from dataset_builders import write_msd
from fake_realm import REALM, Realm, make_tokens
from label_server import LabelServer, free_port, good, require_label_environment
from tiny_bundle import plan_tiny, run_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    require_label_environment()
    work = tmp_path_factory.mktemp("label_start")
    bundle = plan_tiny(write_msd(work / "Task09_Organ", cases=5), work)
    run_bundle("training", bundle)
    return bundle


def write_studies(bundle: Path, folder: Path) -> Path:
    """Its data set's cases, labelled."""
    dataset = bundle.parents[1] / "Task09_Organ"
    shutil.copytree(dataset / "imagesTr", folder)
    shutil.copytree(dataset / "labelsTr", folder / "labels/final")
    return folder


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A server that asks who one is."""

    server: LabelServer
    bundle: str
    tokens: dict[str, str]
    port: int
    """of the realm, which is up in `realm` only"""

    def realm(self) -> Realm:
        return Realm(self.tokens, port=self.port)

    def by(self, who: str, path: str = "/info/", method: str = "GET", **options) -> requests.Response:
        return self.server.request(
            method, path, headers={"Authorization": f"Bearer {self.tokens[who]}"}, **options
        )


@pytest.fixture(scope="module")
def asked(bundle, tmp_path_factory):
    work, port = tmp_path_factory.mktemp("asked"), free_port()
    tokens = make_tokens(require_label_environment())
    realm = f"http://127.0.0.1:{port}{REALM}"
    with LabelServer(
        bundle, studies=write_studies(bundle, work / "studies"), work=work, auth=realm
    ) as server:
        yield Asked(server=server, bundle=bundle.name, tokens=tokens, port=port)


def test_without_the_realm_nobody_is_let_in(asked):
    assert asked.server.get("/health").status_code == 200
    for path in ("/info/", "/plans/studies"):
        assert asked.server.get(path).status_code == 401
    waiting = asked.by("admin")
    assert waiting.status_code == 503 and "is it up" in waiting.json()["detail"]


@pytest.mark.parametrize("who", ["expired", "endless", "stranger's", "unsigned", "forged", "no token"])
def test_tokens_that_are_no_good(asked, who):
    with asked.realm():
        refused = asked.by(who)
    assert refused.status_code == 401 and "isn't accepted" in refused.json()["detail"]


def test_roles(asked):
    with asked.realm():
        for who, path in (("no roles", "/info/"), ("odd roles", "/info/"), ("no roles", "/plans/studies")):
            refused = asked.by(who, path)
            assert refused.status_code == 403 and "monailabel-user" in refused.json()["detail"]
        models = good(asked.by("user")).json()["models"]
        assert list(models) == [f"{asked.bundle}{kind}" for kind in ("", "_deepedit", "_deepgrow")]
        assert asked.by("user", "/plans/studies").status_code == 404
        for method, path in (("POST", f"/train/{asked.bundle}"), ("GET", "/logs/"), ("DELETE", "/train/")):
            refused = asked.by("user", path, method)
            assert refused.status_code == 403 and "monailabel-admin" in refused.json()["detail"]
        assert "Serving" in good(asked.by("admin", "/logs/")).text


def test_a_token_for_a_password(asked):
    words = {"username": "ann", "password": "wrong"}
    with asked.realm():
        refused = asked.server.post("/auth/token", data=words)
        assert refused.status_code == 401 and "this name and password" in refused.json()["detail"]
        token = good(asked.server.post("/auth/token", data=words | {"password": "secret"})).json()
    assert token["access_token"] == asked.tokens["user"]
    assert asked.server.post("/auth/token", data=words).status_code == 503


def test_a_training_ends_with_the_server(asked):
    """The last one with this server: Ctrl-C, while a training runs. There is one at a time."""
    path = f"/train/{asked.bundle}?enqueue=true"
    good(asked.by("admin", path, "POST", json={"max_epochs": 10_000}))
    assert asked.by("admin", path, "POST", json={}).status_code == 429
    deadline = time.monotonic() + 60
    while not asked.server.get("/health").json()["training"] and time.monotonic() < deadline:
        time.sleep(0.2)
    assert good(asked.by("user", "/train/?check_if_running=true")).json()["status"] == "RUNNING"
    began = time.monotonic()
    assert asked.server.stop(signal.SIGINT) == 0  # asserts that no process of the server is left
    assert time.monotonic() - began < 15
    said = asked.server.tail(200_000)
    assert "everybody" not in said and "KeyboardInterrupt" not in said


def test_weights_of_another_network_stop_the_start_with_a_sentence(bundle, tmp_path):
    broken = tmp_path / "samed_broken"
    shutil.copytree(bundle, broken)
    state = torch.load(broken / "models/model.pt", weights_only=True)
    state.pop(next(iter(state)))
    torch.save(state, broken / "models/model.pt")
    server = LabelServer(broken, studies=write_studies(bundle, tmp_path / "studies"), work=tmp_path)
    done = subprocess.run(server.command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "Bundle 'samed_broken'" in done.stderr and "doesn't fit the network" in done.stderr
    assert "Traceback" not in done.stderr
