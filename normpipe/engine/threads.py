"""One thread per process, said to every library by name.

Shards are the unit of parallelism; libraries that start threads of their own would fight over the cores, and some of them
(BLAS) return other bits with another number of threads.
"""

import os

SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    # glibc: hand freed memory back early; a process that decodes photos of all sizes would otherwise keep its peak.
    "MALLOC_TRIM_THRESHOLD_": "65536",
}


def limit_environment() -> None:
    """Set the variables that libraries read when they are first imported: call before importing numpy."""
    os.environ.update(SINGLE_THREADED)


def limit_libraries() -> None:
    """Set the thread counts of the libraries every worker uses."""
    import cv2
    import pyarrow as pa

    cv2.setNumThreads(1)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
