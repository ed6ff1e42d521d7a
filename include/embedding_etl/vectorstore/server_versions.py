"""Which Milvus servers have known holes."""

import re

# CVE-2025-64513 and CVE-2026-26190: authentication bypass, and port 9091 open to everybody.
_FIXED_2_5 = (2, 5, 27)
_FIXED_2_6 = (2, 6, 10)


def security_warning(version: str) -> str:
    """What to tell the person who runs this server; "" where nothing is known against it, or it is Milvus Lite."""
    numbers = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    if numbers is None:
        return ""
    found = tuple(int(number) for number in numbers.groups())
    if found >= (_FIXED_2_6 if found >= (2, 6, 0) else _FIXED_2_5):
        return ""
    return (
        f"Milvus {version} has known security holes (CVE-2025-64513, CVE-2026-26190): "
        "update to 2.5.27, 2.6.10 or later, or keep its ports unreachable for others"
    )
