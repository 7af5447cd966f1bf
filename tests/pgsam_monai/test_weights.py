import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

from pgsam_monai import weights as module
from pgsam_monai.weights import (
    KNOWN_WEIGHTS,
    Weights,
    WeightsError,
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
    assert {record.backbone for record in KNOWN_WEIGHTS.values()} >= {"vit_b", "vit_l", "vit_h"}
    for name, record in KNOWN_WEIGHTS.items():
        assert record.name == name
        assert len(record.sha256) == 64
        assert record.file_name.startswith(name) and record.file_name.endswith(".pth")


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
    with pytest.raises(WeightsError, match=message):
        download_weights(make_record(serve(**served)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_connection_names_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(WeightsError, match="could not be downloaded .*`pgsam weights import sam_test.pth`"):
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
    with pytest.raises(WeightsError, match=hashlib.sha256(b"other").hexdigest()):
        import_weights(tmp_path / "other.pth", weights_dir=tmp_path / "cache")
    with pytest.raises(WeightsError, match="does not exist"):
        import_weights(tmp_path / "none.pth")


def test_a_kept_file_of_another_size_is_refused(monkeypatch, tmp_path):
    know(monkeypatch, make_record())
    (tmp_path / "sam_test.pth").write_bytes(CONTENT[:10])
    with pytest.raises(WeightsError, match="has 10 bytes, expected 8,000; delete it"):
        resolve_weights("sam_test", weights_dir=tmp_path)


def test_a_path_resolves_to_itself_and_a_wrong_name_to_the_nearest(tmp_path):
    file = tmp_path / "my.pth"
    file.touch()
    assert resolve_weights(str(file)) == file
    with pytest.raises(WeightsError, match="'sam_vit-b' are neither .*Did you mean 'sam_vit_b'"):
        resolve_weights("sam_vit-b")


def test_loading_reads_tensors_and_runs_nothing(tmp_path):
    from safetensors.torch import save_file

    state = {"a": torch.arange(3.0)}
    torch.save(state, tmp_path / "a.pth")
    save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        assert torch.equal(load_weights(tmp_path / name)["a"], state["a"])
    torch.save({"a": make_record()}, tmp_path / "code.pth")
    with pytest.raises(WeightsError, match="can't be read as plain tensors"):
        load_weights(tmp_path / "code.pth")
