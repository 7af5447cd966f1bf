"""Eq. 1: which positions get noise, and how much."""

from __future__ import annotations

import pytest
import torch

from benchmarks.gpu.syncs import host_reads
from pgsam_monai.networks.hsam.class_noise import ClassNoise


def test_variance_is_inversely_proportional_to_frequency():
    noise = ClassNoise(num_classes=2, frequencies=[0.9, 0.09, 0.01], std=0.4)
    variances = noise.deviations() ** 2
    torch.testing.assert_close(
        variances, 0.4**2 * torch.tensor([0.01 / 0.9, 0.01 / 0.09, 1.0]), rtol=1e-5, atol=0
    )


def test_each_position_is_perturbed_by_its_class_in_all_channels():
    """40 000 draws per class: the measured deviation lies within 2 % of what the frequencies say."""
    noise = ClassNoise(num_classes=2, frequencies=[0.80, 0.15, 0.05], std=0.35)
    label = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 2], [2, 2, 2, 2]]).reshape(1, 1, 4, 4).float()
    features = torch.arange(12.0).reshape(1, 3, 2, 2).expand(10_000, -1, -1, -1)
    added = noise(features, label.expand(10_000, -1, -1, -1)) - features
    expected = 0.35 * (0.05 / torch.tensor([0.80, 0.15, 0.05, 0.05])).sqrt()
    torch.testing.assert_close(added.std(dim=0).flatten(1), expected.expand(3, 4), rtol=0.03, atol=0)
    assert added.mean(dim=0).abs().max() < 0.02


def test_the_label_is_resized_to_the_features_not_cut_from_them():
    noise = ClassNoise(num_classes=1, frequencies=[1.0, 1e-9], std=1.0)
    label = torch.zeros(1, 1, 32, 48)
    label[..., 16:, 36:] = 1
    added = noise(torch.zeros(1, 2, 4, 4), label)
    assert added[..., 2:, 3].abs().min() > 0.01
    added[..., 2:, 3] = 0
    assert added.abs().max() < 1e-3


def test_without_a_plan_the_frequencies_are_counted_from_the_labels():
    noise = ClassNoise(num_classes=2, frequencies=None, std=1.0)
    assert noise.deviations().tolist() == [1.0, 1.0, 1.0]
    label = torch.zeros(1, 1, 4, 4)
    label[0, 0, 0] = 1
    noise(torch.zeros(1, 3, 2, 2), label)
    assert noise.counts.tolist() == [12, 4, 0]
    torch.testing.assert_close(noise.deviations(), torch.tensor([(4 / 12) ** 0.5, 1.0, 1.0]))
    other = ClassNoise(num_classes=2, frequencies=None, std=1.0)
    other.load_state_dict(noise.state_dict())
    assert other.counts.tolist() == [12, 4, 0]


def test_planned_frequencies_are_not_counted():
    noise = ClassNoise(num_classes=1, frequencies=[0.75, 0.25], std=1.0)
    noise(torch.zeros(1, 2, 2, 2), torch.ones(1, 1, 4, 4))
    torch.testing.assert_close(noise.deviations(), torch.tensor([(1 / 3) ** 0.5, 1.0]))


@pytest.mark.parametrize(
    ("frequencies", "std", "message"),
    [
        ([0.5, 0.5], 0.1, "3 shares, background first, got 2"),
        ([1.1, -0.1, 0.0], 0.1, "above 0"),
        ([0.0, 0.0, 0.0], 0.1, "above 0"),
        (None, -1.0, "noise_std must be at least 0"),
    ],
)
def test_wrong_arguments_are_refused(frequencies, std, message):
    with pytest.raises(ValueError, match=message):
        ClassNoise(num_classes=2, frequencies=frequencies, std=std)


@pytest.mark.parametrize("frequencies", [None, [0.9, 0.08, 0.02]])
def test_it_is_one_graph_and_asks_its_device_nothing(frequencies):
    noise = ClassNoise(num_classes=2, frequencies=frequencies, std=0.35)
    features, label = torch.rand(2, 3, 4, 4), torch.randint(0, 3, (2, 1, 8, 8)).float()
    assert not host_reads(lambda: noise(features, label))
    torch.compile(noise, backend="eager", fullgraph=True)(features, label)
