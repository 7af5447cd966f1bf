"""Speaks as the SlicerNNInteractive extension does: forms by hand, as its encoder writes them, and answers unpacked."""

from __future__ import annotations

import gzip
import io
import json

import numpy as np

BOUNDARY = "5f1d7a84db36433a9cd6bbcb4a5c33ea"


def as_npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def form(file: bytes | None, name: str = "volume.npy.gz", **fields: str) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a form."""
    parts = []
    if file is not None:
        kind = "Content-Type: application/octet-stream"
        head = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n{kind}\r\n\r\n'
        parts.append(head.encode() + file)
    parts += [f'Content-Disposition: form-data; name="{n}"\r\n\r\n{v}'.encode() for n, v in fields.items()]
    body = b"".join(b"--%s\r\n%s\r\n" % (BOUNDARY.encode(), part) for part in parts)
    return body + f"--{BOUNDARY}--\r\n".encode(), {
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"
    }


class SlicerClient:
    """`post` takes path, body and headers, and returns status, headers and body."""

    def __init__(self, post, prefix: str = "") -> None:
        self._post, self._prefix, self.shape = post, prefix, None

    def send(self, endpoint: str, body: bytes, headers: dict[str, str]):
        return self._post(f"{self._prefix}/{endpoint}", body, headers)

    def upload_image(self, image: np.ndarray):
        """`image`: (z, y, x)."""
        self.shape = image.shape
        return self._read(self.send("upload_image", *form(as_npy(image), "volume.npy")))

    def upload_segment(self, mask: np.ndarray):
        return self._read(self._send_mask("upload_segment", mask))

    def point(self, voxel, positive=True):
        return self._say("add_point_interaction", voxel_coord=voxel, positive_click=positive)

    def box(self, first, second, positive=True):
        return self._say(
            "add_bbox_interaction", outer_point_one=first, outer_point_two=second, positive_click=positive
        )

    def lasso(self, mask, positive=True):
        return self._read(self._send_mask("add_lasso_interaction", mask, positive_click=str(positive)))

    def scribble(self, mask, positive=True):
        return self._read(self._send_mask("add_scribble_interaction", mask, positive_click=str(positive)))

    def _say(self, endpoint: str, **said):
        body = json.dumps(said).encode()
        return self._read(self.send(endpoint, body, {"Content-Type": "application/json"}))

    def _send_mask(self, endpoint: str, mask: np.ndarray, **fields: str):
        body, headers = form(gzip.compress(as_npy(mask)), **fields)
        return self.send(endpoint, body, headers | {"Content-Encoding": "gzip"})

    def _read(self, answer):
        """A mask (z, y, x), or what JSON says, with its status if that isn't 200."""
        status, headers, body = answer
        if headers["Content-Type"].startswith("application/json"):
            return json.loads(body) if status == 200 else (status, json.loads(body)["message"])
        assert headers["Content-Encoding"] == "gzip" and status == 200
        bits = np.unpackbits(np.frombuffer(gzip.decompress(body), np.uint8))
        return bits[: np.prod(self.shape)].reshape(self.shape).astype(bool)
