"""The metrics of the durable queue, which is a process of its own and has its own exposition."""

from penstock.telemetry.catalogue import Kind, Metric, Sheet

DURABLE = Sheet(
    "durable",
    (),
    (
        Metric("penstock_durable_queue_waiting", Kind.GAUGE, "Requests in the broker that nobody runs"),
        Metric("penstock_durable_queue_held", Kind.GAUGE, "Requests that pullers hold, on all machines"),
        Metric("penstock_durable_queue_oldest_seconds", Kind.GAUGE, "Age of the request at the head of the queue"),
        Metric("penstock_durable_queue_running", Kind.GAUGE, "Requests that this process has running at the gateway"),
        Metric("penstock_durable_queue_window", Kind.GAUGE, "Requests that this process would have running at most"),
    ),
)

DURABLE_EVENTS = Sheet(
    "durable_events",
    ("event",),
    (Metric("penstock_durable_queue_events", Kind.COUNTER, "What happened to requests in this process"),),
)

DURABLE_ANSWERS = Sheet(
    "durable_answers",
    ("status",),
    (Metric("penstock_durable_queue_answers", Kind.COUNTER, "Answers that were kept, by HTTP status"),),
)
