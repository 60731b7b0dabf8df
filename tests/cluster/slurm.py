"""SLURM's commands as far as `slurm.sh` uses them, for a job whose nodes are all this machine."""

import os
import subprocess
import sys

from .files import ROOT, SLURM

SRUN = """#!/usr/bin/env bash
echo "srun $*" >>"$STEPS"
while [[ ${1:-} == --* ]]; do
  [[ $1 == --nodelist ]] && shift
  shift
done
exec "$@"
"""
SCONTROL = """#!/usr/bin/env bash
echo "scontrol $*" >>"$STEPS"
"""
VARIABLES = {"SLURMD_NODENAME": "node1", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "1"}


class Job:
    """The script as a job of this number, in a folder where its commands and what it says are written down."""

    def __init__(self, folder, number):
        self.number = number
        self.steps = folder / "steps"
        self.log = folder / "log"
        for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        self._folder = folder

    @property
    def temporary(self):
        """The folder of Ray's sessions."""
        return f"/tmp/ray-{self.number}"

    def start(self, *command, **variables):
        path = f"{self._folder}:{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
        given = {**os.environ, **VARIABLES, "SLURM_JOB_ID": str(self.number), "STEPS": str(self.steps), "PATH": path}
        given |= {"PYTHONPATH": str(ROOT), **variables}
        with self.log.open("w") as log:
            return subprocess.Popen(
                ["bash", str(SLURM), *command], env=given, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def processes(self):
        """What is left of it: the command lines that name its folder."""
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        return [line for line in listed.splitlines() if f"{self.temporary}/" in line]
