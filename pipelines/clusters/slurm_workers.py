"""Dask workers as SLURM jobs of their own, for a driver that stays on the login node; needs `pip install dask-jobqueue`.

    python slurm_workers.py 16 2GB 04:00:00        # so many workers, memory of each, time limit of each

prints the address for `normpipe run --scheduler` and keeps as many workers until it is interrupted: those that end are
replaced. The certificate and its variables are those of docs/cluster.md.
"""

import signal
import sys
from contextlib import suppress

from dask_jobqueue import SLURMCluster
from distributed import Security

signal.signal(signal.SIGTERM, signal.default_int_handler)
workers, memory, walltime = sys.argv[1:]
with (
    suppress(KeyboardInterrupt),
    SLURMCluster(
        cores=1,
        memory=memory,
        walltime=walltime,
        protocol="tls://",
        security=Security(require_encryption=True),
        scheduler_options={"dashboard_address": "127.0.0.1:0"},  # a web page that cannot be encrypted
    ) as cluster,
):
    cluster.adapt(minimum=int(workers), maximum=int(workers))
    sys.stdout.write(f"{cluster.scheduler_address}\n")
    sys.stdout.flush()
    signal.pause()
