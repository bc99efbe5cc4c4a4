"""Programs written for MLflow, unchanged: only the two base URLs point at tapline."""

import os
import pathlib
import subprocess
import sys

import pytest
from servers import PROXIED_KEY

HERE = pathlib.Path(__file__).parent
PATIENCE = 240


class Programs:
    def __init__(self, tapline, folder: pathlib.Path):
        self.tapline = tapline
        self.folder = folder
        self.environment = {
            **os.environ,
            "MLFLOW_TRACKING_URI": tapline.url,
            "OPENAI_BASE_URL": f"{tapline.url}/v1",
            "OPENAI_API_KEY": PROXIED_KEY,
            # Not part of the programs: nothing may leave the machine, and a failure must not be tried for minutes.
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "GIT_PYTHON_REFRESH": "quiet",
            "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def run(self, *command: str, **environment: str) -> str:
        """What the command printed; that it failed is the test's failure."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def python(self, program: str, *arguments: str, **environment: str) -> str:
        """The last word that a program of `programs/` printed."""
        printed = self.run(sys.executable, str(HERE / "programs" / program), *arguments, **environment)
        return printed.split()[-1]


@pytest.fixture(scope="session")
def programs(servers, tmp_path_factory) -> Programs:
    _, tapline = servers
    return Programs(tapline, tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="session")
def client(programs):
    """The real client, to see what the programs left."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"
    import mlflow

    mlflow.set_tracking_uri(programs.tapline.url)
    return mlflow.MlflowClient()
