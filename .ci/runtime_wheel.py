"""Builds dist/pgsam_runtime-*.whl: the same packages without torch and MONAI, for machines that predict and do no more.

    python .ci/runtime_wheel.py

Its requirements are those of the extra `runtime` in setup.cfg. It is not for beside pgsam-monai, which holds it.
"""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("pgsam_monai", "preprocess", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in PARTS:
            source, target = ROOT / name, Path(folder) / name
            if source.is_dir():
                # weights need torch
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
            else:
                shutil.copy(source, target)
        rewrite(Path(folder) / "setup.cfg")
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--wheel-dir",
            str(ROOT / "dist"),
            folder,
        ]
        sys.exit(subprocess.run(command, check=False).returncode)


def rewrite(file: Path) -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(file)
    config["metadata"]["name"] = "pgsam-runtime"
    config["metadata"]["description"] = (
        "Predictions of pgsam-monai's exported bundles, without torch and MONAI."
    )
    config["options"]["install_requires"] = config["options.extras_require"]["runtime"]
    config.remove_section("options.extras_require")
    with file.open("w") as stream:
        config.write(stream)


if __name__ == "__main__":
    main()
