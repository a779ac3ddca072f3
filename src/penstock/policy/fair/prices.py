"""What service costs, in units of one fresh input token."""

from typing import Annotated

import msgspec
from msgspec import Meta

Price = Annotated[float, Meta(ge=0, le=1000)]


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices per token. Input 1 and output 2 are those of Sheng et al., OSDI 2024 (arXiv 2401.00588), section 5.1."""

    input: Annotated[Price, Meta(description="One input token that the engine has to read")] = 1.0
    output: Annotated[Price, Meta(description="One output token")] = 2.0
    cached: Annotated[Price, Meta(description="One input token that the engine finds in its prefix cache")] = 0.1

    def cost(self, read: int, written: int, cached: int = 0) -> float:
        """Cost of a request: `read` input tokens in all, `cached` of them found in the cache, `written` output."""
        return self.input * (read - cached) + self.cached * cached + self.output * written
