"""The studies folder as MONAI Label lists it, without what is no study; only inside MONAI Label's environment."""

from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from monailabel.datastore.local import LocalDatastore

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.files import is_hidden, write_text


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

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        super()._init_from_datastore_file(throw_exception)
        for name in [name for name in self._datastore.objects if is_hidden(name)]:
            del self._datastore.objects[name]  # listed by an earlier release

    def _update_datastore_file(self, lock: bool = True) -> None:
        file = Path(self._datastore_config_path)
        with self._alone:
            write_text(
                file, json.dumps(self._datastore.model_dump(exclude={"base_path"}), indent=2, default=str)
            )
            self._config_ts = file.stat().st_mtime


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
    "_on_modify_event",
):  # fmt: skip
    setattr(StudiesFolder, _name, _one_at_a_time(getattr(LocalDatastore, _name)))
