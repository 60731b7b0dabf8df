"""Hosts on one machine, each with an address of its own.

Where the system allows it, a host is a set of namespaces: a network of its own that a cable connects to the others', a
name, its own processes, `/tmp/ray` and home. Elsewhere it is an address on the loopback, where the hosts share all
ports. A host's processes end with it, and hosts end with the process that made them, however that ends.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATHS = (ROOT / "tests" / "nodes", ROOT / "tests" / "tune", ROOT)  # of Python on hosts


class Process(subprocess.Popen):
    """A process on a host, seen from outside."""

    def is_alive(self):
        return self.poll() is None

    def end(self):
        """Kill it, and nothing else, as `kill -9` on the host would."""
        if self.is_alive():
            end(self.inner)
        self.wait()
        for pipe in filter(None, (self.stdin, self.stdout)):
            pipe.close()

    @property
    def inner(self):
        return self.pid


class Entered(Process):
    """A process in namespaces: the one that we know has entered them and waits for it."""

    @property
    def inner(self):
        return int(children(self.pid)[0])


class Host:
    """A machine of its own, as far as its processes can tell."""

    process = Process
    options = ()  # of `ray start`

    def __init__(self, number, address, folder):
        self.number, self.address, self.folder = number, address, folder
        self.home = folder / f"home{number}"
        self.home.mkdir()

    def start(self, arguments, log=subprocess.DEVNULL, **variables):
        """A process on this host, with an environment that holds nothing of ours but what is given."""
        heard = log if log == subprocess.PIPE else subprocess.DEVNULL  # whoever is listened to is spoken to
        pipes = {"stdin": heard, "stdout": log, "stderr": subprocess.STDOUT}
        return self.process(self._inside(arguments), env=self.environment(**variables), cwd=self.home, **pipes)

    def python(self, *arguments, **options):
        return self.start((sys.executable, *map(str, arguments)), **options)

    def said_by(self, *arguments, told="", **variables):
        """What a Python program says to what it is told, and its exit status."""
        return answer(self.python(*arguments, log=subprocess.PIPE, **variables), told)

    def environment(self, **variables):
        base = {"PATH": os.environ["PATH"], "HOME": str(self.home), "PYTHONPATH": ":".join(map(str, PATHS))}
        return {**base, "OMP_NUM_THREADS": "1", **variables}

    def _inside(self, arguments):
        raise NotImplementedError

    def kill(self):
        """The host loses power: every process on it ends at once."""
        raise NotImplementedError


class NamespacedHost(Host):
    """A host whose first process holds its namespaces together: when that dies, the system kills all others."""

    process = Entered

    def __init__(self, number, address, folder, bridge):
        super().__init__(number, address, folder)
        (folder / f"ray{number}").mkdir()
        self.first = self._boot()
        self.init = int(children(self.first.pid)[0])
        cable = f"{bridge}h{number}"
        ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", self.init)
        ip("link", "set", cable, "master", bridge, "up")
        self._run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        self._run("ip", "link", "set", "eth0", "up")

    def _boot(self):
        name, folder = f"host{self.number}", self.folder
        hosts = folder / f"hosts{self.number}"
        hosts.write_text(f"127.0.0.1 localhost\n{self.address} {name}\n")
        script = f"""
            hostname {name}
            mkdir -p /tmp/ray
            mount --bind {folder}/ray{self.number} /tmp/ray
            mount --bind {hosts} /etc/hosts
            ip link set lo up
            echo up
            exec cat
        """
        command = ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-ec", script]
        pipe = subprocess.PIPE  # it ends when our end of its input does
        with (folder / f"boot{self.number}.log").open("wb") as log:
            first = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, start_new_session=True)
        assert first.stdout.readline() == b"up\n"
        return first

    def _inside(self, arguments):
        spaces = ("--net", "--uts", "--mount", "--pid", f"--wd={self.home}")
        return ["nsenter", f"--target={self.init}", *spaces, "--", *arguments]

    def _run(self, *arguments):
        assert self.start(arguments).wait() == 0, arguments

    def kill(self):
        if self.first.poll() is None:
            os.kill(self.init, signal.SIGKILL)
            self.first.wait()
        self.first.stdin.close()
        self.first.stdout.close()


class LoopbackHost(Host):
    """Processes that are told an address of the loopback; they are known by a variable in their environment."""

    def __init__(self, number, address, folder):
        super().__init__(number, address, folder)
        self.options = (f"--temp-dir={folder}/ray{number}",)
        self.init = os.getpid()  # any process is in its network

    mark = property(lambda self: f"TESTS_HOST={self.folder.name}-{self.number}")

    def environment(self, **variables):
        return super().environment(**dict([self.mark.split("=")]), **variables)

    def _inside(self, arguments):
        return arguments

    def kill(self):
        while pids := [int(p.name) for p in Path("/proc").glob("[0-9]*") if self._holds(p)]:
            for pid in pids:
                end(pid)
            time.sleep(0.01)

    def _holds(self, process):
        try:
            return self.mark.encode() in (process / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is not ours
            return False


class Network:
    """A network of hosts, which lives until it is closed."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="nodes", dir="/tmp"))  # short, for the names of sockets are limited
        self.folder.chmod(0o755)
        self.hosts = []
        self.open()

    def open(self):
        """Whatever has to be there before the first host."""

    def host(self):
        """A new host. No two ever have the same address."""
        self.hosts.append(self._host(len(self.hosts) + 1))
        return self.hosts[-1]

    def close(self):
        for host in self.hosts:
            host.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Namespaces(Network):
    """Hosts that a bridge connects; the machine itself is at its address."""

    shared_ports = False

    @staticmethod
    def allowed():
        asked = ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--mount-proc", "true"]
        tools = all(map(shutil.which, ("ip", "unshare", "nsenter")))
        return tools and os.getuid() == 0 and subprocess.run(asked, capture_output=True).returncode == 0

    def open(self):
        number = os.getpid() % 62_000  # in the range that is reserved for measuring networks: 198.18.0.0/15
        self.bridge, self.block = f"n{number}", f"198.{18 + number // 31_000}.{number % 254}"
        self.address = f"{self.block}.1"
        # Without a hardware address of its own it changes with its cables, and the hosts would not find it again.
        ip("link", "add", self.bridge, "address", "02:00:00:00:00:01", "type", "bridge")
        ip("addr", "add", f"{self.address}/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")

    def _host(self, number):
        return NamespacedHost(number, f"{self.block}.{number + 1}", self.folder, self.bridge)

    def close(self):
        super().close()
        ip("link", "delete", self.bridge)


class Loopback(Network):
    """Hosts that differ by their address alone."""

    shared_ports = True
    address = "127.0.0.1"

    def _host(self, number):
        return LoopbackHost(number, f"127.0.0.{number + 1}", self.folder)


def answer(process, told=""):
    """What a process says to what it is told, and its exit status."""
    return process.communicate(told.encode(), timeout=120)[0].decode(), process.returncode


def ip(*arguments):
    subprocess.run(["ip", *map(str, arguments)], check=True, capture_output=True, text=True)


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def end(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
