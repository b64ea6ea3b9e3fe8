"""The last stage: images become the bytes that a shard stores, without any metadata.

JPEG uses 4:2:0 chroma: expression lives in luminance, and files are a third smaller than with 4:4:4. `cv2.imencode` writes no
EXIF, no profile and no comment, and the same pixels give the same bytes.
"""

import cv2

from normpipe.batches import Image
from normpipe.config import Encode
from normpipe.records import Failure

ALGORITHM_VERSION = 1

_PNG_COMPRESSION = 3

_FORMATS = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}


def encode(image: Image | Failure, options: Encode) -> bytes | None:
    """Encode one (height, width, 3) uint8 RGB image; a Failure has no bytes."""
    if isinstance(image, Failure):
        return None
    done, buffer = cv2.imencode(_FORMATS[options.format], cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _parameters(options))
    assert done, "OpenCV encodes every 8-bit RGB image"
    return buffer.tobytes()


def suffix(options: Encode) -> str:
    """File name ending of the chosen format, with its dot."""
    return _FORMATS[options.format]


def _parameters(options: Encode) -> list[int]:
    if options.format == "jpeg":
        return [
            cv2.IMWRITE_JPEG_QUALITY,
            options.quality,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
        ]
    if options.format == "webp":
        return [cv2.IMWRITE_WEBP_QUALITY, options.quality]
    return [cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION]
