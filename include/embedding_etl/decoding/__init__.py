"""Extraction and chunking in child processes: a hang, a bomb or a crash of a decoder costs one object, never the run.

process.py   the parent's side: a pool of children
worker.py    the child: `python -m include.embedding_etl.decoding.worker`
messages.py  what they say to each other over a socket pair
"""
