"""What else decides about a run's bytes: the libraries that decode, warp, multiply and write, and the processor they run on.

Within one environment the same manifest and configuration give the same bytes. Another version of one of these libraries, or
another instruction level, may round differently; a resume or a worker with another environment is therefore refused.
"""

import platform
from importlib.metadata import PackageNotFoundError, version

import pyarrow as pa

from normpipe.config import Pipeline

_LIBRARIES = ("numpy", "opencv-python", "pyarrow", "pillow", "av")
_EMBEDDED = ("ai-edge-litert",)
RENDERING_LIBRARIES = ("torch", "diffusers")
"""Of the normalizer norface: they decide about pictures, and about no face that is found."""

_ENGINES = {"embedded": _EMBEDDED, "insightface": ("insightface", "onnxruntime"), "mediapipe": ("mediapipe",)}


def environment(pipeline: Pipeline) -> dict[str, str]:
    """Names and versions, the instruction level and the device, of this process under a configuration."""
    engines = {library for name in (pipeline.detect.detector, pipeline.detect.landmarker) for library in _ENGINES[name]}
    network = RENDERING_LIBRARIES if pipeline.normalize.normalizer == "norface" else ()
    return {
        **{library: library_version(library) for library in sorted({*_LIBRARIES, *engines, *network})},
        "processor": f"{platform.machine()} {pa.runtime_info().detected_simd_level}",
        "device": pipeline.execution.device,
    }


def library_version(library: str) -> str:
    """Version of an installed distribution, "absent" where it is not installed."""
    try:
        return version(library)
    except PackageNotFoundError:
        return "absent"
