"""MONAI Label's app with our tasks: the stock app for bundles, whose inference, training and scoring are replaced."""

from __future__ import annotations

import importlib.util
import json
import logging
import threading
from functools import cached_property
from importlib import metadata
from pathlib import Path

import monailabel
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.epistemic import Epistemic
from monailabel.utils.others.generic import strtobool

from pgsam_monai.base.errors import MissingFile, UserFault
from pgsam_monai.base.memory import hand_back_freed_memory
from pgsam_monai.bundle import Bundle, WeightsFault
from pgsam_monai.label.fields import is_dicomweb
from pgsam_monai.label.own_bundles import own_bundles
from pgsam_monai.label.tasks.click_order import ClickOrder
from pgsam_monai.label.tasks.datastore import StudiesFolder
from pgsam_monai.label.tasks.infer_tasks import DeepEdit, DeepGrow, Segmentation
from pgsam_monai.label.tasks.open_images import OpenImages
from pgsam_monai.label.tasks.sampling import AnyImage
from pgsam_monai.label.tasks.untrained import Untrained, untrained_tasks
from pgsam_monai.predicting.exported import kept_network
from pgsam_monai.runtime.encoder import encoding_engine
from pgsam_monai.runtime.engines import AUTO, ENGINES

logger = logging.getLogger(__name__)

CLICKS = "clicks"
"""Folder of the app's for the order of clicks."""


def stock_app() -> type[MONAILabelApp]:
    """The class of MONAI Label's own app for bundles, which is installed as data beside its package.

    Raises:
        FileNotFoundError: it isn't there.
    """
    package = Path(monailabel.__file__).parent
    places = [
        package.parent / "sample-apps",
        *(parent / "monailabel/sample-apps" for parent in package.parents),
    ]
    file = next((found for place in places if (found := place / "monaibundle/main.py").is_file()), None)
    if file is None:
        raise MissingFile(
            "MONAI Label's app 'monaibundle' is not installed beside its package; install monailabel with pip again."
        )
    spec = importlib.util.spec_from_file_location("monailabel_monaibundle", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.MyApp


def names_in(listed: str | None) -> list[str]:
    """The names in a comma list."""
    return [name.strip() for name in (listed or "").split(",") if name.strip()]


# MONAI Label's finder wants MONAILabelApp itself among the bases.
class PgsamApp(stock_app(), MONAILabelApp):
    """Serves the bundles that conf["models"] names, from the app folder's model/.

    Where conf["labels"] names structures, it serves our own weights for clicks about these, too, and the bundles that
    were trained here from nothing.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        """As MONAI Label's start makes it.

        Args:
            app_dir: holds model/<name of a bundle>.
            studies: the images, and their labels.
            conf: what `pgsam label` passes on: "models", "score", "train", "device", "engine", "labels", "window",
                "plane".
        """
        self._adopting, self._refused = threading.Lock(), set()
        super().__init__(app_dir, studies, conf)
        self.name = f"pgsam-monai {metadata.version('pgsam-monai')}"
        self.description = "Bundles of pgsam-monai: automatic segmentation, by text and by clicks."

    def init_datastore(self) -> Datastore:
        """The studies folder without what is no study, or a DICOMweb server's studies."""
        if is_dicomweb(self.studies):
            return super().init_datastore()
        return StudiesFolder(
            self.studies,
            extensions=settings.MONAI_LABEL_DATASTORE_FILE_EXT,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )

    def cleanup_sessions(self) -> None:
        """Called every few minutes by a thread, which a fault would end, so that no session would end any more.

        What the requests since have freed goes back to the system.
        """
        try:
            super().cleanup_sessions()
        except Exception:
            logger.exception("Sessions that have ended can't be removed")
        hand_back_freed_memory()

    @cached_property
    def served(self) -> dict[str, Bundle]:
        """Bundles by name; their weights are loaded when they are first needed."""
        own = own_bundles(self.app_dir) if self.untrained else {}
        return {name: self._opened(path) for name, path in (own | self.models).items()}

    @cached_property
    def untrained(self) -> Untrained | None:
        """Our own weights, where structures are named."""
        labels = json.loads(self.conf.get("labels") or "[]")
        if not labels:
            return None
        window = json.loads(self.conf.get("window") or "null")
        return Untrained(
            labels, window=window, plane=self.conf.get("plane") or None, device=self.conf.get("device") or None,
            engine=encoding_engine(self.engine),
        )  # fmt: skip

    def _opened(self, folder: str | Path) -> Bundle:
        return Bundle.trained(folder, device=self.conf.get("device") or None)

    @property
    def engine(self) -> str:
        """What computes."""
        return self.conf.get("engine") or AUTO

    def init_infers(self) -> dict[str, InferTask]:
        """Per bundle: automatic segmentation, and what it found corrected by clicks and boxes; of our weights the
        clicks."""
        infers = {} if self.untrained is None else untrained_tasks(self.untrained, self._order)
        for name, served in self.served.items():
            infers |= self._infers_of(name, served)
        return infers

    def _infers_of(self, name: str, served: Bundle) -> dict[str, InferTask]:
        images = OpenImages(served, encoding_engine(self.engine), self._order)
        return {
            name: Segmentation(served, self.engine),
            f"{name}_deepedit": DeepEdit(served, images, self.engine),
            f"{name}_deepgrow": DeepGrow(served, images, self.engine),
        }

    @cached_property
    def _order(self) -> ClickOrder:
        return ClickOrder(Path(self.app_dir) / CLICKS)

    def init_trainers(self) -> dict[str, TrainTask]:
        """Per bundle that can be trained, unless conf["train"] is false; and one that makes a bundle from nothing."""
        if not strtobool(self.conf.get("train", "true")):
            return {}
        from pgsam_monai.label.training.from_nothing import FromNothing
        from pgsam_monai.label.training.train import Training

        untrained = self.untrained
        trainers: dict[str, TrainTask] = {}
        if untrained is not None:
            trainers[untrained.name] = FromNothing(self.app_dir, untrained.names[1:], self.conf)
        return trainers | {
            name: Training(str(served.folder), self.conf)
            for name, served in self.served.items()
            if served.capabilities.trains
        }

    def adopt_trained(self) -> None:
        """Serve bundles that were trained here since: that is done in another process, which can't tell this one.

        What requests look things up in is replaced, never changed, for other threads may be reading it.
        """
        if self.untrained is None:
            return
        with self._adopting:
            for name, folder in own_bundles(self.app_dir).items():
                if name not in self.served and name not in self._refused:
                    self._adopt(name, folder)

    def _adopt(self, name: str, folder: Path) -> None:
        try:
            served = self._opened(folder)
        except UserFault as fault:  # once: no other request is to suffer from it
            self._refused.add(name)
            logger.warning(
                "%s, which lies among the bundles that were trained here, can't be served: %s", name, fault
            )
            return
        self.served = {**self.served, name: served}
        self._infers = {**self._infers, **self._infers_of(name, served)}
        self._trainers = self.init_trainers() if settings.MONAI_LABEL_TASKS_TRAIN else {}
        self._scoring_methods = self.init_scoring_methods() if settings.MONAI_LABEL_TASKS_SCORING else {}
        logger.info("Now serving %s, which was trained here.", name)

    def init_strategies(self) -> dict[str, Strategy]:
        """Any image, and the most uncertain image first."""
        return super().init_strategies() | {"random": AnyImage(), "epistemic": Epistemic()}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """Per bundle of one network: how uncertain it is of each image."""
        from pgsam_monai.label.tasks.scoring import EpistemicScoring

        return {
            name: EpistemicScoring(served)
            for name, served in self.served.items()
            if served.capabilities.trains
        }

    def async_scoring(self, method: str | None, params: dict | None = None) -> dict:
        """Start scoring by one method; without any, as after training, by those that conf["score"] names.

        A training's own process scores by itself: it has no token for the server, and perhaps no way to its address.
        """
        methods = [method] if method else names_in(self.conf.get("score"))
        if self._server_mode:
            started = {name: super(PgsamApp, self).async_scoring(name, params) for name in methods}
        else:
            started = {name: self.scoring({"method": name}) for name in methods}
        return started[method] if method else started

    def on_init_complete(self) -> None:
        """Called in the server, not in its training and scoring processes: load and check all weights.

        Raises:
            WeightsFault: what is wrong with any of them.
        """
        faults = []
        for served in filter(None, (self.untrained, *self.served.values())):
            try:
                served.load()
                # What was asked for must be there; else it is opened when it first answers.
                if self.engine in ENGINES and isinstance(served, Bundle):
                    kept_network(served.folder, self.engine).run  # noqa: B018
            except UserFault as fault:
                faults.append(str(fault))
        if faults:
            raise WeightsFault(" ".join(faults))
        super().on_init_complete()
