import pytest

from pgsam_monai.base.addresses import is_loopback, is_loopback_url


@pytest.mark.parametrize(
    "host, loopback",
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.3.2.1", True), ("0.0.0.0", False), ("::", False),
     ("10.0.0.7", False), ("scanner", False)],
)  # fmt: skip
def test_loopback(host, loopback):
    assert is_loopback(host) is loopback


def test_only_this_machine_is_loopback():
    near = ["http://localhost:1/v1", "http://127.0.0.1/v1", "http://127.8.8.8", "http://[::1]:8000/v1"]
    far = [
        "http://localhost.example.org",
        "http://10.0.0.1",
        "https://api.example.org",
        "http://127.0.0.1.nip.io",
    ]
    assert [is_loopback_url(address) for address in near + far] == [True] * 4 + [False] * 4
