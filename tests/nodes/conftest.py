"""A Ray cluster of a head and workers on hosts of their own, and an S3 server beside them."""

import secrets
import sys
from contextlib import closing

import pytest

from .network import PATHS, Loopback, Namespaces
from .node import Cluster
from .s3 import S3

sys.path[:0] = [str(path) for path in PATHS]  # as on the hosts

KIND = Namespaces if Namespaces.allowed() else Loopback


@pytest.fixture(scope="package", params=[KIND], ids=[KIND.__name__.lower()])
def network(request):
    with closing(request.param()) as network:
        yield network


@pytest.fixture(scope="package")
def whole(network):
    """A cluster, which tests may damage."""
    return Cluster(network, secrets.token_hex(32), workers=2)


@pytest.fixture
def cluster(whole):
    """The cluster with two workers, whatever happened to it before."""
    while len(whole.workers) < 2:
        whole.join()
    return whole


@pytest.fixture(scope="package")
def s3(network):
    with closing(S3(network.address, network.folder / "s3.log")) as server:
        yield server.open()
