"""Errors of this package. Each message is one line that names the checkpoint and the fix."""


class CheckpointMissingError(ValueError):
    """A checkpoint is unknown or not on this machine."""


class PullRefusedError(ValueError):
    """A source does not have the requested files, or they must not be used."""


class PullFailedError(RuntimeError):
    """A source did not answer or sent wrong bytes, or the disk is full."""


class NotTensorsError(ValueError):
    """A file is no plain dictionary of tensors."""
