"""What a bundle's inference.json does with an image, beside its network."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from pgsam_monai.label.tasks.images import Image, paths_of, reading
from pgsam_monai.predicting.predict import expect_answer

if TYPE_CHECKING:
    import torch
    from monai.bundle import ConfigParser
    from monai.inferers import Inferer
    from monai.transforms import Compose
    from torch import nn

OWN = "own_postprocessing"
"""The config's entry for the bundle's classes; `expect_answer` changes the other."""


class BundleSteps:
    """Preprocessing, inferer and postprocessing; built once, used for every image by one thread at a time."""

    def __init__(self, parser: ConfigParser, *, answers: bool, source: str) -> None:
        """
        Args:
            parser: of `predicting.predict.read_inference`; nothing of it is built yet.
            answers: whether the network reads any text.
            source: what messages call the bundle.
        """
        self._parser = parser
        parser[OWN] = copy.deepcopy(parser["postprocessing"])
        if answers:
            expect_answer(parser, "any words", source=source)

    @property
    def preprocessing(self) -> Compose:
        """{"image": path or paths} -> {"image": (C, H, W, D)}."""
        return self._parser.get_parsed_content("preprocessing")

    @property
    def inferer(self) -> Inferer:
        """(1, C, H, W, D) and the network -> class indices (1, 1, H, W, D)."""
        return self._parser.get_parsed_content("inferer")

    @property
    def postprocessing(self) -> Compose:
        """Class indices -> label map with the data set's values on the image's grid, and its file."""
        return self._parser.get_parsed_content(OWN)

    def clean(self, indices: np.ndarray) -> np.ndarray:
        """What the postprocessing does to class indices (i, j, k), such as keeping a class's largest component."""
        import torch
        from monai.transforms import Invertd

        steps = list(self.postprocessing.transforms)
        data = {"pred": torch.from_numpy(indices)[None]}
        for step in steps[: next(n for n, step in enumerate(steps) if isinstance(step, Invertd))]:
            data = step(data)
        return np.asarray(data["pred"])[0]

    def run(
        self, image: Image, network: nn.Module, device: torch.device, *, answer: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """What MONAI's evaluator does for one image, but for writing.

        Args:
            image: see ``Image``.
            network: in evaluation mode on `device`.
            device: where it computes.
            answer: the network answers a text; the label map holds 0 and `predicting.predict.ASKED`.

        Returns:
            label map (i, j, k), and its affine (4, 4), voxel -> mm RAS+.

        Raises:
            ReadError: an unreadable file.
        """
        import torch
        from monai.data import decollate_batch, list_data_collate

        with reading():
            batch = list_data_collate([self.preprocessing({"image": paths_of(image)})])
        amp = "amp" in self._parser.get() and self._parser.get_parsed_content("amp")
        with torch.no_grad(), torch.autocast("cuda", enabled=bool(amp) and device.type == "cuda"):
            batch["pred"] = self.inferer(batch["image"].to(device), network)
        (item,) = decollate_batch(batch)
        pred = self._restoring(answer)(item)["pred"]
        return pred.detach().cpu().as_tensor().numpy()[0], np.asarray(pred.affine, np.float64)

    def _restoring(self, answer: bool) -> Compose:
        """The postprocessing without its writer, who remembers every image that it wrote."""
        from monai.transforms import Compose

        from pgsam_monai.transforms.save import SavePredictiond

        steps = self._parser.get_parsed_content("postprocessing") if answer else self.postprocessing
        return Compose([step for step in steps.transforms if not isinstance(step, SavePredictiond)])
