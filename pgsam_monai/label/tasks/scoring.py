"""Scores for active learning: how unsure a bundle is of each image without a label.

Only inside MONAI Label's environment.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.utils.others.generic import name_to_device

from pgsam_monai.bundle import Bundle
from pgsam_monai.inference.uncertainty import measure_uncertainty
from pgsam_monai.label.faults import is_unexpected, status_and_sentence
from pgsam_monai.label.fields import count_of, device_there
from pgsam_monai.label.tasks.inference_request import find_image

logger = logging.getLogger(__name__)

SCORE, STAMP = "epistemic_entropy", "epistemic_ts"
"""What MONAI Label's strategy of that name reads of an image, and the time of change (s) of the weights it is of."""
LEAST_SIMULATIONS = 2


class EpistemicScoring(ScoringMethod):
    """Writes a score for each image without a final label that has none of the present weights yet.

    The score is the mutual information of `measure_uncertainty`, not the whole entropy: labels teach a network what
    it doesn't know, they do nothing for boundaries that are blurred in every image. On 40 unseen cases of Hippocampus
    it ranked images by their Dice a little better than the entropy did, and neither very well (rank correlation with
    1 - Dice 0.35 and 0.31 of SAMed, -0.02 and -0.18 of a 3-D DynUNet, whose Dice hardly differs between cases).
    """

    def __init__(
        self, served: Bundle, *, max_samples: int = 0, simulations: int = 5, dropout: float = 0.2
    ) -> None:
        """
        Args:
            served: the bundle that is to be improved.
            max_samples: images scored per request; 0 for all.
            simulations: passes per image.
            dropout: share of the channels that each goes without.
        """
        super().__init__(f"How unsure {served.name} is of each image, by Monte-Carlo dropout.")
        self.served = served
        self.max_samples, self.simulations, self.dropout = max_samples, simulations, dropout

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Score.

        Args:
            request: "max_samples", "simulation_size", "device"; others are ignored.
            datastore: MONAI Label's.

        Returns:
            {"total": images without label, "skipped": already scored, "executed", "failed", "latency": s}.

        Raises:
            RequestFault: a value outside its range.
            WeightsFault: the weights don't fit.
        """
        started = time.monotonic()
        most = count_of(request, "max_samples", self.max_samples, least=0)
        simulations = count_of(request, "simulation_size", self.simulations, least=1)
        given = request.get("device")
        device = device_there(name_to_device(given)) if given else str(self.served.device)
        # Its own, because channels are dropped in it, which must not happen to requests that are answered meanwhile.
        bundle = type(self.served)(self.served.folder, device=device)
        stamp = int(bundle.model_file.stat().st_mtime)
        images = datastore.get_unlabeled_images()
        waiting = [name for name in images if datastore.get_image_info(name).get(STAMP) != stamp]
        skipped = len(images) - len(waiting)
        waiting = waiting[:most] if most else waiting
        logger.info("Scoring %d images by '%s'; %d have their score.", len(waiting), bundle.name, skipped)
        failed = sum(
            not self._score(name, bundle, datastore, max(simulations, LEAST_SIMULATIONS), stamp)
            for name in waiting
        )
        latency = round(time.monotonic() - started, 3)
        return {
            "total": len(images), "skipped": skipped, "executed": len(waiting) - failed, "failed": failed,
            "latency": latency,
        }  # fmt: skip

    def _score(self, name: str, bundle: Bundle, datastore: Datastore, simulations: int, stamp: int) -> bool:
        """Write an image's score; False, and a line in the log, where there is none."""
        network = bundle.network  # what is wrong with it is wrong for all images
        try:
            file = find_image(datastore.get_image_uri(name), channels=bundle.channels)
            image = bundle.preprocessing({"image": file})["image"]
            found = measure_uncertainty(
                network, bundle.inferer, image.unsqueeze(0).to(bundle.device), simulations=simulations,
                dropout=self.dropout,
            )  # fmt: skip
        except Exception as fault:  # of whatever reads the image
            logger.error(
                "Image '%s' gets no score: %s",
                name,
                status_and_sentence(fault)[1],
                exc_info=is_unexpected(fault),
            )
            return False
        if not math.isfinite(found.mutual_information):
            logger.error("Image '%s' gets no score: the network's answer to it is no number.", name)
            return False
        logger.info(
            "Image '%s': mutual information %.5f of an entropy of %.5f nats.",
            name, found.mutual_information, found.entropy,
        )  # fmt: skip
        if isinstance(datastore, LocalDatastore):
            datastore.refresh()  # what was labelled since; writing would undo it
        datastore.update_image_info(name, {SCORE: found.mutual_information, STAMP: stamp})
        return True
