"""What is known of a supervised llama.cpp, and how patient its supervisor is."""

from penstock.engines.process.status import Patience, ProcessStatus

LlamaCppStatus = ProcessStatus

__all__ = ["LlamaCppStatus", "Patience"]
