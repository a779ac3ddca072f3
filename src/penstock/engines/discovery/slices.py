"""What a Kubernetes EndpointSlice says (API discovery.k8s.io/v1). Pure."""

from collections.abc import Iterable, Iterator

import msgspec

from penstock.engines.discovery.found import Found, name_of, url_of


class Meta(msgspec.Struct, rename="camel", frozen=True):
    """Metadata of an object, or of a list."""

    name: str = ""
    resource_version: str = ""


class Conditions(msgspec.Struct, frozen=True):
    """`ready` absent means ready."""

    ready: bool | None = None


class Target(msgspec.Struct, frozen=True):
    """The object an endpoint stands for."""

    kind: str = ""
    name: str = ""


class SliceEndpoint(msgspec.Struct, rename="camel", frozen=True):
    """One endpoint; all its addresses lead to the same thing."""

    addresses: list[str] = []
    conditions: Conditions | None = None
    target_ref: Target | None = None
    node_name: str | None = None
    zone: str | None = None


class Port(msgspec.Struct, frozen=True):
    """One port of every endpoint in the slice."""

    name: str | None = None
    port: int | None = None


class Slice(msgspec.Struct, rename="camel", frozen=True):
    """One EndpointSlice. A service has several when it is large, or has two address families."""

    metadata: Meta = Meta()
    endpoints: list[SliceEndpoint] | None = None
    ports: list[Port] | None = None


class SliceList(msgspec.Struct, frozen=True):
    """The answer to a list."""

    metadata: Meta = Meta()
    items: list[Slice] | None = None


class Status(msgspec.Struct, frozen=True):
    """An error of the API server."""

    code: int = 0
    message: str = ""


class Change(msgspec.Struct, frozen=True):
    """One line of a watch."""

    type: str
    object: msgspec.Raw


def found_in(slices: Iterable[Slice], prefix: str, port: int | str, scheme: str) -> Iterator[Found]:
    """The ready endpoints. `port` is a number, the name of a port, or empty for the slice's first."""
    for one in slices:
        number = _port(one.ports or [], port)
        if not number:
            continue
        for endpoint in one.endpoints or []:
            ready = endpoint.conditions is None or endpoint.conditions.ready is not False
            if ready and endpoint.addresses:
                url = url_of(scheme, endpoint.addresses[0], number)
                yield Found(name_of(prefix, url), url, _labels(endpoint))


def _port(ports: list[Port], wanted: int | str) -> int:
    if isinstance(wanted, int):
        return wanted
    return next((one.port or 0 for one in ports if not wanted or one.name == wanted), 0)


def _labels(endpoint: SliceEndpoint) -> dict[str, str]:
    target = endpoint.target_ref or Target()
    labels = {"pod": target.name if target.kind == "Pod" else "", "node": endpoint.node_name, "zone": endpoint.zone}
    return {name: value for name, value in labels.items() if value}
