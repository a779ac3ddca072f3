"""SERVE. One supervisor process and N workers that share a listening socket.

Worker, the data path; bytes move inside socket callbacks:
  connection   the client's side of HTTP/1.1: bytes -> Requests, in order, within limits
  handle       the life of a request, on one screen
  relay        an answer on its way to a client: commit point, framing, measurements
  answer       answers the gateway gives itself
  view         the fleet as a worker knows it
  app          what a config compiles to; the sweep that enforces timeouts
  worker       the process
Supervisor:
  supervisor   starts and replaces workers, takes over configs, drains
  fleet        engines: children, probes, states
  control      messages between the two
  ledger       numbers and Records of all workers
  admin        metrics, health, console
"""
