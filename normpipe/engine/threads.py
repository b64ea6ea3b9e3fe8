"""One thread per process, said to every library by name.

Shards are the unit of parallelism; libraries that start threads of their own would fight over the cores, and some of them
(BLAS) return other bits with another number of threads.
"""

import os
from collections.abc import Mapping

SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    # glibc: keep freed memory at hand for images of a face's size, but hand back what a large photo took. Without the first,
    # every array is mapped and faulted in anew (a quarter of a frame's time); without the second, a process keeps its peak.
    "MALLOC_MMAP_THRESHOLD_": str(16 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(32 << 20),
}


# Switches of libraries that change what they compute or refuse; whoever set them did not mean a dataset's bytes.
_MEDDLING = ("OPENCV_", "NPY_", "OPENBLAS_CORETYPE", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ARROW_USER_SIMD_LEVEL")


def steady_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a process that computes: one thread, and none that would change its results."""
    kept = {name: value for name, value in environment.items() if not name.startswith(_MEDDLING)}
    return {**kept, **SINGLE_THREADED}


def limit_environment() -> None:
    """Set the variables that libraries read when they are first imported: call before importing numpy."""
    steady = steady_environment(os.environ)
    for name in set(os.environ) - set(steady):
        del os.environ[name]
    os.environ.update(steady)


def limit_libraries() -> None:
    """Set the thread counts of the libraries every worker uses."""
    import cv2
    import pyarrow as pa

    cv2.setNumThreads(1)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
