"""Addresses of folders and files as messages name them: whoever reads a log learns no password and no personal folder."""

import re
from pathlib import Path

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


def shown(url: str) -> str:
    """The address without what may be secret: user, password, and what follows a question mark or a number sign."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        return Path(url).name
    place = re.split(r"[?#]", url[scheme.end() :], maxsplit=1)[0]
    host, slash, path = place.partition("/")
    return scheme[0] + host.rpartition("@")[2] + slash + path
