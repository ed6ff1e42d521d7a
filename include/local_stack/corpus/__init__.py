"""The sample corpus of the demo: objects of five kinds, good and hostile, the same bytes on every machine and run."""
