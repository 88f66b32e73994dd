"""The process of a temporary server; it ends when the process that started it has ended.

Use: ``python -m deployments.server.child FD``, with the number of a bound socket that was passed
on, and a pipe as standard input whose other end the starting process holds.
"""

import os
import signal
import socket
import sys
import threading
import time

# A server that has requests in progress waits for them; nobody waits for their answers any more.
END_WITHIN_S = 5.0


def main() -> None:
    """Serve until standard input ends or a signal arrives."""
    # Before everything else: the imports take seconds, and the starting process may end meanwhile.
    threading.Thread(target=_end_with_standard_input, daemon=True, name="guard").start()
    import uvicorn

    config = uvicorn.Config(
        "deployments.server.main:create_app", factory=True, log_level="error", lifespan="on"
    )
    server = uvicorn.Server(config)
    server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
    if not server.started:
        sys.exit(1)


def _end_with_standard_input() -> None:
    """The kernel closes the other end of the pipe however its process ends."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_WITHIN_S)
    os._exit(1)


if __name__ == "__main__":
    main()
