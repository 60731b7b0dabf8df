#!/usr/bin/env bash
# A Ray cluster inside one SLURM job, and a driver on it:
#   sbatch cluster/slurm.sh COMMAND...
# COMMAND runs on the first node once all nodes have joined; its status is the job's. A job that is preempted, or whose
# time is up, is put into the queue again and runs COMMAND anew, which therefore has to resume from shared storage.
#SBATCH --job-name=ray_glocal
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --mem=32G
#SBATCH --time=24:00:00
#SBATCH --output=ray_glocal-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
set -euo pipefail
umask 077

fail() {
  echo "slurm.sh: $1" >&2
  exit 1
}

(($#)) || fail "no command; sbatch slurm.sh python examples/cluster.py --storage-path /shared/experiments"
: "${SLURM_JOB_ID:?slurm.sh runs inside a job: sbatch slurm.sh COMMAND...}"

head=$SLURMD_NODENAME  # a batch script runs on the first node of its job
head_ip=${RAY_HEAD_IP:-$(hostname -I | cut -d' ' -f1)}
temp=/tmp/ray-$SLURM_JOB_ID  # this user's alone: Ray opens what lies in it to everybody; short, since sockets do

# Jobs that share a node have numbers of their own, and so ports of their own, below those that the system hands out.
# All others are free ones that Ray finds by itself.
port=$((12000 + SLURM_JOB_ID % 2000 * 10))
export RAY_ADDRESS=$head_ip:$port

# A token for this job alone. It travels in the environment, which only this user and root can read.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token

# Exporters of metrics would answer every user of these machines without one.
export RAY_enable_metrics_collection=0 AUTOSCALER_METRIC_PORT=-1 DASHBOARD_METRIC_PORT=-1

# A command once on each of some nodes, beside the other steps of this job.
step=(srun --overlap --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}")
nodes=$SLURM_JOB_NUM_NODES

ray_start=(ray start --block --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --min-worker-port=0 --max-worker-port=0
  --dashboard-agent-listen-port=0 --disable-usage-stats --temp-dir="$temp/ray")

end() {  # everything ends with the job, whatever ended it
  trap - EXIT
  mapfile -t started < <(jobs -p)
  kill "${started[@]}" 2>/dev/null || true  # some may have ended
  wait
  "${step[@]}" --nodes="$nodes" --ntasks="$nodes" rm -rf "$temp"
}

again() {
  echo "slurm.sh: the time is up; job $SLURM_JOB_ID goes back into the queue" >&2
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
}

"${step[@]}" --nodes="$nodes" --ntasks="$nodes" install -d -m 700 "$temp"
trap end EXIT
trap 'exit 143' TERM
trap again USR1

head_start=("${ray_start[@]}" --head --node-ip-address="$head_ip" --port="$port" --dashboard-host=127.0.0.1
  --dashboard-port=$((port + 1)))
if python -c 'import grpc' 2>/dev/null; then  # then Ray serves remote clients too, by default on one port for all jobs
  head_start+=(--ray-client-server-port=$((port + 2)))
fi
"${step[@]}" --nodes=1 --ntasks=1 --nodelist="$head" "${head_start[@]}" &
head_step=$!

attempts=5  # `health-check` waits for the head by itself, up to some 40 seconds each time
until ray health-check --address "$RAY_ADDRESS" >/dev/null 2>&1; do
  kill -0 "$head_step" 2>/dev/null || fail "the head ended; what it said stands above"
  ((--attempts)) || fail "no head at $RAY_ADDRESS; RAY_HEAD_IP names another address of the first node"
done

if ((nodes > 1)); then
  workers=(--nodes=$((nodes - 1)) --ntasks=$((nodes - 1)) --exclude="$head")
  "${step[@]}" "${workers[@]}" "${ray_start[@]}" --address="$RAY_ADDRESS" &
fi

# Ray itself says when there are that many nodes: one bundle on each.
python - "$nodes" <<'PYTHON' || fail "not all nodes joined in 5 minutes"
import sys

import ray
from ray.util.placement_group import placement_group

ray.init(log_to_driver=False)
ray.get(placement_group([{"CPU": 1}] * int(sys.argv[1]), strategy="STRICT_SPREAD").ready(), timeout=300)
PYTHON

"$@" &
wait "$!"
