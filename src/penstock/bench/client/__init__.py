"""Sends planned requests from several processes and times every byte."""
