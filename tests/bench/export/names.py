"""Names as the tools have them, recorded from their source or output.

KNOWN: all that an export may use; ALWAYS: what it has for every stage with whole streams.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SPREADS = frozenset(
    f"{statistic}_{name}_ms"
    for name in ("ttft", "tpot", "itl", "e2el")
    for statistic in ("mean", "median", "std", "p50", "p90", "p95", "p99")
)
VLLM = _SPREADS | _words(
    """
    date endpoint_type backend label model_id tokenizer_id num_prompts request_rate burstiness max_concurrency
    duration completed failed total_input_tokens total_output_tokens request_throughput request_goodput
    output_throughput total_token_throughput input_lens output_lens ttfts itls latencies start_times queue_times
    generated_texts errors max_output_tokens_per_s max_concurrent_requests rtfx
    """
)
"""vllm 0.32.0, vllm/benchmarks/serve.py: `benchmark`, `process_one_metric` with --metric-percentiles 50,90,95,99, and
`main_async`."""

AIPERF = _words(
    """
    schema_version aiperf_version start_time end_time time_to_first_token time_to_second_token inter_token_latency
    inter_chunk_latency decode_duration request_latency effective_latency credit_to_start_latency
    output_token_throughput_per_user e2e_output_token_throughput prefill_throughput_per_user output_sequence_length
    input_sequence_length request_count error_request_count completed_request_count request_error_rate
    benchmark_duration request_throughput output_token_throughput input_token_throughput total_token_throughput
    total_isl total_osl good_request_count goodput good_request_fraction
    """
)
"""aiperf 0.13.0: JsonExportData (schema 1.4), the tags in aiperf/metrics/types and in derived_latency.py."""

_LEVELS = ("50.00", "90.00", "95.00", "97.00", "99.00", "99.90")
_MLPERF_LATENCIES = frozenset(
    [f"result_{level}_percentile_latency_ns" for level in _LEVELS]
    + [f"result_first_token_{level}_percentile_latency_ns" for level in _LEVELS]
    + [f"result_time_per_output_token_{level}_percentile_ns" for level in _LEVELS]
    + [f"result_{which}_latency_ns" for which in ("min", "max", "mean")]
    + [f"result_first_token_{which}_latency_ns" for which in ("min", "max", "mean")]
    + [f"result_time_to_output_token_{which}" for which in ("min", "max", "mean")]
)
MLPERF = _MLPERF_LATENCIES | _words(
    """
    effective_scenario result_query_count result_scheduled_samples_per_sec result_completed_samples_per_sec
    result_qps_with_loadgen_overhead result_qps_without_loadgen_overhead result_completed_tokens_per_second num_errors
    """
)
"""mlcommons-loadgen 6.0.17: keys of mlperf_log_detail.txt of Server and SingleStream runs with token latencies."""

KNOWN = {"vllm": VLLM, "aiperf": AIPERF, "mlperf": MLPERF}
ALWAYS = {
    "vllm": VLLM - frozenset({"tokenizer_id", "generated_texts", "rtfx"}),
    "aiperf": AIPERF - frozenset({"aiperf_version"}),
    "mlperf": _MLPERF_LATENCIES | frozenset({"result_query_count", "result_completed_tokens_per_second", "num_errors"}),
}
