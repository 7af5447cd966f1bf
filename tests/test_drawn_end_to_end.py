"""The bundle that makes drawn_tiny: trained, gone on with, finished on larger pictures, written as a file."""

from __future__ import annotations

import json

import jsonschema
import pytest
import torch
from registry import ROOT
from tiny_bundle import run_bundle

from pgsam_monai.weights.files import load_weights

BUNDLE = ROOT / "bundles/drawn_tiny"
TINY = {
    "image_size": 32, "targets": 1, "batch_size": 2, "num_workers": 0, "iterations_per_epoch": 2, "val_interval": 1,
    "validate#dataset#length": 2, "warmup_iterations": 1,
}  # fmt: skip


def train(folder, *configs: str, **overrides: object):
    places = {"ckpt_dir": str(folder), "output_dir": str(folder / "eval")}
    run_bundle("training", BUNDLE, ("train.json", *configs), **{**TINY, **places, **overrides})
    return torch.load(folder / "model.pt", weights_only=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    return folder, train(folder, epochs=2)


def tensors(state) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if not name.endswith("_extra_state")}


def test_a_training_that_was_stopped_ends_with_the_same_numbers(undisturbed, tmp_path):
    train(tmp_path, epochs=1, schedule_epochs=2)
    again = train(tmp_path, epochs=2, resume=True)
    assert all(torch.equal(value, tensors(undisturbed[1])[name]) for name, value in tensors(again).items())


def test_another_seed_draws_other_samples(undisturbed, tmp_path):
    other = train(tmp_path, epochs=2, seed=1)
    name = "image_encoder.patch_embed.stage_2.0.weight"
    assert not torch.equal(other[name], undisturbed[1][name])


def test_it_is_finished_on_larger_pictures_and_written_as_a_file(undisturbed, tmp_path):
    folder, _ = undisturbed
    train(tmp_path, "finish.json", initial_model=str(folder / "model.pt"), image_size=64, epochs=1)
    state = load_weights(tmp_path / "drawn_tiny.safetensors")
    assert {value.dtype for value in state.values()} == {torch.float16}
    assert state["image_encoder.pos_embed"].shape == (1, 4, 4, 192)


def test_its_metadata_fits_the_schema():
    metadata = json.loads((BUNDLE / "configs/metadata.json").read_text())
    jsonschema.validate(metadata, json.loads((BUNDLE / "configs/meta_schema_20240725.json").read_text()))
    assert metadata["version"] in metadata["changelog"]


def test_its_configs_are_data_and_can_be_read():
    """As `test_bundle_contract` wants of planned ones."""
    text = (BUNDLE / "configs/train.json").read_text()
    assert len(text.splitlines()) <= 200 and max(map(len, text.splitlines())) <= 120
    expressions = [line for line in text.splitlines() if '"$' in line]
    assert len(expressions) <= 20
