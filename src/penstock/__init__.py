"""Penstock serves, operates and proves LLM inference.

Packages, from the bottom up; imports point down only:

core        the vocabulary: Request, Record, Endpoint, errors, clock
config      one document -> one frozen Config
wire        bytes <-> core types, pure
policy      every decision, pure
telemetry   the metric catalogue and the sinks of Record
engines     things that answer a Request, and where models come from
gateway     sockets, the life of a request, workers, admin listener
cli         the `penstock` command
"""

from importlib.metadata import version

__version__ = version("penstock")
