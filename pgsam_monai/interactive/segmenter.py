"""Segmenting a volume by clicks, boxes and masks.

    segmenter = Segmenter.from_bundle("bundles/medsa_synapse")
    segmenter.set_image("scan.nii.gz")
    segmenter.add_click((210, 160, 88), "liver")
    segmenter.add_click((240, 180, 88), "liver", positive=False)
    segmenter.propagate("liver", slices=10)
    segmenter.save("liver.nii.gz")

Clicks are voxels (i, j, k) of the file. The second one is quick: its slice is encoded already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from pgsam_monai.base.cases import Paths
from pgsam_monai.base.errors import UserFault
from pgsam_monai.bundle import Bundle
from pgsam_monai.interactive.answers import SliceEmbeddings
from pgsam_monai.interactive.chosen_way import CORRECTIONS, SPREADING, chosen_way
from pgsam_monai.interactive.corrections import Corrector, mask_logits
from pgsam_monai.interactive.model import PromptModel, prompt_model
from pgsam_monai.interactive.propagation import Propagation, spread
from pgsam_monai.interactive.reach import Click
from pgsam_monai.interactive.session import EVERYTHING, Asked, Session
from pgsam_monai.interactive.strokes import clicks_along
from pgsam_monai.interactive.volume import (
    Place,
    SlicedVolume,
    indices_shown,
    masks_by_place,
    read_volume,
    seen_by,
)
from pgsam_monai.interactive.zero_shot import load_corrector, load_zero_shot, stand_in
from pgsam_monai.prompts.click_files import ClassClicks, Clicks
from pgsam_monai.prompts.frames import Placed, frame_to_pixels
from pgsam_monai.prompts.points import BOX_FIRST
from pgsam_monai.runtime.engines import TORCH
from pgsam_monai.voxels.labels import label_indices

BACKGROUNDS = ("empty", EVERYTHING)
CORRECTOR = "drawn_tiny"
"""Weights that answer clicks where a bundle's own network hasn't learnt to obey them."""


class Segmenter:
    """A network, an image, and the prompts so far; the label map follows them.

    A slice is encoded when it is first asked about; every further prompt on it is answered from its embedding. Boxes
    and masks are questions about their slices and classes; where classes overlap on a slice, the highest logit wins.
    Clicks correct what is shown then, on their slice and on those beside it. All are given in voxels (i, j, k) of the
    image file. One session at a time, one thread.
    """

    def __init__(
        self,
        model: PromptModel,
        *,
        background: str = "empty",
        corrections: str = SPREADING,
        corrector: PromptModel | None = None,
        finds: Callable[[Paths], np.ndarray] | None = None,
        mask_feedback: bool | None = None,
        memory_gb: float = 0.5,
    ) -> None:
        """
        Args:
            model: see `from_bundle` and `from_weights`.
            background: what slices without prompts show, and on other slices the classes without: nothing ("empty")
                or what the network finds without prompts ("everything").
            corrections: what clicks do: "spread" corrects what is shown around them, on their slice and on those
                beside it (`interactive.corrections`); "ask" asks the network anew about the slice, as in SAM.
            corrector: of "spread", whose network says what a click means; None: the model's own.
            finds: of "everything", another network's way from an image's files to its label map (i, j, k) of the
                model's values; None: the model's own network finds everything.
            mask_feedback: of "ask": with a further click the latest answer goes in as a mask, as in SAM and in Med-SA's
                training; None: if the network was trained with masks.
            memory_gb: for embeddings, see `SliceEmbeddings`.

        Raises:
            ValueError: an unknown background, or "everything" of a network that wasn't trained for it.
        """
        for what, given, known in (
            ("background", background, BACKGROUNDS), ("corrections", corrections, CORRECTIONS),
        ):  # fmt: skip
            if given not in known:
                raise UserFault(f"Segmenter: {what} must be one of {known}, got {given!r}.")
        if background == EVERYTHING and not (model.knows_everything or finds):
            raise UserFault(
                f"{model.source} was never trained without prompts; leave the background 'empty'."
            )
        self.model, self.background, self.corrections = model, background, corrections
        self.corrector = model if corrector is None else corrector
        self._finds = finds
        self.mask_feedback = model.trained_with_masks if mask_feedback is None else mask_feedback
        self._memory_gb = memory_gb
        self._session: Session | None = None

    @classmethod
    def from_bundle(
        cls, bundle: str | Path, device: str | None = None, *, engine: str = TORCH, **options: object
    ) -> Segmenter:
        """The trained network of a bundle. `CORRECTOR` answers its clicks, unless it learnt from weights that obey them
        (Med-SA from drawn_tiny).

        `engine` and what is raised are those of `model.prompt_model`, options those of the constructor, but that
        `corrections` is by default what was measured to be better with this bundle where clicks begin with what it
        finds (`chosen_way`), else "spread".
        """
        return cls.of(Bundle.trained(bundle, device=device), engine=engine, **options)

    @classmethod
    def of(
        cls, bundle: Bundle, *, engine: str = TORCH, corrections: str | None = None, **options: object
    ) -> Segmenter:
        """A trained bundle's, likewise. Where its network takes no prompts, `CORRECTOR` answers all of them."""
        if corrections is None:
            shows = options.get("background") == EVERYTHING
            corrections = chosen_way(bundle) if shows else SPREADING
        if not bundle.capabilities.prompts:
            model = stand_in(bundle, CORRECTOR)
            return cls(
                model, corrections=corrections, finds=lambda image: bundle.label_map(image).voxels, **options
            )
        model = prompt_model(bundle, engine)
        if corrections == SPREADING and not model.obeys_clicks:
            options = {"corrector": load_corrector(CORRECTOR, bundle)} | options
        return cls(model, corrections=corrections, **options)

    @classmethod
    def from_weights(
        cls,
        weights: str,
        labels: Sequence[str] | Mapping[str, int] = ("object",),
        **options: object,
    ) -> Segmenter:
        """Published weights as they are, without any training here; of those that weren't trained on clicks of both
        kinds, such as LiteMedSAM's, `CORRECTOR` answers the clicks.

        Args:
            weights: such as "drawn_tiny", "lite_medsam" or "sam_vit_b", see `zero_shot.load_zero_shot`.
            labels: likewise, what the user calls the classes.
            options: background, corrections, corrector, mask_feedback and memory_gb of the constructor, and the further
                arguments of `load_zero_shot`, such as window=(-160, 240) for CT.
        """
        own = {
            name: options.pop(name)
            for name in ("background", "corrections", "corrector", "mask_feedback", "memory_gb")
            if name in options
        }
        model = load_zero_shot(weights, labels, **options)
        if own.get("corrections", SPREADING) == SPREADING and not model.obeys_clicks:
            own = {"corrector": load_zero_shot(CORRECTOR, device=str(model.device))} | own
        return cls(model, **own)

    def set_image(self, image: Paths | np.ndarray, affine: np.ndarray | None = None) -> None:
        """Begin with an image; see `volume.read_volume` for what it may be. What was asked before goes."""
        volume = read_volume(self.model, image, affine)
        own = self._embeddings(self.model, volume)
        # the same network encodes a slice once, whatever it is asked
        others = own if self.corrector is self.model else self._embeddings(self.corrector, volume)
        self._session = Session(
            own,
            under=self._shown_under(image, volume),
            corrector=Corrector(others) if self.corrections == SPREADING else None,
        )

    def _embeddings(self, model: PromptModel, volume: SlicedVolume) -> SliceEmbeddings:
        return SliceEmbeddings(model, seen_by(model, volume), memory_gb=self._memory_gb)

    def _shown_under(self, image: Paths | np.ndarray, volume: SlicedVolume) -> np.ndarray | str | None:
        """What is shown of an image where nobody asked, as `Session` takes it."""
        if self.background != EVERYTHING or self._finds is None:
            return EVERYTHING if self.background == EVERYTHING else None
        if isinstance(image, np.ndarray):
            raise UserFault(
                f"{self.model.source} segments files; write the array to one, or leave the background 'empty'."
            )
        return volume.grid.turned(label_indices(self._finds(image), self.model.values))

    def add_click(
        self, ijk: Sequence[float], label: str | int | None = None, *, positive: bool = True
    ) -> None:
        """Say that a class is here, or isn't.

        Args:
            ijk: voxel of the image file, floats allowed.
            label: a name or a value; None where there is only one.
            positive: False: the class isn't here.

        Raises:
            ValueError: outside the image, or no such label.
            RuntimeError: no image yet.
        """
        self._say(label, **{"positive" if positive else "negative": (ijk,)})

    def add_scribble(
        self, voxels: np.ndarray, label: str | int | None = None, *, positive: bool = True
    ) -> None:
        """Say that a class is, or isn't, along a stroke: by a few clicks in its middle (`strokes`), as one step.

        Args:
            voxels: (n, 3) of the image file, as np.argwhere finds them in a drawn mask; floats are rounded.
            label, positive: as in `add_click`.

        Raises:
            ValueError: no voxels, other than three numbers each, some outside the image, or no such label.
            RuntimeError: no image yet.
        """
        grid, given = self._open().volume.grid, np.asarray(voxels, dtype=float)
        if given.ndim != 2 or given.shape[1] != 3 or not len(given) or not np.isfinite(given).all():
            raise UserFault(f"add_scribble takes voxels (n, 3), n at least 1; got shape {given.shape}.")
        whole = np.rint(given).astype(int)
        if (whole < 0).any() or (whole >= grid.shape).any():
            raise UserFault(f"add_scribble: voxels outside the image, whose shape is {grid.shape}.")
        along = tuple(clicks_along(whole, np.linalg.norm(grid.affine[:3, :3], axis=0)))
        self._say(label, **{"positive" if positive else "negative": along})

    def add_box(
        self, roi: Sequence[float] | Sequence[Sequence[float]], label: str | int | None = None
    ) -> None:
        """Say that a class fills a region: a box on every slice that the region covers, in place of an earlier one.

        Args:
            roi: (i0, i1, j0, j1, k0, k1), or two opposite corners ((i, j, k), (i, j, k)); voxels at both ends belong
                to it.
            label: as in `add_click`.

        Raises:
            ValueError: neither six numbers nor two corners, wholly outside the image, or no such label.
            RuntimeError: no image yet.
        """
        self._say(label, boxes=(np.ravel(roi, order="F").tolist() if np.shape(roi) == (2, 3) else roi,))

    def add_mask(self, label_map: np.ndarray, label: str | int | None = None) -> None:
        """Say roughly where classes lie: a mask on every slice that holds them, in place of an earlier one.

        Args:
            label_map: (i, j, k) on the image's grid, label values or, for one class, bool.
            label: the class that is meant; None for all that the label map holds.

        Raises:
            ValueError: another shape, none of the classes in it, or no such label.
            RuntimeError: no image yet.
        """
        session = self._open()
        masks = masks_by_place(self.model, session.volume.grid, np.asarray(label_map), label)
        if not masks:
            raise UserFault("add_mask: the label map holds none of the classes; check its values.")
        first = session.embeddings.of([min(masks).slice]).embedding
        size, frame = tuple(4 * side for side in first.shape[2:]), session.volume.frame
        session.ask(
            {
                place: session.about(place).with_mask(mask_logits(mask, frame, size))
                for place, mask in masks.items()
            }
        )

    def add_prompts(self, clicks: Clicks) -> None:
        """All that a file of clicks says (`prompts.click_files.read_clicks`), as one step.

        Raises:
            ValueError: a prompt outside the image, no such label, or two boxes for one class on one slice.
            RuntimeError: no image yet.
        """
        self.add_placed(self._open().volume.place(clicks))

    def add_placed(self, placed: Mapping[str, Sequence[Placed]]) -> None:
        """As `add_prompts`, of what `SlicedVolume.place` gave: by class, what is said beside what was said before.

        Raises:
            UserFault: no such label.
            RuntimeError: no image yet.
        """
        session, changes, clicks = self._open(), {}, []
        for label, prompts in placed.items():
            index = self.model.index_of(label)
            for one in prompts:
                place = Place(one.slice, index)
                before = changes.get(place) or session.about(place)
                if BOX_FIRST in one.points.labels:
                    changes[place] = before.with_box(one.points)
                else:
                    changes[place] = before.with_clicks(one.points, feedback=self.mask_feedback)
                    pixel = frame_to_pixels(one.points, session.volume.frame)[0]
                    clicks.append(Click(one.slice, *pixel, index, one.positive))
        session.ask(changes, clicks if session.corrector else ())

    def propagate(
        self, label: str | int | None = None, *, slices: int | None = None, **settings: float | bool
    ) -> None:
        """Carry classes from the slices with prompts to their neighbours, as one step; anew, if it was done before.

        Args:
            label: the class; None for all that were asked about.
            slices: at most so many on each side; None for all.
            settings: see `propagation.Propagation`.

        Raises:
            ValueError: nothing was asked about that class, or settings out of range.
            RuntimeError: no image yet.
        """
        session = self._open()
        chosen = set(range(1, len(self.model.names) + 1)) if label is None else {self.model.index_of(label)}
        own = {place: asked for place, asked in session.asked.items() if place.index in chosen}
        seeds = {place: session.logits_of(place) for place, asked in own.items() if not asked.propagated}
        if not seeds:
            raise UserFault("propagate: nothing was asked about it yet; add a click or a box first.")
        gone = {place: None for place, asked in own.items() if asked.propagated}
        session.change(gone | spread(session.embeddings, seeds, Propagation(slices=slices, **settings)))

    def undo(self) -> None:
        """Take back the latest step: click, box, mask, file, propagation or reset. Nothing is asked again.

        Raises:
            RuntimeError: nothing is left to take back, or no image yet.
        """
        self._open().undo()

    def redo(self) -> None:
        """Take the latest `undo` back.

        Raises:
            RuntimeError: nothing was undone, something else was said since, or no image yet.
        """
        self._open().redo()

    def reset(self, label: str | int | None = None) -> None:
        """Take all prompts back, or those of one class, as one step. Embeddings are kept."""
        session = self._open()
        known = range(1, len(self.model.names) + 1)
        session.forget(known if label is None else [self.model.index_of(label)])

    def start_over(self, shown: np.ndarray | None = None) -> None:
        """Take all prompts back and forget every step. The image and its embeddings are kept.

        Args:
            shown: what further prompts correct, in place of the background: a label map (i, j, k) on the image's grid,
                label values or, of a network with one class, bool. None: the background again.

        Raises:
            ValueError: another shape.
            RuntimeError: no image yet.
        """
        session = self._open()
        session.start_over(None if shown is None else indices_shown(self.model, session.volume.grid, shown))

    @property
    def volume(self) -> SlicedVolume:
        """The image as the network sees it. Raises RuntimeError if there is none yet."""
        return self._open().volume

    @property
    def asked(self) -> dict[Place, Asked]:
        """All prompts so far, by slice and class, and the answers to them; slices reached by propagation too."""
        return dict(self._open().asked)

    @property
    def prediction(self) -> np.ndarray:
        """The label map (i, j, k) on the image's grid: the data set's values, in the type that `predict` writes."""
        session = self._open()
        session.fill()
        return session.drawn.voxels.copy()

    def mask(self, label: str | int | None = None) -> np.ndarray:
        """Where a class is: (i, j, k) of bool on the image's grid."""
        value = list(self.model.labels.values())[self.model.index_of(label) - 1]
        return self.prediction == value

    def save(self, path: str | Path) -> Path:
        """Write the label map to a file or into a folder; see `LabelMap.save`. Returns the file."""
        session = self._open()
        session.fill()
        return session.drawn.save(path)

    def _open(self) -> Session:
        if self._session is None:
            raise RuntimeError("Segmenter: no image yet; call set_image first.")
        return self._session

    def _say(self, label: str | int | None, **said: tuple) -> None:
        """Clicks or a box of a class, which may be named by its value."""
        name = self.model.names[self.model.index_of(label) - 1]
        self.add_prompts(Clicks(labels={name: ClassClicks(**said)}))
