"""H-SAM through its bundle: the label reaches the noise, the stages share the loss by epoch, every ablation runs."""

from __future__ import annotations

import json

import pytest
import torch
from dataset_builders import write_msd
from tiny_bundle import plan_tiny, read_voxels, run_bundle

ROWS = {
    "1_baseline": ("none", False, False),
    "2_mask_attention": ("learnable", False, False),
    "3_mask_attention_pixel_decoder": ("learnable", True, False),
    "4_pixel_decoder": ("none", True, False),
    "5_pixel_decoder_class_attention": ("none", True, True),
    "6_class_attention": ("none", False, True),
    "7_mask_attention_class_attention": ("learnable", False, True),
    "8_full": ("learnable", True, True),
}
"""Table 4: mask attention, hierarchical pixel decoder, class attention."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    work = tmp_path_factory.mktemp("hsam")
    return plan_tiny(write_msd(work / "Task02_Heart", cases=5), work, networks="hsam")


def parsed(bundle, *names):
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config([str(bundle / f"configs/{name}.json") for name in names])
    parser["bundle_root"] = str(bundle)
    return parser


@pytest.mark.parametrize("row", ["", "1_baseline"])
def test_it_trains_evaluates_and_infers(bundle, row, tmp_path):
    overlay = (f"ablation_{row}.json",) if row else ()
    places = {"ckpt_dir": str(tmp_path / "models"), "output_dir": str(tmp_path / "eval")}
    run_bundle("training", bundle, ("train.json", *overlay), **places)
    state = torch.load(tmp_path / "models/model.pt", weights_only=True)
    assert any("class_attention" in name for name in state) == (not row)
    run_bundle("evaluating", bundle, ("train.json", "evaluate.json", *overlay), **places)
    assert json.loads((tmp_path / "eval/validation/metrics.json").read_text())["cases"]
    run_bundle("inferring", bundle, ("inference.json", *overlay), **places)
    voxels, _ = read_voxels(next((tmp_path / "eval").glob("*.nii.gz")))
    assert voxels.ndim == 3


def test_training_gives_the_noise_its_labels_and_the_stages_their_weights(bundle, tmp_path):
    """Without planned frequencies the noise counts them, which it can only from labels that it was given."""
    parser = parsed(bundle, "train")
    parser["network_def"]["class_frequencies"] = None
    for name, value in {"ckpt_dir": str(tmp_path), "output_dir": str(tmp_path), "epochs": 2}.items():
        parser[name] = value
    trainer = parser.get_parsed_content("train#trainer")
    seen = []
    loss = parser.get_parsed_content("loss")
    from ignite.engine import Events

    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: seen.append(loss.weights))
    trainer.run()
    counts = trainer.network.second_stage.class_attention.noise.counts
    assert int(counts.sum()) == 2 * 2 * 2 * 32 * 32  # epochs, steps, batch, pixels
    assert seen == [pytest.approx([0.2, 0.8]), pytest.approx([1 - 0.8 * 0.4723666, 0.8 * 0.4723666])]


@pytest.mark.parametrize("base", [("train",), ("train", "evaluate"), ("inference",)])
@pytest.mark.parametrize("row", ROWS)
def test_ablations_are_table_4(bundle, base, row):
    description = parsed(bundle, *base, f"ablation_{row}").get_parsed_content("network_def").description
    kept = tuple(description[name] for name in ("mask_attention", "pixel_decoder", "class_attention"))
    assert kept == ROWS[row]


def test_the_plan_hands_over_its_class_frequencies(bundle):
    plan = json.loads((bundle / "configs/plan.json").read_text())
    frequencies = plan["decisions"]["class_frequencies"]["value"]
    noise = parsed(bundle, "train").get_parsed_content("network_def").second_stage.class_attention.noise
    assert not noise.counting
    expected = torch.tensor([min(frequencies) / share for share in frequencies]).sqrt()
    torch.testing.assert_close(noise.deviations(), 0.35 * expected, rtol=1e-4, atol=0)


def test_the_table_of_ablations_stands_in_the_readme(bundle):
    readme = (bundle / "docs/README.md").read_text()
    assert "| overlay | mask attention | pixel decoder | class attention |" in readme
    assert "| `ablation_7_mask_attention_class_attention.json` | learnable | | ✓ |" in readme
