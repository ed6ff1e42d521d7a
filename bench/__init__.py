"""What a run costs, each figure beside a baseline from the same run. `make bench`; never part of a timed test."""
