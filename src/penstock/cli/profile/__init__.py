"""`penstock profile`: where time and memory of a running process go.

command  options, and the order of the work
target   which processes are meant, found in /proc and by what the platform tells
procfs   one reading of a process from /proc
usage    two readings -> what was used between them
pyspy    stacks of a process, taken by py-spy
stacks   what stacks say: the hottest functions, a speedscope file
flame    stacks -> an SVG
runtime  two scrapes of the platform -> loop lag and collections
show     all of it for people
"""
