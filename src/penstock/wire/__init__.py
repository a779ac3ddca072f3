"""Bytes <-> core types. Pure: no clock, no socket, no randomness.

heads       which headers cross a proxy, and the request head sent upstream
openai      the few fields read from a request, tokens read from an answer, error bodies
tokenize    what vLLM is asked for the token ids of a prompt
sse         event streams: line boundaries, in-band errors, heartbeats
multipart   the model named in a form
dialects    engines' metrics to one vocabulary of load
"""
