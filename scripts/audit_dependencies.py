"""Known vulnerabilities of every locked package, by pip-audit: `make audit-dependencies`.

Exit code 1 where one is found; 0 where none is, and, loudly, where no database can be reached: a machine without the
internet must still be able to build.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from scripts.licences import ROOT, locked_packages

SERVICE = "https://api.osv.dev/v1/query"
PIP_AUDIT = "pip-audit==2.10.1"  # in an environment of its own: its dependencies are none of ours
TIMEOUT_S = 10
# Vulnerabilities that are known and do no harm here, with the reason: (id, why).
ACCEPTED: tuple[tuple[str, str], ...] = ()


def is_reachable(url: str) -> bool:
    """Whether the database answers, whatever it answers to a question without content."""
    try:
        with urlopen(url, timeout=TIMEOUT_S):  # noqa: S310 - https, or the test's own server
            return True
    except URLError as error:
        return getattr(error, "code", 0) in (400, 404, 405)  # a proxy that lets nobody out says 403 or 502
    except OSError:
        return False


def audit(program: Path, service: str) -> int:
    """Ask about every pin of every lock.

    Returns:
        pip-audit's exit code: 0 nothing, 1 something is known.
    """
    pins = "".join(f"{package.name}=={package.version}\n" for package in locked_packages())
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(pins)
        file.flush()
        arguments = [str(program), "--no-deps", "--disable-pip", "--progress-spinner=off", "-r", file.name]
        arguments += ["--vulnerability-service=osv", f"--osv-url={service}"]
        arguments += [f"--ignore-vuln={known}" for known, _ in ACCEPTED]
        return subprocess.run(arguments, check=False).returncode


def install_pip_audit() -> Path:
    """pip-audit in an environment of its own below .local."""
    directory = ROOT / ".local" / "audit-venv"
    program = directory / "bin" / "pip-audit"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
        python = directory / "bin" / "python"
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", PIP_AUDIT], check=True)
    return program


def main() -> None:
    """Audit, or say that nobody has."""
    if not is_reachable(SERVICE):
        print(f"*** NOT AUDITED: {SERVICE} cannot be reached. Nobody has looked for known vulnerabilities. ***")
        return
    sys.exit(audit(install_pip_audit(), SERVICE))


if __name__ == "__main__":
    main()
