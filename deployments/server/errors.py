"""What is wrong with a Prefect server. Each message is one line with the address and the fix."""


class ServerError(ValueError):
    """The configured server can't be used."""


class ServerLostError(RuntimeError):
    """The server does not answer any more. Prefect's threads would try for minutes to reach it."""


class TemporaryServerError(RuntimeError):
    """The server of this command did not start."""
