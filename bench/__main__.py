"""All benches, each in a process of its own, so that one's memory is not the other's."""

import subprocess
import sys

from bench.measure import require

BENCHES = ("diff", "embed_text", "listing", "model_share", "no_change", "status_pages")


def main() -> None:
    missed = []
    for name in BENCHES:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode:
            missed.append(name)
    require(not missed, f"targets of {', '.join(missed)}")


if __name__ == "__main__":
    main()
