"""Exact limits on requests, tokens and spend, shared by workers and replicas without a round trip per request.

    store (truth)  ->  supervisor of a replica  ->  its workers

A *bucket* is one count: a rule for one subject (`bucket`). The store keeps an *account* per bucket (`account`). Whoever
spends holds a part of it: it reports what was spent, gives back what it does not need, and asks for more. The
supervisor divides its part among its workers (`broker`); a worker reserves from its own share (`local`).

The bound. Use is dated when it is reserved; what a request uses beyond its reservation is dated when it ends. In every
window, for all replicas together,

    use  <=  limit + sum over its requests of max(0, actual - reserved)

Nothing else adds to it: neither concurrency, nor replicas, nor crashes, nor clock steps of replicas. Why it holds:
what a holder has is counted as used from the moment it is granted until it is given back, and what was spent is dated
when it is reported, never before it was spent. What a crashed holder had counts as spent at the end of its lease.
"""
