"""The learning rate of each step: it drops at milestones, or follows one cycle.

A rate depends on the settings and the step's number alone, so a training that is resumed continues
with the rates that it would have had.
"""

import torch
from torch.optim.lr_scheduler import OneCycleLR

from models.training.settings import TrainingParameters


class Schedule:
    """The rates of a training.

    Args:
        steps: steps per epoch.
    """

    def __init__(self, settings: TrainingParameters, steps: int) -> None:
        self.steps = steps
        self.of_epochs = settings.learning_rates()
        self.of_steps: list[tuple[float, float]] = []
        if settings.schedule == "onecycle":
            self.of_steps = one_cycle(settings.learning_rate, settings.epochs * steps)

    def apply(self, optimizer: torch.optim.Optimizer, epoch: int, step: int) -> float:
        """Set the rates of one step, and return that of the head.

        Args:
            epoch: number of the epoch, from 0.
            step: number of the step within the epoch, from 0.
        """
        rate, momentum = self.of_epochs[epoch], None
        if self.of_steps:
            rate, momentum = self.of_steps[epoch * self.steps + step]
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
            if momentum is not None and "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            elif momentum is not None:
                group["momentum"] = momentum
        return rate


def one_cycle(peak: float, steps: int) -> list[tuple[float, float]]:
    """The learning rate and the momentum of each step of one cycle.

    The rate rises from a 25th of ``peak`` to it in 30 % of the steps, then falls to almost nothing;
    momentum moves the other way, from 0.95 to 0.85 and back. These are the defaults of torch, after
    Smith and Topin 2018 (https://arxiv.org/abs/1708.07120).
    """
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=peak, momentum=0.9)
    scheduler = OneCycleLR(optimizer, max_lr=peak, total_steps=steps)
    (group,) = optimizer.param_groups
    found = [(float(group["lr"]), float(group["momentum"]))]
    for _ in range(steps - 1):
        optimizer.step()
        scheduler.step()
        found.append((float(group["lr"]), float(group["momentum"])))
    return found
