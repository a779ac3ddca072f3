"""Which engine takes a request: filter -> score in [0, 1] -> pick.

Pure: loads, `now` and chance come in as arguments; a decision goes out with its reasons.
"""
