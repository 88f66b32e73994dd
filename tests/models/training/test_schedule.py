"""Learning rates of one cycle are those of torch, and depend on the step alone."""

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from models.training.schedule import Schedule, one_cycle
from models.training.settings import TrainingParameters


def optimizer_of(kind: str) -> torch.optim.Optimizer:
    """An optimiser with a head and a body that learns at a tenth of its rate."""
    groups = [
        {"params": [torch.zeros(1, requires_grad=True)], "factor": factor} for factor in (1.0, 0.1)
    ]
    if kind == "sgd":
        return torch.optim.SGD(groups, 0.5, momentum=0.9)
    return torch.optim.Adam(groups, 0.5)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_one_cycle_is_that_of_torch(kind: str) -> None:
    settings = TrainingParameters(schedule="onecycle", learning_rate=0.5, epochs=3)
    schedule, ours, torchs = Schedule(settings, 4), optimizer_of(kind), optimizer_of(kind)
    scheduler = OneCycleLR(torchs, max_lr=[0.5, 0.05], epochs=3, steps_per_epoch=4)
    rates = []
    for step in range(12):
        rates.append(schedule.apply(ours, step // 4, step % 4))
        for own, theirs in zip(ours.param_groups, torchs.param_groups, strict=True):
            assert own["lr"] == pytest.approx(theirs["lr"])
            assert own.get("momentum") == pytest.approx(theirs.get("momentum"))
            assert own.get("betas") == pytest.approx(theirs.get("betas"))
        torchs.step()
        if step < 11:
            scheduler.step()
    assert max(rates) > 0.45
    assert rates[-1] < 1e-5
    # A step has its rates whatever was set before.
    assert schedule.apply(ours, 1, 2) == rates[6]


def test_one_step_has_a_cycle() -> None:
    assert len(one_cycle(0.1, 1)) == 1


def test_milestones_leave_momentum_alone() -> None:
    settings = TrainingParameters(learning_rate=0.1, milestones=(1,), epochs=2)
    optimizer = optimizer_of("sgd")
    rates = [
        Schedule(settings, 3).apply(optimizer, epoch, step) for epoch, step in ((0, 2), (1, 0))
    ]
    assert rates == pytest.approx([0.1, 0.01])
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.001])
    assert optimizer.param_groups[0]["momentum"] == 0.9
