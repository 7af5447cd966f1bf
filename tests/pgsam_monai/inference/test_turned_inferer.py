"""Networks that see other axes than the volume's: what they are shown, and where their answers come to lie."""

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation
from small_volumes import oblique_affine

from pgsam_monai.base.errors import UserFault
from pgsam_monai.inference.ensemble import EnsembleInferer
from pgsam_monai.inference.mirroring import mirrored
from pgsam_monai.inference.patches import PatchInferer
from pgsam_monai.inference.slices import SliceInferer
from pgsam_monai.inference.turning import TurnedInferer
from pgsam_monai.networks.description import DescribedNetwork
from pgsam_monai.networks.ensemble import Ensemble


class Echo:
    """Answers with what it is shown, which it remembers."""

    output = "labels"

    def probabilities(self, inputs, network):
        self.shown = inputs
        return inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs


def volume(codes, shape=(4, 5, 6)):
    """Oblique, anisotropic, every voxel another number, its axes in this order."""
    image = MetaTensor(torch.arange(120.0).reshape(1, *shape), affine=torch.from_numpy(oblique_affine()))
    return Orientation(axcodes=codes, labels=None)(image)[None]


@pytest.mark.parametrize(("own", "read"), [("ILP", "PLS"), ("RAS", "SPL"), ("RPI", "LAS"), ("PLS", "PLS")])
def test_a_network_is_shown_what_reorienting_gives_and_answers_where_the_volume_lies(own, read):
    inputs, echo = volume(read), Echo()
    answer = TurnedInferer(echo, own, read).probabilities(inputs, None)
    expected = Orientation(axcodes=own, labels=None)(inputs[0])
    assert torch.equal(echo.shown[0].as_tensor(), expected.as_tensor())
    torch.testing.assert_close(echo.shown.affine, expected.affine, atol=1e-6, rtol=0)
    assert torch.equal(answer, inputs.as_tensor())


class Lowest(DescribedNetwork):
    """Class 1 with 90 % in the first row of what it is shown, with 10 % elsewhere."""

    name, num_classes, in_channels, trained_on = "lowest", 1, 1, frozenset()
    description = {"network": "lowest"}

    def forward(self, image):
        found = torch.full((len(image), 1, *image.shape[2:]), 0.1)
        found[:, :, 0] = 0.9
        return torch.cat([1 - found, found], dim=1).log()


def test_an_ensemble_of_axial_and_coronal_slices_by_hand():
    """Axial slices' first row is the most anterior (PLS), coronal slices' the uppermost (ILP): the last axial slice."""
    plain, turned = SliceInferer(4), TurnedInferer(SliceInferer(4), "ILP", "PLS")
    network = Ensemble([Lowest(), Lowest()], [1, 1])
    found = EnsembleInferer([plain, turned], output="logits")(volume("PLS", (4, 5, 6)), network).exp()[0, 1]
    assert found.shape == volume("PLS").shape[2:]
    # the coronal slices' two rows of one slice each, seen at four pixels for six or five
    assert found[0, 2, -1] == pytest.approx(0.9, abs=0.05) and found[-1, 2, 0] == pytest.approx(0.1, abs=0.05)
    assert found[0, 2, 0] == pytest.approx(0.5, abs=0.05) and found[-1, 2, -1] == pytest.approx(0.5, abs=0.05)


def test_patches_have_the_turned_spacing():
    """Spacing is told along the network's own axes."""
    inputs = volume("PLS")
    spacing = torch.linalg.norm(
        inputs.affine[0, :3, :3] if inputs.affine.ndim == 3 else inputs.affine[:3, :3], dim=0
    )
    turned = TurnedInferer(
        PatchInferer((4, 4, 4), spacing=[float(spacing[2]), 2 * float(spacing[1]), 1.0]), "ILP", "PLS"
    )
    found = turned.probabilities(inputs, Lowest())
    expected = (inputs.shape[2], round(inputs.shape[3] / 2), inputs.shape[4])
    assert found.shape[2:][2] == expected[2] and abs(found.shape[3] - expected[1]) <= 1


def test_a_turned_network_of_slices_is_mirrored_within_them_alone():
    turned = TurnedInferer(SliceInferer(4), "ILP", "PLS")
    plain, coronal = mirrored(
        EnsembleInferer([SliceInferer(4), turned]), ["front-back", "up-down"], "PLS", True
    ).members
    assert plain.axes == (0,) and coronal.axes == (2,)


@pytest.mark.parametrize("codes", ["PPS", "PL", "XYZ"])
def test_codes_that_name_no_three_axes(codes):
    with pytest.raises(UserFault, match=f"'{codes}' must be three axis codes"):
        TurnedInferer(SliceInferer(4), codes, "PLS")
