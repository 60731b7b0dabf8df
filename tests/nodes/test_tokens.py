"""Who has another token than the cluster's, or none, is refused, whatever he wants; who has it, is not."""

import re
import subprocess
import sys

import pytest

from .network import answer
from .node import RAY, start

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]

TOKENS = {
    "another": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64},
    "none": {"RAY_AUTH_MODE": "token"},
    "none wanted": {"RAY_AUTH_MODE": "disabled"},
}
TO_NODES = {
    "another": "InvalidAuthToken: Authentication token is missing or incorrect",
    "none": "Token authentication is enabled but no authentication token was found",
    "none wanted": "InvalidAuthToken: Authentication token is missing or incorrect. Note: RAY_AUTH_MODE is currently",
}
TO_DASHBOARD = {
    "another": "Authentication failed: Forbidden: Invalid authentication token",
    "none": "Token authentication is enabled but Ray couldn't find an authentication token",
    "none wanted": "Authentication required: Unauthorized: Missing authentication token",
}
SENTENCES = {"driver": TO_NODES, "worker": TO_NODES, "job": TO_DASHBOARD, "state": TO_DASHBOARD}
DRIVER = "import sys, ray; ray.init(address=sys.argv[1], _node_ip_address=sys.argv[2]); print(len(ray.nodes()))"
JOB = "import ray_glocal; print('a job of', ray_glocal.__name__)"


def requests(cluster, stranger):
    """What anybody may want of a cluster: from which host, by which command."""
    head = cluster.head.host
    joins = start(stranger, f"--address={cluster.address}", "--num-cpus=1", *stranger.options)
    submits = (*RAY, "job", "submit", f"--address={cluster.dashboard}", "--", sys.executable, "-c", JOB)
    return {
        "driver": (head, ("-c", DRIVER, cluster.address, head.address)),
        "worker": (stranger, joins),
        "job": (head, submits),
        "state": (head, (*RAY, "list", "nodes", f"--address={cluster.dashboard}")),
    }


@pytest.fixture(scope="module")
def refused(whole, network):
    """What each is told with each of the wrong tokens; all at once, for some try for long."""
    tries = requests(whole, network.host()).items()
    processes = {
        (what, how): host.python(*command, log=subprocess.PIPE, **token)
        for what, (host, command) in tries
        for how, token in TOKENS.items()
    }
    return {key: answer(process) for key, process in processes.items()}


@pytest.mark.parametrize("how", TOKENS)
@pytest.mark.parametrize("what", SENTENCES)
def test_whoever_has_another_token_or_none_is_refused(refused, what, how):
    said, status = refused[what, how]
    assert status != 0
    assert re.search(re.escape(SENTENCES[what][how]), said), said


@pytest.mark.usefixtures("refused")
def test_none_of_them_has_joined(cluster):
    assert cluster.addresses() == {node.address for node in (cluster.head, *cluster.workers)}


@pytest.mark.parametrize(("what", "said"), [("driver", r"^\d$"), ("job", "a job of ray_glocal")])
def test_whoever_has_the_token_is_let_in(cluster, what, said):
    host, command = requests(cluster, cluster.head.host)[what]
    text, status = host.said_by(*command, **cluster.variables)
    assert status == 0, text
    assert re.search(said, text, re.MULTILINE), text
