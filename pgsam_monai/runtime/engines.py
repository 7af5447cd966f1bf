"""What exported networks run in: OpenVINO or ONNX Runtime, on CPUs; neither needs torch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from pgsam_monai.base.errors import UserFault

AUTO, TORCH = "auto", "torch"
OPENVINO, ONNXRUNTIME = ENGINES = ("openvino", "onnxruntime")
"""the faster first"""
NAMES = {OPENVINO: "OpenVINO", ONNXRUNTIME: "ONNX Runtime"}
INT8, BF16, FP32 = "int8", "bf16", "fp32"
OPENVINO_PRECISIONS = {INT8: "bf16", BF16: "bf16", FP32: "f32"}
"""What it computes in where the file doesn't say: of 8-bit networks the rest."""

Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
"""The inputs of an exported network in their order -> its outputs, each an array of its own; several threads may call
it."""


def installed(engine: str) -> bool:
    """Whether an engine is here; nothing is imported."""
    return find_spec(engine) is not None


def require_engine(engine: str) -> None:
    """Raise UserFault unless it is one of `ENGINES` and here."""
    if engine not in ENGINES:
        raise UserFault(f"engine is {AUTO}, {TORCH}, {' or '.join(ENGINES)}, got '{engine}'.")
    if not installed(engine):
        raise UserFault(f"{NAMES[engine]} is not installed: pip install {engine}")


def open_network(
    file: str | Path,
    engine: str,
    *,
    precision: str = FP32,
    threads: int = 1,
    workers: int = 1,
    shapes: Sequence[Sequence[int]] | None = None,
) -> Run:
    """An exported network, ready to run.

    Args:
        file: .onnx for either engine, or OpenVINO's .xml.
        engine: one of `ENGINES`.
        precision: `BF16`, and `INT8` beside its integers, compute in bfloat16 where OpenVINO and the processor do; ONNX
            Runtime computes in float32.
        threads: cores that it may use altogether.
        workers: threads that call it at the same time.
        shapes: of the inputs, where they stay the same, which OpenVINO makes use of; None: as in the file.

    Raises:
        UserFault: no such engine, or it can't read the file.
    """
    require_engine(engine)
    opened = _openvino if engine == OPENVINO else _onnxruntime
    try:
        return opened(Path(file), precision, threads, workers, shapes)
    except RuntimeError as fault:
        raise UserFault(
            f"{NAMES[engine]} can't read '{file}' ({str(fault).strip().splitlines()[-1][:200]}); export it again."
        ) from fault


def _openvino(
    file: Path, precision: str, threads: int, workers: int, shapes: Sequence[Sequence[int]] | None
) -> Run:
    import openvino

    core = openvino.Core()
    model = core.read_model(file)
    if shapes:
        inputs = zip(model.inputs, shapes, strict=True)
        model.reshape({port: openvino.PartialShape(list(shape)) for port, shape in inputs})
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": OPENVINO_PRECISIONS[precision],
        "NUM_STREAMS": min(threads, workers),
    }
    compiled = core.compile_model(model, "CPU", settings)
    for port in (*compiled.inputs, *compiled.outputs):
        # Its table of number types is made at the first call, under a lock of its own that knows nothing of Python's:
        # two threads whose first calls met there waited for each other for ever.
        port.get_element_type().to_dtype()
    local = threading.local()

    def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        if not hasattr(local, "request"):
            local.request = compiled.create_infer_request()
            local.tensors = local.request.input_tensors, local.request.output_tensors
        for tensor, array in zip(local.tensors[0], inputs, strict=True):
            tensor.data[:] = array
        local.request.start_async()
        local.request.wait()
        return [np.array(tensor.data) for tensor in local.tensors[1]]

    return run


def _onnxruntime(
    file: Path, precision: str, threads: int, workers: int, shapes: Sequence[Sequence[int]] | None
) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, threads // workers)
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]

    def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return session.run(None, dict(zip(names, inputs, strict=True)))

    return run
