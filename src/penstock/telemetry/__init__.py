"""Declare once, render many.

buckets     named families of histogram bounds
catalogue   every metric: name, type, labels, bounds, help
series      the numbers, in memory shared between a worker and the supervisor
meter       Record -> series
exposition  series of all workers -> Prometheus text
accesslog   Record -> one JSON line
"""
