"""What every request used and cost, kept once and for good.

worker      Journal        appends to files that it maps: no system call, survives `kill -9`
supervisor  Shipper        follows every journal, prices, ships in batches, and remembers how far in the store
store       SQLite, PostgreSQL   one charge per request; totals, exports, reconciliation
"""
