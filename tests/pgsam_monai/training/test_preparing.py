"""A training on all cases: nothing is validated, the last network is kept."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from dataset_builders import write_nnunet
from tiny_bundle import plan_tiny

from pgsam_monai.base.errors import UserFault
from pgsam_monai.base.trained_on import digests_of
from pgsam_monai.bundle import Bundle
from pgsam_monai.training.preparing import prepare_training


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    work = tmp_path_factory.mktemp("all_cases")
    folder = write_nnunet(work / "Dataset001_Pair", cases=5, shape=(12, 10, 4))
    return plan_tiny(folder, work, networks="unet")


def handlers(bundle, fold):
    trained = Bundle(bundle, configs=("train.json",), device="cpu", overrides={"fold": fold})
    return {type(handler).__name__ for handler in trained.content("train#handlers")}


def test_only_a_fold_is_validated(planned):
    assert handlers(planned, 0) - handlers(planned, "all_cases") == {"ValidationHandler"}


def prepare(bundle, tmp_path, **options):
    trained = Bundle(bundle, configs=("train.json",), device="cpu", overrides={"ckpt_dir": str(tmp_path)})
    network, trainer, checkpoints = (
        trained.content(name) for name in ("network_def", "train#trainer", "checkpoints")
    )
    checkpoints.selection = "best"
    evaluator = SimpleNamespace(data_loader=[], add_event_handler=lambda *_: None)
    seen = {"image_size": 32, "fit": "pad"}
    prepare_training(network, trainer, evaluator, checkpoints, bundle=bundle, seen=seen, **options)
    return network, checkpoints


def test_the_last_network_is_kept_and_knows_its_cases(planned, tmp_path):
    network, checkpoints = prepare(planned, tmp_path, cases=[{"name": "a"}, {"name": "b"}])
    assert checkpoints.selection == "last" and network.trained_on == digests_of("ab", dataset="pair")


def test_nothing_can_stop_it_early(planned, tmp_path):
    with pytest.raises(UserFault, match="there are no validation cases; set it to 0"):
        prepare(planned, tmp_path, early_stop_epochs=3)
