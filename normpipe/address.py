"""Addresses of folders and files as messages name them: whoever reads a log learns no password and no personal folder."""

import re
from pathlib import Path

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_LOCAL = re.compile(r"(file|local)://")
_USER = re.compile(r"^([^/@:?#]*:(?!\d*([/?#]|$)).*|[^/@?#]*)@")
"""User and password; a password may hold what would end a host. Behind a colon, digits alone are a port."""


def shown(url: str) -> str:
    """The address without what may be secret: user, password, query, fragment; of what lies on this machine, the name alone."""
    scheme = _SCHEME.match(url)
    if scheme is None or _LOCAL.match(url):
        path = _LOCAL.sub("", url, count=1)
        return Path(path).name or path
    return scheme[0] + re.split(r"[?#]", _USER.sub("", url[scheme.end() :], count=1), maxsplit=1)[0]
