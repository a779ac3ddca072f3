"""vLLM as a supervised process: `vllm serve` with its own flags, checked against the installed version."""
