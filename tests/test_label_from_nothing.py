"""A real MONAI Label server without any bundle, from the first click to a network of one's own, without a restart."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_builders import write_volume
from label_server import LabelServer, require_label_environment

pytestmark = pytest.mark.slow

MIDDLE = [20, 24, 3]
SEGMENTS = [{"name": "liver", "idx": 1}]
QUICK = {"max_epochs": 1, "iterations_per_epoch": 2}


def disc() -> np.ndarray:
    i, j = np.ogrid[:64, :64]
    flat = (i - MIDDLE[0]) ** 2 + (j - MIDDLE[1]) ** 2 <= 8**2
    return np.repeat(flat[..., None], 6, axis=2).astype(np.uint8)


def test_clicks_then_a_bundle_that_is_served_and_trained_on(tmp_path):
    require_label_environment()
    for number in range(2):
        image = 100 + 100 * disc() + np.random.default_rng(number).normal(0, 5, (64, 64, 6))
        write_volume(tmp_path / f"studies/case_{number}.nii.gz", image.astype(np.int16))
    with LabelServer(
        studies=tmp_path / "studies", work=tmp_path, labels="liver", window="-100,300"
    ) as server:
        assert set(server.info()["models"]) == {"drawn_tiny_deepedit", "drawn_tiny_deepgrow"}
        reply = server.infer("drawn_tiny_deepedit", "case_0", liver=[MIDDLE])
        assert reply.params["label_names"] == {"liver": 1}
        for number in range(2):
            file = write_volume(tmp_path / "saved.nii.gz", disc())
            server.save_label(f"case_{number}", file, tag="final", label_info=SEGMENTS)
        server.train("drawn_tiny", **QUICK)
        task = server.wait_for("train")
        assert task["status"] == "DONE" and "is served as samed_studies from now on" in str(task["details"])
        page = server.get("/plans/studies")
        assert (
            page.status_code == 200 and "liver" in page.text and "text/html" in page.headers["content-type"]
        )
        assert server.get("/plans/others").json()["detail"].startswith("There is no plan 'others' here")
        assert "samed_studies_deepedit" in server.get("/health").json()["models"]
        assert set(server.info()["trainers"]) == {"drawn_tiny", "samed_studies"}
        assert server.infer("samed_studies", "case_1").params["label_names"] == {"liver": 1}
        server.train("samed_studies", **QUICK)
        assert server.wait_for("train")["status"] == "DONE"
