"""The optimiser of a network: its head and its body may learn at different rates."""

from typing import Any

import torch
from torch import nn

from models.training.pretrained import head_names
from models.training.settings import TrainingParameters


def build_optimizer(network: nn.Module, settings: TrainingParameters) -> torch.optim.Optimizer:
    """The optimiser that the settings name. The body's rate is ``body_rate`` times the head's."""
    rate, decay = settings.learning_rate, settings.weight_decay
    heads = head_names(network)
    named = list(network.named_parameters())
    groups: list[dict[str, Any]] = [
        {"params": [weights for name, weights in named if name.startswith(heads)], "factor": 1.0},
        {
            "params": [weights for name, weights in named if not name.startswith(heads)],
            "factor": settings.body_rate,
        },
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, rate, momentum=0.9, weight_decay=decay)
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, rate, weight_decay=decay)
