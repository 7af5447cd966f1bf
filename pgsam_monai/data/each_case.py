"""Cases one by one for a MONAI evaluator: one that can't be read never stops the others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from monai.data import Dataset, list_data_collate
from tqdm import tqdm

from pgsam_monai.base.errors import UserFault, root_of


class EachCase:
    """Batches of one case, with a progress bar: a DataLoader of `batch_size` 1 that passes over what can't be read.

    It has no length, since an evaluator would begin anew until it has had so many batches.
    """

    def __init__(self, dataset: Dataset) -> None:
        """`dataset`: MONAI's, of cases with a "name"."""
        self.dataset = dataset
        self.unreadable: dict[str, str] = {}
        """case -> the reason, of the last time round"""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yields batches as `monai.data.list_data_collate` makes them.

        Raises:
            UserFault: the only case can't be read.
        """
        self.unreadable.clear()
        for index in tqdm(range(len(self.dataset)), desc="predicting", disable=None):
            try:
                item = self.dataset[index]
            except Exception as fault:  # MONAI wraps what its transforms raise
                reason = root_of(fault)
                if len(self.dataset) == 1 or not isinstance(reason, UserFault):
                    raise
                self.unreadable[self.dataset.data[index]["name"]] = str(reason)
            else:
                yield list_data_collate([item])
