import pytest
import torch

from pgsam_monai.training.schedules import stage_weights, warmup_poly


def rates(**arguments):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = warmup_poly(optimizer, **arguments)
    seen = []
    for _ in range(arguments["total_iterations"]):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_warm_up_is_linear_and_decay_polynomial():
    assert rates(warmup_iterations=2, total_iterations=6, power=2.0) == pytest.approx(
        [1.0, 2.0, 2.0, 2.0 * 0.75**2, 2.0 * 0.5**2, 2.0 * 0.25**2]
    )


def test_no_warm_up_starts_at_the_base_rate():
    assert rates(warmup_iterations=0, total_iterations=2, power=1.0) == pytest.approx([2.0, 1.0])


def test_a_warm_up_longer_than_training_is_cut_and_said(caplog):
    short = rates(warmup_iterations=20, total_iterations=20, power=1.0)
    assert "cut to 2" in caplog.text
    assert short == pytest.approx(rates(warmup_iterations=2, total_iterations=20, power=1.0))
    assert rates(warmup_iterations=250, total_iterations=2, power=1.0) == pytest.approx([2.0, 1.0])


def test_a_negative_warm_up_is_refused():
    with pytest.raises(ValueError, match="at least 0"):
        rates(warmup_iterations=-1, total_iterations=5)


def test_stage_weights_by_hand():
    assert stage_weights("paper", 0) == pytest.approx((0.8, 0.2))
    assert stage_weights("paper", 100)[0] == pytest.approx(0.8 * 0.6065307)
    assert stage_weights("paper", 300)[0] == pytest.approx(0.1785, abs=1e-4)
    assert stage_weights("released", 0) == pytest.approx((0.4, 0.6))
    assert stage_weights("released", 300)[1] == pytest.approx(0.975, abs=1e-3)
    with pytest.raises(ValueError, match="paper, released, got 'half'"):
        stage_weights("half", 0)
