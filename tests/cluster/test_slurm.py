"""The SLURM script, run: a head and a worker with a token, a driver, and nothing left behind."""

import os
import random
import signal
import subprocess
import sys

import pytest

from .files import SLURM
from .slurm import Job

DRIVER = """
import os, socket, stat, sys

import ray

ray.init(address="auto", log_to_driver=False)
nodes = [node for node in ray.nodes() if node["Alive"]]
folder = os.stat(sys.argv[1])
print("nodes", len(nodes), "private", stat.S_IMODE(folder.st_mode) == 0o700, flush=True)
print("token", len(os.environ["RAY_AUTH_TOKEN"]), os.environ["RAY_AUTH_MODE"], flush=True)
host, port = os.environ["RAY_ADDRESS"].split(":")
with socket.socket() as stranger:
    print("dashboard open to others", stranger.connect_ex((host, int(port) + 1)) == 0, flush=True)
"""
STRANGER = """
import os, subprocess, sys
environment = {**os.environ, "RAY_AUTH_TOKEN": "0" * 64}
said = subprocess.run(["ray", "health-check", "--address", os.environ["RAY_ADDRESS"]], env=environment,
                      capture_output=True, text=True)
print("stranger", said.returncode, "InvalidAuthToken" in said.stderr or "Authentication" in said.stderr, flush=True)
sys.exit(7)
"""
IDLE = "import signal; print('idle', flush=True); signal.pause()"


@pytest.fixture
def job(tmp_path):
    number = random.Random(os.getpid()).randrange(100_000, 900_000)  # another for each run: it decides the ports
    return Job(tmp_path, number)


@pytest.mark.cluster
def test_a_job_starts_all_nodes_with_a_token_and_leaves_nothing(job):
    running = job.start(sys.executable, "-c", DRIVER, job.temporary)
    assert running.wait(timeout=240) == 0, job.log.read_text()
    told = job.log.read_text()
    assert "nodes 2 private True" in told
    assert "token 64 token" in told
    assert "dashboard open to others False" in told
    steps = job.steps.read_text()
    assert "--nodes=1 --ntasks=1 --nodelist=node1 ray start" in steps
    assert "--nodes=1 --ntasks=1 --exclude=node1 ray start" in steps
    assert not os.path.exists(job.temporary)
    assert job.processes() == []


@pytest.mark.cluster
def test_a_wrong_token_is_refused_and_the_drivers_status_is_the_jobs(job):
    running = job.start(sys.executable, "-c", STRANGER, SLURM_JOB_NUM_NODES="1")
    assert running.wait(timeout=240) == 7, job.log.read_text()
    assert "stranger 1 True" in job.log.read_text()
    assert job.processes() == []


@pytest.mark.cluster
@pytest.mark.parametrize(("number", "status"), [(signal.SIGUSR1, 0), (signal.SIGTERM, 143)])
def test_a_job_whose_time_is_up_goes_back_into_the_queue_and_one_that_is_ended_does_not(job, number, status):
    running = job.start(sys.executable, "-c", IDLE, SLURM_JOB_NUM_NODES="1")
    with subprocess.Popen(["tail", "-F", str(job.log)], stdout=subprocess.PIPE, text=True) as heard:
        assert any(line == "idle\n" for line in heard.stdout)
        heard.terminate()
    running.send_signal(number)
    assert running.wait(timeout=240) == status, job.log.read_text()
    requeued = f"scontrol requeue {job.number}" in job.steps.read_text()
    assert requeued == (number == signal.SIGUSR1)
    assert not os.path.exists(job.temporary)
    assert job.processes() == []


@pytest.mark.parametrize(
    ("command", "variables", "refusal"),
    [
        ([], {"SLURM_JOB_ID": "7"}, "slurm.sh: no command; sbatch slurm.sh python examples/cluster.py"),
        (["true"], {}, "slurm.sh runs inside a job: sbatch slurm.sh COMMAND..."),
    ],
)
def test_what_is_forgotten_is_said(command, variables, refusal):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")} | variables
    told = subprocess.run(["bash", str(SLURM), *command], env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert refusal in told.stderr


def test_jobs_that_share_a_node_have_ports_of_their_own():
    (rule,) = [line for line in SLURM.read_text().splitlines() if line.startswith("port=")]
    script = "for SLURM_JOB_ID in {1000..2999}; do " + rule + '; echo "$port"; done'
    ports = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split()
    blocks = {int(port) // 10 for port in ports}
    assert len(blocks) == len(ports) == 2000
    assert 10_000 < min(map(int, ports)) <= max(map(int, ports)) + 9 < 32_768


def test_a_preempted_job_is_queued_again_and_warned_before_its_time_is_up():
    options = [line.removeprefix("#SBATCH ") for line in SLURM.read_text().splitlines() if line.startswith("#SBATCH")]
    assert {"--requeue", "--open-mode=append", "--signal=B:USR1@120"} <= set(options)
