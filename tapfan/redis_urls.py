"""A writer's URL: one Redis server, the master that sentinels name, or a cluster.

`redis://`, `rediss://` (TLS) and `unix://` are as redis-py takes them. The others, with `rediss+` for TLS:
`redis+sentinel://[user:password@]host[:26379][,host…]/master[/db]` and
`redis+cluster://[user:password@]host[:6379][,host…]`.
"""

import ipaddress
import os
import re
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_OPTIONS = ("db", "username", "password", *_TLS_OPTIONS, *_SENTINEL_OPTIONS)
_SECRETS = ("password", "sentinel_password")
_OF_TLS: dict[str, dict[str, Any]] = {
    "ssl_cert_reqs": {"required": "required", "optional": "optional", "none": "none"},
    "ssl_check_hostname": {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False},
}
VALID = (
    "must be a URL such as redis://127.0.0.1:6379/0, rediss://host:6379/0, unix:///path?db=0, "
    "redis+sentinel://host:26379,host2:26379/mymaster/0 or redis+cluster://host:7000,host2:7000 "
    f"(rediss+… with TLS); options after the ?: {', '.join(sorted(_OPTIONS))}"
)
_SERVER_SCHEMES = ("redis", "rediss", "unix")
_PORTS = {"sentinel": 26379, "cluster": 6379, "server": 6379}
_THIS_HOST = ("localhost", "127.0.0.1", "::1")
_GROUP = re.compile(
    r"redis(?P<tls>s?)\+(?P<kind>sentinel|cluster)://((?P<credentials>[^@/?#]*)@)?(?P<hosts>[^@/?#]*)"
    r"(?P<path>[^?#]*)(\?(?P<query>[^#]*))?"
)
_HOST = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?")
_MASTER = re.compile(r"[A-Za-z0-9._-]+")  # which is what Sentinel allows
_PORT = f"the port must be a number from 1 to 65535; {VALID}"
_MAX_DIGITS = 18
_DATABASE = f"the database must be a number, such as 0; {VALID}"
_PARTS = re.compile(r"(?P<scheme>[^:]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)", re.DOTALL)


@dataclass(frozen=True)
class Group:
    """Several servers behind one URL: whom to ask where Redis is, and the keywords of redis-py's connections to it."""

    kind: Literal["sentinel", "cluster"]
    hosts: tuple[tuple[str, int], ...]  # sentinels, or nodes of the cluster
    master: str  # as the sentinels call it
    options: dict[str, Any]
    sentinel_options: dict[str, Any]


def check(url: str) -> None:
    """Raises ValueError, saying what is valid, for what is no URL of a Redis."""
    if "#" in url:  # it would end the URL, within a password that was not meant to
        raise ValueError(f"a # must be written as %23; {VALID}")
    if group(url) is None:
        _check_server(url)


def group(url: str) -> Group | None:
    """What a URL of sentinels or of a cluster says; None for one without a +. Raises ValueError: what is valid."""
    if "+" not in url.partition("://")[0]:
        return None
    match = _GROUP.fullmatch(url)
    if match is None:
        raise ValueError(VALID)
    is_sentinel = match["kind"] == "sentinel"
    options = _options(match["query"] or "", bool(match["tls"]), is_sentinel)
    user, _, password = (match["credentials"] or "").partition(":")
    options |= {key: unquote(text) for key, text in (("username", user), ("password", password)) if text}
    master, database = _path(match["path"], options.pop("db", ""), is_sentinel)
    own = {key.removeprefix("sentinel_"): options.pop(key) for key in _SENTINEL_OPTIONS if key in options}
    kept = {key: _OF_TLS.get(key, {}).get(text, text) for key, text in options.items()}
    tls = {"ssl": True} | {key: value for key, value in kept.items() if key in _TLS_OPTIONS} if match["tls"] else {}
    return Group(
        "sentinel" if is_sentinel else "cluster",
        tuple(_host(text, _PORTS[match["kind"]]) for text in match["hosts"].split(",")),
        master,
        tls | kept | ({"db": int(database or 0)} if is_sentinel else {}),
        tls | own,
    )


def places(url: str) -> frozenset[tuple[object, ...]]:
    """Where the database of a valid URL is: two URLs lead to the same one where they have one of these in common.

    They may do so also where they have not, as when a host has several names.
    """
    found = group(url)
    if found is not None:
        where = (found.kind, found.master, found.options.get("db", 0))
        return frozenset((*where, _host_name(host), port) for host, port in found.hosts)
    parts = urlsplit(url)
    database = dict(parse_qsl(parts.query)).get("db", "")
    if parts.scheme == "unix":
        return frozenset({(os.path.realpath(unquote(parts.path)), int(database or 0))})
    number = int(database or parts.path.strip("/") or 0)
    return frozenset({(_host_name(parts.hostname or ""), parts.port or _PORTS["server"], number)})


def redacted(url: str) -> str:
    """The URL without its passwords, fit for a log or a status."""
    match = _PARTS.fullmatch(url)
    if match is None:
        return "(not a URL)"
    credentials, _, hosts = match["authority"].rpartition("@")
    if ":" not in credentials and not any(key in _SECRETS for key, _ in parse_qsl(match["rest"].lstrip("?"))):
        return url
    return f"{match['scheme']}://{hosts}{match['path']}"


def shown(text: str) -> str:
    """What was typed for a URL, valid or not, without what may be a secret in it; fit for who typed it."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "", text
    before, _, after = rest.rpartition("@")
    place, question, _ = after.partition("?")
    if "?" in before or "#" in text or place.startswith(":") or "password" in f"{before}{place}".lower():
        return f"{scheme}{separator}…"
    return f"{scheme}{separator}{place}{question and '?…'}"


def _check_server(url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(VALID) from None  # which quotes it
    if parts.scheme not in _SERVER_SCHEMES:
        raise ValueError(f"it does not begin with redis://, or another of what follows; {VALID}")
    if not (parts.path if parts.scheme == "unix" else parts.hostname):
        raise ValueError(f"it names no {'socket' if parts.scheme == 'unix' else 'host'}; {VALID}")
    if not _has_port(parts):
        raise ValueError(_PORT)
    options = _options(parts.query, parts.scheme == "rediss", is_sentinel=False)
    databases = [parts.path.strip("/") if parts.scheme != "unix" else "", options.get("db", "")]
    if not all(not database or _is_number(database) for database in databases):
        raise ValueError(_DATABASE)


def _has_port(parts: SplitResult) -> bool:
    """Whether the port is one, or none is given."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _options(query: str, tls: bool, is_sentinel: bool) -> dict[str, str]:
    """What is after the ?. Raises ValueError for an option that this kind of URL has not, or whose value is none."""
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise ValueError(VALID) from None  # its text may hold a password
    if not options.keys() <= set(_OPTIONS):
        raise ValueError(VALID)
    for key, text in options.items():
        if key in _TLS_OPTIONS and not tls:
            raise ValueError(f"{key} is for TLS: rediss://, rediss+sentinel:// or rediss+cluster://; {VALID}")
        if key in _SENTINEL_OPTIONS and not is_sentinel:
            raise ValueError(f"{key} is for redis+sentinel:// and rediss+sentinel:// only; {VALID}")
        if key in _OF_TLS and text not in _OF_TLS[key]:
            raise ValueError(f"{key} must be one of {', '.join(_OF_TLS[key])}; {VALID}")
    return options


def _path(path: str, option: str, is_sentinel: bool) -> tuple[str, str]:
    """The master's name and the database, of a path such as /mymaster/0; a cluster has neither."""
    if not is_sentinel:
        if path.strip("/") not in ("", "0") or option not in ("", "0"):
            raise ValueError(f"a cluster has the database 0 only; {VALID}")
        return "", ""
    master, _, database = path.removeprefix("/").partition("/")
    if not _MASTER.fullmatch(master):
        raise ValueError(f"after the sentinels comes the name of their master, as in /mymaster; {VALID}")
    if not all(not text or _is_number(text) for text in (database, option)):
        raise ValueError(_DATABASE)
    return master, database or option


def _host(text: str, default_port: int) -> tuple[str, int]:
    match = _HOST.fullmatch(text)
    if match is None:
        raise ValueError(VALID)
    port = int(match["port"] or default_port)
    if not 1 <= port <= 65535:
        raise ValueError(_PORT)
    return match["host"].strip("[]"), port


def _host_name(host: str) -> str:
    """A host as it is called whichever way it is written; this one has one name."""
    try:
        name = str(ipaddress.ip_address(host))
    except ValueError:
        name = host.lower().removesuffix(".")
    return _THIS_HOST[0] if name in _THIS_HOST else name


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
