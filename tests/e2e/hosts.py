"""Hosts on one machine: network namespaces on a bridge, each with its own host name.

Without the right to make namespaces (not root, or a restricted container), the hosts are plain
processes with their own environments, and `Hosts.isolated` says why.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_MARK = "SYNTHSET_E2E_HOST"
# Runs the rest of its command line under another host name.
_RENAMED = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"')


@dataclass
class Host:
    """A group of processes. `kill` ends all of them at once, as a power cut would."""

    name: str
    folder: Path
    enter: tuple[str, ...] = ()
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a program; its output goes to ``<name>.log`` in the host's folder."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*self.enter, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**environment, _MARK: self.mark},
                start_new_session=True,
            )
        self.started.append(process)

    def log(self, name: str) -> str:
        """What a program has written so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    @property
    def alive(self) -> bool:
        """Whether every program that was started here still runs."""
        return all(process.poll() is None for process in self.started)

    def kill(self) -> int:
        """Kill every process of the host, in whatever group; return how many there were."""
        killed = 0
        # The next search finds processes that were started between a search and its kills.
        while pids := self._pids():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            killed += len(pids)
            time.sleep(0.05)
        for process in self.started:
            process.wait()
        self.started.clear()
        return killed

    def _pids(self) -> list[int]:
        return [process.pid for process in psutil.process_iter() if self._is_here(process)]

    def _is_here(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error, OSError):
            is_alive = process.status() != psutil.STATUS_ZOMBIE
            return is_alive and process.environ().get(_MARK) == self.mark
        return False


@dataclass(frozen=True)
class Hosts:
    """This machine, with an ``address`` that all hosts reach, and the other hosts by name."""

    address: str
    here: Host
    others: dict[str, Host]
    isolated: str | None

    def free_port(self) -> int:
        """A free port of the common address."""
        with socket.socket() as probe:
            probe.bind((self.address, 0))
            return int(probe.getsockname()[1])


@contextlib.contextmanager
def hosts_named(*names: str, folder: Path) -> Iterator[Hosts]:
    """Hosts with these names; all of their processes are killed at the end.

    ``Hosts.isolated`` is None for namespaces, else the reason why there are none.
    """
    reason = _reason_without_namespaces()
    network = _plain() if reason else _bridged(names)
    with contextlib.ExitStack() as stack:
        address, entries = stack.enter_context(network)
        hosts = {}
        for name in ("here", *names):
            (folder / name).mkdir(parents=True)
            hosts[name] = Host(name, folder / name, entries.get(name, ()))
            stack.callback(hosts[name].kill)
        yield Hosts(address, hosts.pop("here"), hosts, reason)


def _reason_without_namespaces() -> str | None:
    for program in ("ip", "unshare", "hostname"):
        if shutil.which(program) is None:
            return f"there is no program {program}"
    probe = subprocess.run(
        ["unshare", "--net", "--uts", "ip", "link", "add", "probe", "type", "bridge"],
        capture_output=True,
        text=True,
        check=False,
    )
    return " ".join(probe.stderr.split()) or "namespaces are refused" if probe.returncode else None


@contextlib.contextmanager
def _plain() -> Iterator[tuple[str, dict[str, tuple[str, ...]]]]:
    yield "127.0.0.1", {}


@contextlib.contextmanager
def _bridged(names: Sequence[str]) -> Iterator[tuple[str, dict[str, tuple[str, ...]]]]:
    """A bridge with an address, and per name how to enter a namespace connected to it."""
    token = secrets.token_hex(3)
    bridge, net = f"sy{token}", _unused_net()
    entries: dict[str, tuple[str, ...]] = {}
    with contextlib.ExitStack() as stack:
        _ip("link", "add", bridge, "type", "bridge")
        stack.callback(_ip, "link", "del", bridge)
        _ip("address", "add", f"{net}.1/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for number, name in enumerate(names, start=2):
            space, end = f"synthset-{token}-{name}", f"sy{token}{number}"
            _ip("netns", "add", space)
            stack.callback(_ip, "netns", "del", space)
            _ip("link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", space)
            # A namespace may exist for a while after its name is gone; its cable must not.
            stack.callback(_ip, "link", "del", end)
            _ip("link", "set", end, "master", bridge, "up")
            _ip("-n", space, "address", "add", f"{net}.{number}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", space, "link", "set", device, "up")
            entries[name] = ("ip", "netns", "exec", space, *_RENAMED, name)
        yield f"{net}.1", entries


def _unused_net() -> str:
    """The first three numbers of a private network without a route on this machine."""
    routes = subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout
    nets = (f"10.{231 + secrets.randbelow(20)}.{secrets.randbelow(256)}" for _ in range(1000))
    return next(net for net in nets if f"{net}." not in routes)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
