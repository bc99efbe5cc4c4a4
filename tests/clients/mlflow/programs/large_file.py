"""A file of many megabytes there and back; the digests are printed."""

import hashlib
import os
import pathlib
import sys
import tempfile

import mlflow

size = int(sys.argv[1]) << 20
mlflow.set_experiment("files")
with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
    large = pathlib.Path(folder) / "weights.bin"
    block = os.urandom(1 << 20)
    with large.open("wb") as file:
        for number in range(size >> 20):
            file.write(number.to_bytes(8, "big") + block[8:])
    mlflow.log_artifact(large)
    back = mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path="weights.bin", dst_path=f"{folder}/back"
    )
    with large.open("rb") as sent, open(back, "rb") as got:
        assert hashlib.file_digest(sent, "sha256").digest() == hashlib.file_digest(got, "sha256").digest()
    listed = mlflow.MlflowClient().list_artifacts(run.info.run_id)
    assert [(file.path, file.file_size) for file in listed] == [("weights.bin", size)], listed
print(run.info.run_id)
