"""One document -> one frozen Config.

`schema` declares every field with its default and its doc line; `load` turns YAML, environment references and
overrides into a Config or a ConfigError that names the field; `explain` says where each value came from.
"""

from penstock.config.load import Loaded, load
from penstock.config.schema import Config

__all__ = ["Config", "Loaded", "load"]
