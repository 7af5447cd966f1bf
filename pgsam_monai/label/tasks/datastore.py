"""The studies folder as MONAI Label lists it, without what is no study; only inside MONAI Label's environment."""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore.local import DataModel, LocalDatastore
from monailabel.interfaces.exception import ImageNotFoundException

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import is_hidden, whole, write_text

logger = logging.getLogger(__name__)


class StudiesFolder(LocalDatastore):
    """Hidden files and pipes are no studies. Its records are written whole, and never read while they change."""

    def __init__(self, folder: str, **settings: Any) -> None:
        """As MONAI Label's.

        Raises:
            UserFault: the records are damaged.
        """
        self._alone = threading.RLock()
        try:
            super().__init__(folder, **settings)
            if hasattr(self, "_handler"):  # it watches the folder
                self._handler.on_moved = self._on_moved_event
                for name in ("on_created", "on_deleted", "on_modified", "on_moved"):
                    setattr(self._handler, name, _going_on(getattr(self._handler, name)))
        except ValueError as error:
            raise UserFault(
                f"'{self._datastore_config_path}' is damaged; move it away, and it is written anew from the images and "
                "labels that are there."
            ) from error

    def _list_files(self, path: str, patterns: Iterable[str]) -> dict[str, str]:
        found = super()._list_files(path, patterns)
        return {
            name: file
            for name, file in found.items()
            if not is_hidden(name) and os.path.isfile(os.path.join(path, file))
        }

    def _reconcile_datastore(self) -> None:
        if os.path.isdir(self._datastore_path):  # somebody may have deleted all labels
            os.makedirs(self._datastore.label_path(None), exist_ok=True)
        super()._reconcile_datastore()

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        super()._init_from_datastore_file(throw_exception)
        for name in [name for name in self._datastore.objects if is_hidden(name)]:
            del self._datastore.objects[name]  # listed by an earlier release

    def _on_moved_event(self, event: Any) -> None:
        """Records that another process, a scoring or a batch, has written whole."""
        if event.dest_path == self._datastore_config_path:
            self._init_from_datastore_file()

    def _update_datastore_file(self, lock: bool = True) -> None:
        file = Path(self._datastore_config_path)
        with self._alone, FileLock(self._lock_file) if lock else nullcontext():
            write_text(
                file, json.dumps(self._datastore.model_dump(exclude={"base_path"}), indent=2, default=str)
            )
            self._config_ts = file.stat().st_mtime

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """As MONAI Label's; who is reading the former label reads it to its end.

        Raises:
            ImageNotFoundException: no such image.
        """
        study = self._datastore.objects.get(image_id)
        if study is None:
            raise ImageNotFoundException(f"Image {image_id} not found")
        _, ending = self._to_id(os.path.basename(label_filename))
        name = self._filename(image_id, ending)
        with FileLock(self._lock_file):
            with whole(Path(self._datastore.label_path(label_tag)) / name) as partial:
                shutil.copy(label_filename, partial)
            info = {**(label_info or {}), "ts": int(time.time()), "name": name}
            study.labels[label_tag] = DataModel(info=info, ext=ending)
            self._update_datastore_file(lock=False)
        return image_id


def _going_on(follow: Callable[[Any], None]) -> Callable[[Any], None]:
    """A fault would end the thread that watches the folder, and no later change would be seen."""

    def going_on(event: Any) -> None:
        try:
            follow(event)
        except Exception as fault:
            logger.warning("Changes of the studies folder can't be followed now: %s", fault)

    return going_on


def _one_at_a_time(method: Callable) -> Callable:
    @functools.wraps(method)
    def alone(self: StudiesFolder, *given: Any, **named: Any) -> Any:
        with self._alone:
            return method(self, *given, **named)

    return alone


# MONAI Label's own thread brings the records up to date when files come and go.
for _name in (
    "add_image", "datalist", "get_image_info", "get_image_uri", "get_label_info", "get_label_uri",
    "get_labeled_images", "get_labels_by_image_id", "get_unlabeled_images", "json", "list_images", "refresh",
    "remove_image", "remove_label", "save_label", "status", "update_image_info", "update_label_info",
    "_on_modify_event", "_on_moved_event", "_on_any_event", "set_name", "set_description",
):  # fmt: skip
    setattr(StudiesFolder, _name, _one_at_a_time(getattr(StudiesFolder, _name)))
