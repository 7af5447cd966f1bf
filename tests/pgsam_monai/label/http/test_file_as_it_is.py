"""Files are sent as they are when they are asked for."""

import asyncio

import pytest

pytest.importorskip("monailabel", reason="MONAI Label has an environment of its own")

from pgsam_monai.label.http.infer_endpoint import file_as_it_is, file_then_gone  # noqa: E402


def content_of(response):
    async def read():
        return b"".join([piece async for piece in response.body_iterator])

    return asyncio.run(read())


def test_a_log_that_grows_is_sent_as_long_as_was_said(tmp_path):
    log = tmp_path / "app.log"
    log.write_bytes(b"first\n")
    sent = file_as_it_is(log, media_type="text/plain", disposition=None)
    with log.open("ab") as file:
        file.write(b"second\n")
    assert sent.headers["content-length"] == "6" and "content-disposition" not in sent.headers
    assert content_of(sent) == b"first\n"


def test_a_file_that_is_replaced_is_sent_as_it_was(tmp_path):
    label, new = tmp_path / "a.nii.gz", tmp_path / "new"
    label.write_bytes(b"former")
    new.write_bytes(b"a longer one")
    sent = file_as_it_is(label, media_type=None, disposition='attachment; filename="a.nii.gz"')
    new.rename(label)
    assert content_of(sent) == b"former" and "a.nii.gz" in sent.headers["content-disposition"]


def test_a_result_is_gone_before_it_is_sent(tmp_path):
    result = tmp_path / "r.nii.gz"
    result.write_bytes(b"result")
    sent = file_then_gone(result, media_type="application/gzip", name="ä.nii.gz")
    assert not result.exists() and content_of(sent) == b"result"
    assert sent.headers["content-disposition"] == "attachment; filename*=utf-8''%C3%A4.nii.gz"
