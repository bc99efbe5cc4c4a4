"""Runs the Node tests against a simulator and a tapline: run.py DIRECTORY_WITH_NODE_MODULES.

They are copied there, because Node looks for packages beside the file that imports them.
"""

import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from servers import DIRECT_KEY, PROXIED_KEY, running  # noqa: E402


def main(target: str) -> int:
    copies = [shutil.copy(file, target) for file in sorted(HERE.glob("*.mjs"))]
    tests = [copy for copy in copies if copy.endswith(".test.mjs")]
    with running() as (direct, tapline):
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        environment |= {
            "DIRECT_URL": direct,
            "TAPLINE_URL": tapline.url,
            "DIRECT_KEY": DIRECT_KEY,
            "PROXIED_KEY": PROXIED_KEY,
        }
        return subprocess.run(["node", "--test", *tests], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
