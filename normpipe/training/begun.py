"""What a training was begun with, in a file of its folder, so that nobody goes on with another one."""

import json
from pathlib import Path

from normpipe.engine.fingerprint import Fingerprint
from normpipe.errors import IncompatibleRunError
from normpipe.shards.atomic import write_bytes


def begin(file: Path, fingerprint: Fingerprint) -> None:
    """Note what the training depends on, unless that is done."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if begun(file) is None:
        write_bytes(file, (json.dumps(dict(fingerprint.parts), indent=2) + "\n").encode())


def begun(file: Path) -> Fingerprint | None:
    """What was noted; None if nothing was.

    Raises:
        IncompatibleRunError: the file is damaged.
    """
    try:
        return Fingerprint(json.loads(file.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise IncompatibleRunError(f"{file.parent.name}/{file.name}: damaged; choose another OUT") from error


def refuse_another(file: Path, fingerprint: Fingerprint, named: str) -> None:
    """Make sure that nothing else was begun, in the folder that messages call `named`.

    Raises:
        IncompatibleRunError: something else was; the message names what. Or the file is damaged.
    """
    noted = begun(file)
    if noted is not None and noted.parts != fingerprint.parts:
        raise IncompatibleRunError(
            f"{named} was begun otherwise: {'; '.join(noted.differences(fingerprint))}; change that back, or choose another OUT"
        )
