"""Networks in 8 bits: what calibrates them, and that they are offered where they keep the Dice alone."""

import numpy as np
import pytest
from dataset_builders import write_nnunet
from untrained import plan_untrained

from pgsam_monai.base.errors import UserFault
from pgsam_monai.bundle import Bundle
from pgsam_monai.commands.export import export
from pgsam_monai.export import engines, quantizing
from pgsam_monai.export.comparing import cases_of, cases_to_compare
from pgsam_monai.runtime.engines import INT8, installed
from pgsam_monai.runtime.record import read_record

HERE = installed("nncf") and installed("openvino")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    root = tmp_path_factory.mktemp("quantizing")
    folder = write_nnunet(root / "Dataset001_Pair", cases=3, shape=(30, 26, 10))
    return plan_untrained(folder, root / "work", "dynunet")


def test_what_calibrates_is_what_predictions_give_the_network(bundle, monkeypatch):
    monkeypatch.setattr(quantizing, "CALLS", 1)
    trained = Bundle.trained(bundle, device="cpu")
    record = engines.described(trained)
    (image,) = quantizing.calibration_inputs(trained, record, cases_of(trained, "training"))
    assert image.shape == (16, 1, 32, 32)  # of the ten slices, and the last one again
    assert image.dtype == np.float32 and 0 <= image.min() < image.max() <= 1


@pytest.mark.skipif(not HERE, reason="NNCF or OpenVINO is not installed")
def test_offered_where_the_dice_stays(bundle, monkeypatch):
    trained = Bundle.trained(bundle, device="cpu")
    part, cases = cases_to_compare(trained, 1)
    assert part == "validation" and "label" in cases[0]
    monkeypatch.setattr(engines, "measured", lambda exported, network, cases: lost(exported, 0.004, network))
    engines.export_engine(trained, "openvino", cases, part=part, precision=INT8)
    made = read_record(bundle / "models").engines["openvino"]
    assert (made.precision, made.chosen, made.part, made.verified) == ("int8", True, "validation", True)
    monkeypatch.setattr(engines, "measured", lambda exported, network, cases: lost(exported, 0.006, network))
    with pytest.raises(UserFault, match="int8 isn't offered .* 0.7940, 0.0060 less than in float32, on case"):
        engines.export_engine(trained, "openvino", cases, part=part, precision=INT8)
    assert read_record(bundle / "models").engines["openvino"] == made


def lost(exported, dice, network):
    """As if it had been measured."""
    network.run  # noqa: B018, opens
    return engines.replace(
        exported, cases=("case",), agreement=0.97, dice=round(0.8 - dice, 4), dice_of_trained=0.8
    )


def test_wishes_that_do_not_fit(bundle, monkeypatch):
    with pytest.raises(UserFault, match="two precisions; give one"):
        export(str(bundle), form="openvino", int8=True, bf16=True)
    with pytest.raises(UserFault, match="--cases must be 0 or more, got -1"):
        export(str(bundle), form="openvino", cases=-1)
    with pytest.raises(UserFault, match="--int8 is for --form openvino"):
        export(str(bundle), form="onnx", int8=True)
    monkeypatch.setattr(quantizing, "installed", lambda name: False)
    with pytest.raises(UserFault, match="--int8 needs NNCF"):
        quantizing.require_quantizer()
