"""The routing core as an endpoint picker: Envoy carries the bytes and asks here where each request goes.

One external-processing stream is one request. `server` speaks gRPC, `exchange` holds one request's state and does no
I/O, `desk` chooses, `watch` keeps the view of the engines true, `messages` are the few protobuf messages in use.
"""
