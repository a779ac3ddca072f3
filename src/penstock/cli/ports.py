"""Whether an address can be bound, and what to do when it cannot."""

import errno
import socket
from dataclasses import dataclass

from penstock.config.schema import Config
from penstock.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Address:
    """One address the config wants, and the options that change it."""

    section: str
    host: str
    port: int
    port_option: str
    host_option: str


def wanted(config: Config) -> list[Address]:
    """The addresses `penstock up` binds."""
    return [
        Address("listen", config.listen.host, config.listen.port, "--port", "--host"),
        Address("admin", config.admin.host, config.admin.port, "--admin-port", "--set admin.host"),
    ]


def problem(address: Address) -> str | None:
    """None when the address can be bound now, else one line with field, value and fix."""
    error = _bind(address.host, address.port)
    if error is None:
        return None
    where = f"{address.section}.port: {address.port} on {address.host}"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        fix = f"try {address.host_option} 127.0.0.1"
        return f"{address.section}.host: {address.host!r} is no address of this machine; {fix}"
    if error.errno == errno.EADDRINUSE:
        free = _free_near(address)
        other = f"{address.port_option} {free}" if free else f"another {address.port_option}"
        return f"{where} is in use; stop the program that holds it or choose {other}"
    if error.errno == errno.EACCES:
        return f"{where} needs privileges; choose {address.port_option} 1024 or above"
    return f"{where} cannot be bound ({error.strerror}); choose another {address.port_option}"


def require(config: Config) -> None:
    """Raises ConfigError when an address the config wants is taken."""
    for address in wanted(config):
        trouble = problem(address)
        if trouble:
            raise ConfigError(trouble)


def _bind(host: str, port: int) -> OSError | None:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            probe.listen(1)
    except OSError as error:
        return error
    return None


def _free_near(address: Address) -> int | None:
    for port in range(address.port + 2, min(address.port + 42, 65_536)):
        if _bind(address.host, port) is None:
            return port
    return None
