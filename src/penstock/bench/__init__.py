"""PROVE: send a known load, measure what came of it, and judge whether it has changed.

    traffic   what is sent and when: arrivals, lengths, prompts, sessions, traces -> an iterator of `Planned`
    client    sends it from several processes and times every byte -> `Sample`s and how well the client itself kept up
    watch     what happened beside it: engine metrics, CPU and memory of processes
    measure   samples -> figures, by definitions written once (docs/measures.md), with intervals
    contract  the load that never changes, its baselines, and the verdict on two sets of runs
    export    figures under the names and definitions of other tools
    locust    a contract's closed loops as a file for Locust
    report    one HTML page, Markdown and SVG, whose numbers come from the runs

Planning, measuring and judging are pure: seeds and samples in, figures and reasons out. Only `client` and `watch` open
sockets, only `client` and the CLI read clocks.
"""
