"""What a run costs, each figure beside a baseline from the same process or the same run. `make bench`."""
