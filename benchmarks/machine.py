"""What a run was made on: figures without their machine are worth nothing."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("grpcio", "protobuf", "psycopg", "uvloop", "sqlalchemy")


def describe(postgresql: str) -> dict[str, str]:
    """Tell the machine and the versions."""
    told = {
        "CPU": _value("/proc/cpuinfo", "model name"),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(_value('/proc/meminfo', 'MemTotal').split()[0]) / 1024 / 1024:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "PostgreSQL": postgresql,
    }
    return told | {package: version(package) for package in _PACKAGES}


def _value(file: str, key: str) -> str:
    for line in Path(file).read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return "unknown"
