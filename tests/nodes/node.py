"""Nodes of a Ray cluster, each on a host of its own, started as a user starts them: by `ray start`."""

import json
from dataclasses import dataclass, fields

from .network import Process

PATIENCE = 180  # seconds, for what takes a few on an idle machine
WORKER_PORTS = 100
NO_METRICS = {  # exporters of metrics listen to everybody and ask nobody for a token
    "RAY_enable_metrics_collection": "0",
    "AUTOSCALER_METRIC_PORT": "-1",
    "DASHBOARD_METRIC_PORT": "-1",
}
HEALTH = {"RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "2000"}  # else half a minute passes


@dataclass(frozen=True)
class Ports:
    """The ports that a node opens to other hosts."""

    node_manager: int = 6380
    object_manager: int = 6381
    dashboard_agent_listen: int = 6382
    dashboard_agent_grpc: int = 6383
    runtime_env_agent: int = 6384
    metrics_export: int = 6385
    min_worker: int = 11000

    def shifted(self, by):
        return type(self)(*(getattr(self, field.name) + by for field in fields(self)))

    @property
    def open(self):
        """The few that are fixed and listened on; workers' come beside them."""
        agents = {self.dashboard_agent_listen, self.dashboard_agent_grpc, self.runtime_env_agent}
        return {self.node_manager, self.object_manager} | agents

    @property
    def worker(self):
        return range(self.min_worker, self.min_worker + WORKER_PORTS)

    @property
    def flags(self):
        numbers = {field.name: getattr(self, field.name) for field in fields(self)}
        numbers["max_worker"] = self.worker[-1]
        return [f"--{name.replace('_', '-')}-port={number}" for name, number in numbers.items()]


@dataclass(frozen=True)
class HeadPorts(Ports):
    """Those of a head, and beside them the dashboard's, which it opens to nobody else."""

    gcs: int = 6379
    ray_client_server: int = 10001
    dashboard: int = 8265

    @property
    def flags(self):
        return [flag.replace("--gcs-port", "--port") for flag in super().flags]

    @property
    def open(self):
        return super().open | {self.gcs, self.ray_client_server}


@dataclass(frozen=True)
class Node:
    """A node of the cluster, and what starts it; it is up when that ends."""

    host: object
    ports: Ports
    starting: Process
    log: object

    @property
    def address(self):
        return self.host.address

    def up(self):
        """Wait until the node has joined its cluster."""
        assert self.starting.wait(PATIENCE) == 0, self.log.read_text()
        return self


class Cluster:
    """A head, which runs no trials, and the workers that have joined it, each on its own host."""

    def __init__(self, network, token, workers):
        self.network, self.variables = network, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        self.head = self._head()
        self.workers = [self._worker() for _ in range(workers)]  # they ask for the head until it is there
        for node in (self.head, *self.workers):
            node.up()

    @property
    def address(self):
        return f"{self.head.address}:{self.head.ports.gcs}"

    @property
    def dashboard(self):
        return f"http://127.0.0.1:{self.head.ports.dashboard}"

    def join(self):
        """One worker more, on a new host."""
        self.workers.append(self._worker().up())
        return self.workers[-1]

    def lose(self, node):
        """A worker's host loses power."""
        self.workers.remove(node)
        node.host.kill()

    def driver(self, folder, plan):
        """A process on the head that carries out a plan in `folder`, of which it may be the continuation."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plan.json").write_text(json.dumps(plan))
        command = ("-m", "drivers", self.address, self.head.address, str(folder))
        return self.head.host.python(*command, **self.variables)

    def addresses(self):
        """Those of all nodes that are alive, by Ray's state API."""
        command = ("list", "nodes", "--format=json", "--filter=state=ALIVE", f"--address={self.dashboard}")
        told, status = self.head.host.said_by(*RAY, *command, **self.variables)
        assert status == 0, told
        return {node["node_ip"] for node in json.loads(told[told.index("[") :])}

    def _head(self):
        host, ports = self._place(HeadPorts())
        return self._start(host, ports, "--head", "--num-cpus=0", "--dashboard-host=127.0.0.1")

    def _worker(self):
        host, ports = self._place(Ports())
        return self._start(host, ports, f"--address={self.address}", "--num-cpus=1")

    def _place(self, ports):
        host = self.network.host()
        return host, ports.shifted(4000 + 100 * host.number) if self.network.shared_ports else ports

    def _start(self, host, ports, *options):
        log = host.home / "start.log"
        with log.open("wb") as file:
            command = start(host, *options, *ports.flags, *host.options)
            process = host.python(*command, log=file, **self.variables, **NO_METRICS, **HEALTH)
        return Node(host, ports, process, log)


RAY = ("-m", "ray.scripts.scripts")


def start(host, *options):
    """Arguments of Python that start a node on a host."""
    common = ("--disable-usage-stats", "--object-store-memory=80000000", f"--node-ip-address={host.address}")
    return [*RAY, "start", *common, *options]
