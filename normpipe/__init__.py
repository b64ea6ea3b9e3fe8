"""normpipe: identity normalization of face datasets for facial expression analysis.

Importing the package comes before importing any of its dependencies, because this is the place where their usage
reporting is switched off. The switches are environment variables, so that worker processes inherit them.
"""

import os

__version__ = "0.1.0"

_TELEMETRY_OFF = {
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
}

os.environ.update(_TELEMETRY_OFF)
