"""What other hosts reach of a node: the ports that it is meant to open, and nothing on them without the token."""

import subprocess

import pytest

from .listeners import listening, loopback

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]

HELD = """
import sys, ray
ray.init(address=sys.argv[1], _node_ip_address=sys.argv[2])
@ray.remote(num_cpus=1)
class Trial:
    def node(self):
        return ray.util.get_node_ip_address()
trials = [Trial.remote() for _ in range(2)]
print(*ray.get([trial.node.remote() for trial in trials]), flush=True)
sys.stdin.read()
"""
LISTENER = """
import socket, sys
with socket.create_server(("0.0.0.0", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def busy(cluster):
    """The cluster while a driver and two trials are there, one on each worker."""
    process = cluster.head.host.python(
        "-c", HELD, cluster.address, cluster.head.address, log=subprocess.PIPE, **cluster.variables
    )
    line = b""
    while b"INFO" in line or not line.strip():
        line = process.stdout.readline()
    assert set(line.decode().split()) == {node.address for node in cluster.workers}
    yield cluster
    process.end()


@pytest.fixture
def own_ports(network):
    if network.shared_ports:
        pytest.skip("hosts on the loopback share their ports: this needs network namespaces")


def reached(cluster, node):
    """Ports of a node that one of the workers reaches, of all that there are."""
    other = next(worker for worker in cluster.workers if worker is not node)
    said, status = other.host.said_by("-m", "listeners", node.address)
    assert status == 0, said
    return set(map(int, said.split()))


@pytest.mark.usefixtures("own_ports")
def test_nodes_open_to_others_what_they_are_meant_to_and_nothing_else(busy):
    for node in (busy.head, busy.workers[0]):
        found = reached(busy, node)
        assert found == listening(node.host.init)  # what the system says there, and what is found from outside
        assert found - set(node.ports.worker) == node.ports.open
        assert found & set(node.ports.worker)


@pytest.mark.usefixtures("own_ports")
def test_a_port_opened_by_mistake_is_found(cluster):
    process = cluster.head.host.python("-c", LISTENER, log=subprocess.PIPE)
    mistake = int(process.stdout.readline())
    assert mistake in reached(cluster, cluster.head)
    assert mistake in listening(cluster.head.host.init)
    process.end()
    assert mistake not in reached(cluster, cluster.head)


def test_addresses_of_the_loopback_are_told_from_others():
    texts = {"0100007F": True, "0200007F": True, "00000000": False, "0288C6C6": False}
    assert {text: loopback(text) for text in texts} == texts
    v6 = {"0" * 16 + "FFFF0000" + "0100007F": True, "0" * 32: False, "0" * 24 + "01000000": True}
    v6 |= {"0" * 16 + "FFFF0000" + "0288C6C6": False}
    assert {text: loopback(text) for text in v6} == v6


CALLS = {
    "gcs": ["rpc /ray.rpc.NodeInfoGcsService/GetAllNodeInfo", "rpc /ray.rpc.InternalKVGcsService/InternalKVKeys"],
    "node_manager": ["rpc /ray.rpc.NodeManagerService/GetNodeStats"],
    "object_manager": ["rpc /ray.rpc.ObjectManagerService/Pull"],
    "dashboard_agent_listen": ["http /api/job_agent/jobs/x/logs"],
    "dashboard_agent_grpc": ["rpc /ray.rpc.ReporterService/GetTraceback"],
    "runtime_env_agent": ["http /"],
    "ray_client_server": ["rpc /ray.rpc.RayletDriver/ClusterInfo"],
    "worker": ["rpc /ray.rpc.CoreWorkerService/GetCoreWorkerStats"],
}  # beside these, every server of gRPC tells anybody whether it is well


def test_no_port_of_the_head_answers_without_the_right_token(busy):
    assert set(answers(busy, [])) == {"UNAUTHENTICATED", "401"}
    assert set(answers(busy, ["f" * 64])) == {"UNAUTHENTICATED", "403"}
    assert not set(answers(busy, [busy.variables["RAY_AUTH_TOKEN"]])) & {"UNAUTHENTICATED", "401", "403"}


def answers(cluster, tokens):
    """Statuses of a call to each port of the head, by somebody on a worker."""
    ports = cluster.head.ports
    driver = min(listening(cluster.head.host.init) & set(ports.worker))
    numbers = {**vars(ports), "worker": driver}
    lines = [f"{numbers[port]} {call}" for port, calls in CALLS.items() for call in calls]
    host = cluster.workers[0].host
    said, status = host.said_by("-m", "calls", cluster.head.address, *tokens, told="\n".join(lines))
    assert status == 0, said
    assert len(said.split()) == len(lines)
    return said.split()
