"""A bundle's exported network, from an image's files to its label map; neither torch nor MONAI is imported."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from pgsam_monai.base.cases import Paths, as_paths
from pgsam_monai.base.cleaning import FILE as CLEANING
from pgsam_monai.base.cleaning import LARGEST, Cleaning, read_cleanings
from pgsam_monai.base.cores import usable_cores
from pgsam_monai.base.labels import class_of
from pgsam_monai.base.volume import Volume, as_networks_take, read_volume
from pgsam_monai.bundle import Bundle
from pgsam_monai.runtime.engines import OPENVINO, Run, open_network
from pgsam_monai.runtime.patches import walk_patches
from pgsam_monai.runtime.record import FILES, PatchInput, Record, SliceInput, require_whole
from pgsam_monai.runtime.slices import Scale, batch_of, walk_slices
from pgsam_monai.runtime.sureness import Sureness
from pgsam_monai.voxels.intensity import grey_range, scale_between, scale_window
from pgsam_monai.voxels.labels import label_values
from pgsam_monai.voxels.orientation import along_axes, oriented
from pgsam_monai.voxels.resampling import class_type
from pgsam_monai.voxels.result import LabelResult


class ExportedNetwork:
    """Answers as `Bundle.label_map` does."""

    def __init__(
        self, bundle: Bundle, record: Record, engine: str, *, threads: int | None = None, folder: Path | None = None
    ) -> None:  # fmt: skip
        """
        Args:
            bundle: whose network was exported.
            record: of its models folder.
            engine: one of the record's.
            threads: cores to use; all that this process may by default.
            folder: where the engine's files lie; the bundle's models folder by default.
        """
        self.bundle, self.record, self.engine = bundle, record, engine
        self.threads = threads or usable_cores()
        self.folder = folder or bundle.folder / "models"

    @property
    def settings(self) -> dict[str, str]:
        """What a summary tells of how it answers."""
        return {"engine": self.engine, "precision": self.record.engines[self.engine].precision}

    @property
    def weights(self) -> Path:
        """The file that holds what was learnt."""
        return self.bundle.folder / "models" / FILES[self.engine][-1]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of what the network is given at once."""
        seen = self.record.seen
        if isinstance(seen, PatchInput):
            return (1, self.bundle.channels, *seen.patch)
        stack = (seen.stack_depth,) if seen.stack_depth > 1 else ()
        return (self._batch, self.bundle.channels, seen.image_size, seen.image_size, *stack)

    @property
    def _batch(self) -> int:
        """Slices, or stacks, at once: ONNX Runtime gains nothing by several."""
        return batch_of(self.record.seen) if self.engine == OPENVINO else 1

    @cached_property
    def run(self) -> Run:
        """The network.

        Raises:
            UserFault: its files aren't those that were exported, or the engine isn't here.
        """
        exported = self.record.engines[self.engine]
        require_whole(exported.files, self.folder)
        return open_network(
            self.folder / FILES[self.engine][0], self.engine, precision=exported.precision, threads=self.threads,
            workers=self.threads, shapes=[self.input_shape],
        )  # fmt: skip

    def answer(self, images: np.ndarray) -> np.ndarray:
        """Images (n, C, …) as the network sees them -> logits (n, K+1, …), whatever n was exported."""
        size, logits = self.input_shape[0], []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            logits.append(self.run([filled])[0][: len(part)])
        return np.concatenate(logits)

    def label_map(
        self, image: Paths, *, sure: bool = False, read: Callable[[Paths], Volume] | None = None
    ) -> tuple[LabelResult, Volume]:
        """Segment an image: a file, a DICOM series folder, or one file per channel; the image as it was read with it.

        `sure`: the result has the Soft Dice Confidence. `read`: how the image is read, where it may come from anybody.

        Raises:
            ReadError: an unreadable file.
        """
        volume = (read or _read)(image)
        classes = np.zeros(volume.voxels.shape[1:], class_type(len(self.bundle.names)))
        sureness = Sureness(len(self.bundle.names)) if sure else None
        self._walk(volume, classes, sureness)
        names, values = self.bundle.names, self.bundle.values
        told = zip(names[1:], sureness.per_class()[1:], strict=True) if sureness else ()
        return LabelResult(
            voxels=label_values(self._cleaned(volume, classes), self.bundle.decisions["labels"]), affine=volume.affine,
            source=str(as_paths(image)[0]), names=names, values=values,
            soft_dice={name: float(f"{share:.6g}") for name, share in told if np.isfinite(share)},
        ), volume  # fmt: skip

    def _walk(self, volume: Volume, classes: np.ndarray, sureness: Sureness | None) -> None:
        """Class indices are written into `classes` (i, j, k)."""
        self.run  # noqa: B018, opened once, before several threads ask for it
        turn, seen = self.record.orientation, self.record.seen
        image, labels = (oriented(voxels, volume.affine, turn) for voxels in (volume.voxels, classes))
        scale = scaling(volume.voxels, self.record.intensity)
        options = {"workers": self.threads, "sureness": sureness}
        if isinstance(seen, SliceInput):
            walk_slices(image, labels, self.answer, seen, scale, batch=self._batch, **options)
        else:
            spacing = along_axes(volume.spacing, volume.affine, turn)
            walk_patches(image, labels, self.answer, seen, scale, spacing=spacing, **options)

    def _cleaned(self, volume: Volume, classes: np.ndarray) -> np.ndarray:
        """As `transforms.cleaning.CleanClassesd`, in the orientation in which that cleans."""
        if not self.cleanings:
            return classes
        from pgsam_monai.voxels.cleaning import clean  # SciPy takes longer to import than to clean

        turned = oriented(classes, volume.affine, self.record.orientation)
        turned[:] = clean(turned, self.cleanings)
        return classes

    @cached_property
    def cleanings(self) -> dict[int, Cleaning]:
        """Class index -> what is done to the structure."""
        labels, file = self.bundle.decisions["labels"], self.bundle.config_file(CLEANING)
        chosen = (
            read_cleanings(file, labels) if file.is_file() else dict.fromkeys(self.record.largest, LARGEST)
        )
        classes = {class_of(labels, value): cleaning for value, cleaning in chosen.items()}
        return (
            {index: cleaning for index, cleaning in classes.items() if index} if self.record.cleaned else {}
        )


def _read(image: Paths) -> Volume:
    """As `base.volume.read_image`, but whole numbers stay what they are: in float32 they would take twice the room."""
    volume = read_volume(image)
    return volume if volume.voxels.dtype.kind in "iub" else as_networks_take(volume, image)


def scaling(voxels: np.ndarray, intensity: dict) -> Scale:
    """How grey values of a volume (C, i, j, k) become what networks see, a part (C, …) of it at a time.

    They go through float16, in which training stores them. Of 8 or 16 bits each grey value is scaled once.
    """
    if intensity["scheme"] == "window":
        scale = partial(scale_window, low=intensity["low"], high=intensity["high"])
    elif intensity["scheme"] == "percentile":
        ends = [grey_range(channel, intensity["low"], intensity["high"]) for channel in voxels]

        def scale(part: np.ndarray) -> np.ndarray:
            return np.stack(
                [scale_between(own.astype(np.float32), *end) for own, end in zip(part, ends, strict=True)]
            )
    else:
        scale = partial(np.asarray, dtype=np.float32)

    def stored(part: np.ndarray) -> np.ndarray:
        return scale(part).astype(np.float16).astype(np.float32)

    if voxels.dtype.kind not in "iu" or voxels.dtype.itemsize > 2:
        return stored
    least, most = int(voxels.min()), int(voxels.max())
    greys = np.arange(least, most + 1, dtype=np.int32)
    tables = stored(np.broadcast_to(greys, (len(voxels), len(greys))))
    return lambda part: np.stack([
        table.take(own.astype(np.intp) - least) for table, own in zip(tables, part, strict=True)
    ])  # fmt: skip
