"""How engines speak of their load: metric names, units and labels, by engine and version, to one vocabulary.

read         a metrics text to a Load, what should be in it, and which dialect it is
dialect      what a dialect is
exposition   the text format
formulas     the words of the tables; the other modules are the tables, one per engine
"""

from penstock.wire.dialects.dialect import Dialect
from penstock.wire.dialects.read import AUTO, DIALECTS, SIGNALS, detect, expected, read_load

__all__ = ["AUTO", "DIALECTS", "SIGNALS", "Dialect", "detect", "expected", "read_load"]
