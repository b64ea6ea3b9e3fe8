#!/usr/bin/env bash
# A run on a SLURM cluster: Dask scheduler, workers and driver inside one allocation. From the folder that INPUT and OUT are
# relative to, which all nodes must see under the same path, with `normpipe` and `dask` on the path:
#
#   sbatch --ntasks=64 --time=12:00:00 slurm.sh run photos/ out/ --pipeline quickstart.yaml
#
# Every task is one worker on one core. Two minutes before the time limit the run is interrupted and the job put back into the
# queue, from where it goes on where it was. Otherwise the job ends with the run's exit code. A scheduler runs the code of
# anybody who can reach its port, so connections are encrypted, and only processes that hold the certificate made here get one.
#SBATCH --job-name=normpipe
#SBATCH --ntasks=8
#SBATCH --cpus-per-task=1
#SBATCH --mem-per-cpu=2G
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

stopping=
trap 'stopping=1; kill -TERM "${driver:-}" 2>/dev/null || true' TERM
private=$(mktemp --directory --tmpdir="$PWD" .normpipe-XXXXXXXX)  # for this user alone; all nodes see it
trap 'clean_up' EXIT
clean_up() {
  kill "${scheduler:-}" 2>/dev/null || true  # and the workers leave
  timeout 10 tail --pid="${workers:-}" --follow /dev/null 2>/dev/null || kill "${workers:-}" 2>/dev/null || true
  rm -rf "$private"
}

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=normpipe \
  -keyout "$private/key.pem" -out "$private/cert.pem" 2>/dev/null
export DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=True
export DASK_DISTRIBUTED__COMM__TLS__CA_FILE="$private/cert.pem"
for role in SCHEDULER WORKER CLIENT; do
  export "DASK_DISTRIBUTED__COMM__TLS__${role}__CERT=$private/cert.pem" "DASK_DISTRIBUTED__COMM__TLS__${role}__KEY=$private/key.pem"
done
export DASK_LOGGING__DISTRIBUTED=error
export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False  # it would watch a thread that waits

# Its web server cannot be encrypted, so it stays on loopback.
dask=(--protocol tls --scheduler-file "$private/scheduler.json" --no-dashboard --dashboard-address 127.0.0.1:0)
dask scheduler "${dask[@]}" --port 0 2>>"$private/dask.log" &
scheduler=$!
srun --kill-on-bad-exit=0 dask worker "${dask[@]}" --nthreads 1 --local-directory "${TMPDIR:-/tmp}" 2>>"$private/dask.log" &
workers=$!

normpipe "$@" --scheduler "file:${private##*/}/scheduler.json" &
driver=$!
if [ -n "$stopping" ]; then  # the signal came before there was a driver
  kill -TERM "$driver"
fi
code=0
wait "$driver" || code=$?
if [ -n "$stopping" ]; then  # the signal has ended the wait, not the driver
  code=0
  wait "$driver" || code=$?
fi

if [ -n "$stopping" ] && [ "$code" = 143 ]; then
  clean_up
  if [ "$(squeue --noheader --jobs "$SLURM_JOB_ID" --format %T)" = RUNNING ]; then  # and was not cancelled
    scontrol requeue "$SLURM_JOB_ID"
  fi
elif [ "$code" != 0 ]; then
  cat "$private/dask.log" >&2  # workers that could not start have told it there
fi
exit "$code"
