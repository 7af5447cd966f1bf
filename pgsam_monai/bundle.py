"""A bundle: what was planned, what its configs say, and the network that predicts by them.

    bundle = Bundle.trained("bundles/samed_spleen")
    bundle.label_map("scan.nii.gz").save(Path("predictions"), "scan")

Everything that uses a planned or trained network goes through here; each check of a bundle stands here once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgsam_monai.base.capabilities import CLASS_TEXTS, METADATA_KEY, REQUESTS, SEVERAL, Capabilities
from pgsam_monai.base.cases import Paths, as_paths, path_or_paths
from pgsam_monai.base.command_line import check_known
from pgsam_monai.base.edits import blaming_edits
from pgsam_monai.base.errors import MissingFile, UserFault, did_you_mean
from pgsam_monai.base.files import time_and_size
from pgsam_monai.base.json_files import made_of, read_json
from pgsam_monai.base.labels import check_labels, restored_values
from pgsam_monai.base.mirroring import AUTO
from pgsam_monai.base.trained_for import KEY, OtherPlan, TrainedFor, planned_by
from pgsam_monai.base.weights import KNOWN_WEIGHTS
from pgsam_monai.configs import read_configs
from pgsam_monai.data.splits import ALL_CASES

if TYPE_CHECKING:
    import numpy as np
    import torch
    from monai.bundle import ConfigParser
    from monai.inferers import Inferer
    from monai.transforms import Compose
    from torch import nn

    from pgsam_monai.networks.pgsam.other_texts import ClassTextEditor
    from pgsam_monai.voxels.result import LabelResult

SEEN = ("image_size", "fit", "sampling", "patch", "spacing")
"""Entries of configs that say what the network sees."""
WORDS = {"fold": ALL_CASES}
"""Entries of configs that are numbers -> the word that may stand there instead."""
ASKED = 1
"""Value, in label maps, of what was asked for in words."""


class WeightsFault(UserFault):
    """A bundle's weights are gone, or don't fit its configs; the message names it and the remedy."""


class Bundle:
    """One bundle. What is read of it is read when it is first needed, and once.

    Its network is loaded strictly, and anew when its file has changed. Requests from several threads are answered one
    after the other.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        device: str | None = None,
        configs: Sequence[str] = ("inference.json",),
        overrides: Mapping[str, object] | None = None,
    ) -> None:
        """
        Args:
            folder: of the bundle.
            device: "cpu", "cuda", …; by default a GPU if there is one.
            configs: that describe network, preprocessing and inferer; later ones replace entries of earlier ones.
            overrides: of their entries.

        Raises:
            MissingFile: no bundle there.
            UserFault: one of an older version, or an override of nothing that it has.
        """
        self.folder, self.name = Path(folder), Path(folder).name
        self.lock = threading.RLock()
        """held while the network is at work"""
        self._configs, self._overrides = tuple(configs), dict(overrides or {})
        self._read: dict[str, Any] = {}
        self._network: nn.Module | None = None
        self._stamp: tuple[int, int] | None = None
        for config in (*configs, "metadata.json"):
            if not self.config_file(config).is_file():
                hint = (
                    " Published weights answer --clicks and --box only."
                    if str(folder) in KNOWN_WEIGHTS
                    else did_you_mean(str(folder), KNOWN_WEIGHTS)
                )
                raise MissingFile(
                    f"'{folder}' is no bundle (no configs/{config}); plan one with pgsam-plan.{hint}"
                )
        if KEY not in self.config("metadata.json").get(METADATA_KEY, ()):
            raise UserFault(
                f"Bundle '{folder}' was planned by an older version; write it again with pgsam-plan --from_plan "
                f"{self.config_file('plan.json')}."
            )
        self._check_overrides()
        if device:
            self._overrides["device"] = device

    @classmethod
    def trained(cls, folder: str | Path, **options: Any) -> Bundle:
        """As the constructor, of a bundle that has weights.

        Raises:
            MissingFile: not trained yet.
        """
        bundle = cls(folder, **options)
        if not bundle.model_file.is_file() and not bundle.capabilities.trains:
            raise MissingFile(
                f"Ensemble '{folder}' isn't finished: it has no models/model.pt; run the pgsam ensemble command again "
                "that makes it."
            )
        if not bundle.model_file.is_file():
            raise MissingFile(
                f"Bundle '{folder}' has no models/model.pt; train it first: "
                f"python -m monai.bundle run training --config_file {bundle.config_file('train.json')}"
            )
        return bundle

    def _check_overrides(self) -> None:
        """MONAI takes an override of a value that no config has, and then nothing happens; here it is a fault."""
        known = {entry: value for name in self._configs for entry, value in self.config(name).items()}
        for name, value in self._overrides.items():
            check_known(name.replace("::", "#").split("#")[0], known)
            if name in known and value != WORDS.get(name) and not _is_like(value, known[name]):
                kind = "true or false" if isinstance(known[name], bool) else "a number"
                raise UserFault(f"--{name} takes {kind}, as {known[name]} in the config; got {value!r}.")

    def __str__(self) -> str:
        """What messages call it."""
        return f"Bundle '{self.name}'"

    # What stands in its files

    def config_file(self, name: str) -> Path:
        """Where a file of its configs lies."""
        return self.folder / "configs" / name

    def config(self, name: str) -> Any:
        """The JSON of a file of its configs, as it stands there.

        Raises:
            MissingFile: there is none.
        """
        if name not in self._read:
            file = self.config_file(name)
            if not file.is_file():
                raise MissingFile(
                    f"'{self.folder}' is no bundle (no configs/{name}); plan one with pgsam-plan."
                )
            self._read[name] = read_json(file, remedy=self._remedy)
        return self._read[name]

    @cached_property
    def parser(self) -> ConfigParser:
        """Of its configs; nothing is built yet."""
        for name in self._configs:
            self.config(name)
        files = [self.config_file(name) for name in self._configs]
        with self._blaming_edits():
            return read_configs(files, {"bundle_root": str(self.folder), **self._overrides})

    def content(self, entry: str) -> Any:
        """What an entry of its configs comes to, built where it is a component.

        Raises:
            UserFault: it can't be built, and a person has edited the configs.
        """
        with self._blaming_edits():
            return self.parser.get_parsed_content(entry)

    def _blaming_edits(self) -> AbstractContextManager[None]:
        return blaming_edits(self.folder / "configs", self._configs)

    @cached_property
    def capabilities(self) -> Capabilities:
        """What its network can do."""
        return self._made("metadata.json", lambda record: Capabilities.from_json(record[METADATA_KEY]))

    @cached_property
    def decisions(self) -> dict[str, Any]:
        """What its plan decided, by name: for all networks, then for this one."""

        def values(plan: Mapping[str, Any]) -> dict[str, Any]:
            entries = {**plan["decisions"], **plan["configurations"][self.capabilities.network]}
            decided = {name: entry["value"] for name, entry in entries.items()}
            check_labels(decided["labels"])
            dict(zip(decided["label_names"], decided["labels"], strict=True))
            decided["intensity"]["scheme"]
            return decided

        return self._made("plan.json", values)

    def _made(self, name: str, make: Callable[[Any], Any]) -> Any:
        """What is made of a config file's content, which may be damaged."""
        return made_of(self.config(name), make, file=self.config_file(name), remedy=self._remedy)

    @property
    def _remedy(self) -> str:
        return f"write the bundle again with pgsam-plan --from_plan, or restore '{self.folder / 'configs'}'"

    @property
    def description(self) -> str:
        """A sentence."""
        return self._made("metadata.json", lambda record: str(record["description"]))

    @property
    def version(self) -> str:
        """Of the program that planned it."""
        return self._made("metadata.json", lambda record: str(record["version"]))

    @property
    def channels(self) -> int:
        """Of the images that it takes."""
        return self._made(
            "metadata.json",
            lambda record: int(record["network_data_format"]["inputs"]["image"]["num_channels"]),
        )

    @property
    def names(self) -> list[str]:
        """Of all classes, the background first."""
        return list(self.decisions["label_names"])

    @property
    def values(self) -> list[int]:
        """In predictions, in the order of `names`."""
        return restored_values(self.decisions["labels"])

    @property
    def labels(self) -> dict[str, int]:
        """Foreground names as the user gave them -> values in predictions."""
        return dict(zip(self.names[1:], self.values[1:], strict=True))

    @property
    def background(self) -> int:
        """What predictions hold where there is no class."""
        return self.values[0]

    def part(self, name: str) -> tuple[dict[int, int], int]:
        """Of one of the data sets that were merged for it: value here -> value in that one's files, and its background.

        Raises:
            UserFault: there is no such data set.
        """

        def parts(plan: Mapping[str, Any]) -> dict[str, tuple[dict[int, int], int]]:
            return {
                part["name"]: (
                    {int(v): int(own) for own, v in part["values"].items()},
                    int(part["background"]),
                )
                for part in plan["dataset"].get("parts", ())
            }

        known = self._made("plan.json", parts)
        if name not in known:
            of = (
                f"its data sets are {', '.join(known)}"
                if known
                else "no data sets were merged for it; leave it out"
            )
            raise UserFault(f"--labels_of {name}: bundle '{self.folder}': {of}.")
        return known[name]

    @property
    def window(self) -> tuple[float, float] | None:
        """The grey values between which its network sees, None where they depend on the image."""
        scheme = self.decisions["intensity"]
        return (scheme["low"], scheme["high"]) if scheme["scheme"] == "window" else None

    def mirror_axes(self, wish: Sequence[str] | str) -> list[str]:
        """Axes along which mirror images are to be asked as well; AUTO means those that training mirrored.

        Raises:
            UserFault: its configs know no mirroring.
        """
        if not any("mirror" in self.config(name) for name in self._configs):
            raise UserFault(
                f"Bundle '{self.folder}' was planned by a version that knew no mirroring; write it again with "
                f"pgsam-plan --from_plan {self.config_file('plan.json')}."
            )
        return list(self.decisions.get("mirror", []) if wish == AUTO else wish)

    @cached_property
    def class_texts(self) -> dict[str, list[str]]:
        """Of a bundle that reads a text per class: its own by class name, background first."""
        from pgsam_monai.texts.texts import read_texts

        texts = read_texts(self.content("texts_file"), self.names)
        return dict(zip(self.names, texts, strict=True))

    # What its network can be asked

    @property
    def reads(self) -> str | None:
        """CLASS_TEXTS or REQUESTS of `base.capabilities`; None: no texts, or its config turns that off."""
        return self.capabilities.texts if self._has_texts else None

    def require_requests(self, text: str) -> None:
        """Raise UserFault unless the network answers any text, and there are words."""
        if self.reads != REQUESTS:
            raise UserFault(
                f"{self} takes no text: --text is for networks that read any text (refsam3d); leave it out."
            )
        if not text.strip():
            raise UserFault(
                '--text is empty; say what to segment, as in --text "perform liver segmentation".'
            )

    def require_class_texts(self, option: str) -> None:
        """Raise UserFault, which names an option as typed, unless the network reads a text per class."""
        if self.reads != CLASS_TEXTS:
            raise UserFault(
                f"{self} reads no texts of its classes: {option} is for networks that do (pgsam); leave it out."
            )

    def require_trainable(self) -> None:
        """Raise UserFault if it is an ensemble."""
        if not self.capabilities.trains:
            raise UserFault(
                f"{self} is an ensemble, which isn't trained itself: train the bundles of its networks, then make it "
                "anew with pgsam ensemble."
            )

    def require_one_input(self) -> None:
        """Raise UserFault if it is an ensemble whose networks don't take the same tensor."""
        if self.capabilities.input == SEVERAL:
            raise UserFault(
                f"{self} is an ensemble of several networks, each with its own input, and no single function of one "
                "tensor: export the bundles of its networks one by one."
            )

    def require_prompts(self) -> None:
        """Raise UserFault if the network takes no prompts."""
        if not self.capabilities.prompts:
            raise UserFault(
                f"{self} takes no clicks and no boxes: its network is {self.capabilities.title}, which segments "
                "without prompts; use a bundle planned with --networks medsa."
            )

    def require_guide_maps(self) -> None:
        """Raise UserFault if the network has no prior that can be drawn."""
        can = self.capabilities
        if not (can.guide_maps and self._has_texts):
            without = f" without its {can.texts_switch.replace('_', ' ')}" if can.guide_maps else ""
            raise UserFault(
                f"{self} has no guide maps: its network is {can.title}{without}; use a bundle planned with --networks "
                "pgsam whose network has prior_aligner true, or leave out --guide_maps."
            )

    @property
    def _has_texts(self) -> bool:
        switch = self.capabilities.texts_switch
        return switch is None or self.parser.get()["network_def"].get(switch, True) is not False

    # Its network, and what is done to an image before and after

    @cached_property
    def model_file(self) -> Path:
        """The network's weights."""
        if "ckpt_dir" in self._overrides:
            return Path(self.content("ckpt_dir")) / "model.pt"
        return self.folder / "models/model.pt"

    @property
    def stamp(self) -> tuple[int, int] | None:
        """Which weights are loaded: time of change (ns) and size (bytes) of their file; None for none."""
        return self._stamp

    @cached_property
    def device(self) -> torch.device:
        """Where the network computes.

        Raises:
            UserFault: there is no such device here.
        """
        from pgsam_monai.networks.precision import usable_device

        return usable_device(self.content("device"))

    @property
    def network(self) -> nn.Module:
        """In evaluation mode, on its device, with the weights that models/model.pt holds now.

        Raises:
            WeightsFault: they don't fit, or are gone.
        """
        self.load()
        return self._network

    def load(self) -> None:
        """Build the network, or renew its weights if models/model.pt has changed since.

        Raises:
            WeightsFault: it is gone, or doesn't fit the network that the configs describe. Nothing is predicted then
                until a file lies there that fits.
            UserFault: it is to be compiled, and there is nothing to compile with.
        """
        with self.lock:
            try:
                stamp = time_and_size(self.model_file)
            except OSError as error:
                raise WeightsFault(
                    f"{self} has lost {self.model_file}; train it, or put its weights back."
                ) from error
            if stamp == self._stamp:
                return
            is_new, self._stamp = self._network is None, None
            try:
                self._renew()
            except OtherPlan as error:
                raise WeightsFault(f"{self}: {error}") from error
            except Exception as error:
                raise WeightsFault(
                    f"{self}: {self.model_file} doesn't fit the network of its configs ({_first_lines(error)}); train "
                    "the bundle again, or restore the configs that it was trained with."
                ) from error
            self._stamp = stamp
            if is_new and self.parser.get().get("compile"):
                from pgsam_monai.networks.compiled import compile_blocks

                compile_blocks(self._network)

    def _renew(self) -> None:
        """Into the network that is there: a second copy would need twice the memory."""
        from pgsam_monai.networks.trained import load_trained

        if self._network is None:
            self._network = self.content("network_def").to(self.device).eval()
        load_trained(self._network, self.model_file, planned=self.planned_for)

    @property
    def planned_for(self) -> TrainedFor:
        """What its weights must be trained for, by its plan and by what its configs say that the network sees."""
        seen = {name: self.content(name) for name in SEEN if name in self.parser.get()}
        return planned_by(self.config("metadata.json"), self.folder).seeing(**seen)

    @property
    def preprocessing(self) -> Compose:
        """{"image": path or paths} -> {"image": (C, H, W, D)}."""
        return self.content("preprocessing")

    @property
    def inferer(self) -> Inferer:
        """(1, C, H, W, D) and the network -> class indices (1, 1, H, W, D); nothing is mirrored."""
        return self.content("inferer")

    @cached_property
    def answering_inferer(self) -> Inferer:
        """As `inferer`, and mirror images are asked as well where the config's `mirror` says so.

        Raises:
            UserFault: axes that can't be mirrored.
        """
        return self.content("mirrored_inferer" if "mirrored_inferer" in self.parser.get() else "inferer")

    @cached_property
    def postprocessing(self) -> Compose:
        """Class indices -> label map with the data set's values on the image's grid; nothing is written."""
        from monai.transforms import Compose

        from pgsam_monai.transforms.save import SavePredictiond

        steps = self.content("postprocessing").transforms
        return Compose([step for step in steps if not isinstance(step, SavePredictiond)])

    @cached_property
    def answering(self) -> Compose:
        """As `postprocessing` for the answer to a text, 0 and `ASKED`: what is planned for classes is left out."""
        from monai.transforms import Compose

        from pgsam_monai.transforms.labels import RestoreLabelsd

        return Compose([self._cleaning_and_inverse[1], RestoreLabelsd("pred", labels=[0, ASKED])])

    @cached_property
    def _cleaning_and_inverse(self) -> tuple[Compose, Any]:
        """What the postprocessing does to class indices, and the step that takes them to the image's grid."""
        from monai.transforms import Compose, Invertd

        steps = list(self.postprocessing.transforms)
        place = next(number for number, step in enumerate(steps) if isinstance(step, Invertd))
        return Compose(steps[:place]), steps[place]

    # Inference

    def label_map(
        self,
        image: Paths,
        *,
        text: str | None = None,
        texts: Mapping[str, Sequence[str]] | None = None,
        device: torch.device | None = None,
    ) -> LabelResult:
        """Segment an image.

        Args:
            image: a file, a DICOM series folder, or one file per channel.
            text: what is asked for, of a bundle that reads requests; the label map then holds 0 and `ASKED`.
            texts: by class name, texts instead of the bundle's own, of a bundle that reads texts of classes.
            device: where the network computes this time; None for its own.

        Raises:
            ReadError: an unreadable file.
            WeightsFault: see `network`.
        """
        from pgsam_monai.inference.confidence import by_name
        from pgsam_monai.voxels.result import LabelResult

        device, source = device or self.device, str(as_paths(image)[0])
        with self.lock, self._moved(device), self._asked(text, texts), self._blaming_edits():
            voxels, affine, sure = self._run(
                image,
                device,
                after=self.postprocessing if text is None else self.answering,
            )
        names, values = (self.names, self.values) if text is None else ([self.names[0], text], [0, ASKED])
        return LabelResult(
            voxels=voxels, affine=affine, source=source, names=names, values=values, soft_dice=by_name(sure, names)
        )  # fmt: skip

    def _run(
        self, image: Paths, device: torch.device, *, after: Compose
    ) -> tuple[np.ndarray, np.ndarray, Sequence[float]]:
        """What MONAI's evaluator does for one image, but for writing: label map (i, j, k), its affine (4, 4), and how
        sure the network is of each class, nothing if the inferer doesn't tell."""
        import numpy as np
        import torch
        from monai.data import decollate_batch, list_data_collate

        from pgsam_monai.inference.confidence import confidence_of
        from pgsam_monai.transforms.read import reading

        with reading():
            batch = list_data_collate([self.preprocessing({"image": path_or_paths(image)})])
        amp = "amp" in self.parser.get() and self.content("amp")
        with torch.no_grad(), torch.autocast("cuda", enabled=bool(amp) and device.type == "cuda"):
            batch["pred"] = self.answering_inferer(batch["image"].to(device), self._network)
        (item,) = decollate_batch(batch)
        sure = confidence_of(item["pred"])
        pred = after(item)["pred"]
        return pred.detach().cpu().as_tensor().numpy()[0], np.asarray(pred.affine, np.float64), sure

    def clean(self, label_map: np.ndarray) -> np.ndarray:
        """What its postprocessing does to classes, done to a label map (i, j, k) of the data set's values."""
        import numpy as np
        import torch

        from pgsam_monai.voxels.labels import label_indices, label_values

        data = {"pred": torch.from_numpy(label_indices(label_map, self.values))[None]}
        cleaned = self._cleaning_and_inverse[0](data)["pred"]
        return label_values(np.asarray(cleaned)[0], self.values)

    @contextmanager
    def _moved(self, device: torch.device) -> Iterator[None]:
        """The network on a device, and afterwards on its own again."""
        network = self.network
        if device == self.device:
            yield
            return
        try:
            network.to(device)
            yield
        finally:
            network.to(self.device)

    @contextmanager
    def reading(self, texts: Mapping[str, Sequence[str]] | None) -> Iterator[nn.Module]:
        """The network, which until the end reads these texts by class name instead of its own; None for its own."""
        with self.lock:
            network = self.network
            with self._asked(None, texts):
                yield network

    @contextmanager
    def _asked(self, text: str | None, texts: Mapping[str, Sequence[str]] | None) -> Iterator[None]:
        """The network with these texts, and afterwards with its own again."""
        if texts:
            with self._editor.edited(texts):
                yield
        elif text is not None:
            self._network.request = text
            try:
                yield
            finally:
                self._network.request = None
        else:
            yield

    @cached_property
    def _editor(self) -> ClassTextEditor:
        from pgsam_monai.networks.pgsam.other_texts import ClassTextEditor

        return ClassTextEditor(self._network, self.names)


def _is_like(value: object, own: object) -> bool:
    """Whether what was typed can stand for the config's own value: a number for a number; no more is checked."""
    if isinstance(own, bool):
        return isinstance(value, bool)
    if isinstance(own, int | float):
        return value is None or isinstance(value, int | float) and not isinstance(value, bool)
    return True


def _first_lines(error: Exception) -> str:
    """Of the message: torch's lists of keys may take hundreds of lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2])[:400].rstrip(".")
