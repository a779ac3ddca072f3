"""SRV records (RFC 2782), which tell ports and the system's resolver does not read. The one place that imports
dnspython (extra `dns`)."""

import dns.exception
import dns.resolver
from dns.rdtypes.IN.SRV import SRV

from penstock.engines.discovery.dns import Answer

LONGEST_S = 5.0
"""A name server that is silent for so long is away."""
NOT_HERE = "."
"""The target by which a domain says that it has no such service."""


class Services:
    """Looks names up as SRV records. `resolver`: asked instead of the system's name servers."""

    def __init__(self, resolver: dns.resolver.Resolver | None = None) -> None:
        self._resolver = resolver

    def __call__(self, host: str) -> Answer:
        """The targets of the records with the lowest priority number, which are to be used while there are any. Their
        weights are not read: a router sees how busy an engine is. Blocking. Raises OSError."""
        try:
            # Anew each time, as the system's name servers and search domains change with its network.
            resolver = self._resolver or dns.resolver.Resolver()
            found = resolver.resolve(host, "SRV", search=True, lifetime=LONGEST_S)
        except dns.exception.DNSException as error:
            raise OSError(str(error) or type(error).__name__) from None
        records = [record for record in found if isinstance(record, SRV) and record.target.to_text() != NOT_HERE]
        first = min((record.priority for record in records), default=0)
        targets = {(r.target.to_text(omit_final_dot=True), r.port): None for r in records if r.priority == first}
        return Answer(tuple(targets), float(found.rrset.ttl) if found.rrset is not None else None)
