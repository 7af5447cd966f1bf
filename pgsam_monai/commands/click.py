"""`pgsam click`: a server that 3D Slicer's extension for nnInteractive asks."""

from __future__ import annotations

from pgsam_monai.base.memory import set_limit
from pgsam_monai.commands.values import numbers, window_numbers


def click(
    answers: str = "drawn_tiny", *, label: str | None = None, host: str = "127.0.0.1", port: int = 1527,
    window: object = None, orientation: str = "LPS", spacing: object = None, propagate: bool = True,
    plane: str | None = None, device: str | None = None, max_gb: object = None,
) -> None:  # fmt: skip
    """Answer the clicks of 3D Slicer's extension for nnInteractive, by a trained bundle or by published weights.

    In 3D Slicer: install the extension nnInteractive, open its module, choose the mode Remote and enter the address
    that is printed at the start (tab Configuration), load a volume, press Initialize, and point: points, boxes,
    scribbles and lassos, positive or negative, segment after segment. Segments that you edit by hand are what further
    clicks correct.

    What is pointed at is one structure, whatever it is called in 3D Slicer. Of a bundle with several, say which one
    --label. A scribble counts as some points along it; a box or a lasso is drawn on a slice as the network sees them,
    axial ones if nothing else was planned, and is carried on to the neighbours. There are no negative boxes.

    The extension doesn't send which way the patient lies, and its versions before 2 not how far apart voxels are: axial
    slices of DICOM and 1 mm are assumed, --orientation and --spacing say otherwise. Nothing leaves this machine, and
    the server listens to this machine alone, unless you name another --host.

    Examples:
        pgsam click                                      # drawn_tiny, which ships with this package
        pgsam click lite_medsam --window=-160,240        # CT
        pgsam click bundles/medsa_synapse --label liver --spacing 0.8,0.8,3

    Args:
        answers: a trained bundle's folder, or a name of `pgsam weights list`.
        label: of a bundle with several classes, name or value of the one that is pointed at.
        host: address to listen on; 0.0.0.0 is every address of this machine.
        port: to listen on.
        window: for a name of weights, low,high: grey values that become black and white; percentiles by default.
        orientation: where columns, rows and slices of the images run to, as in LPS (DICOM's axial slices) or RAS.
        spacing: mm between voxels along the same, as in 0.8,0.8,3, where clients don't send it; 1,1,1 by default.
        plane: for a name of weights, axial, coronal or sagittal, as orientation and spacing have it: the slices that
            the network sees; by default those across the largest spacing, axial among equals.
        propagate: carry boxes and lassos on to the slices beside theirs.
        device: cpu or cuda; by default a GPU if there is one.
        max_gb: GB that the voxels of one image may take in memory; a quarter of the free memory by default.
    """
    set_limit(max_gb)
    from pgsam_monai.nninteractive.answering import load_answering
    from pgsam_monai.nninteractive.serving import require_address, serve

    require_address(host, port)
    answering = load_answering(
        answers, label=label, window=window_numbers(window), orientation=orientation,
        spacing=numbers("spacing", spacing, ("x", "y", "z"), "0.8,0.8,3"), propagate=propagate, plane=plane,
        device=device,
    )  # fmt: skip
    serve(answering, host=host, port=port)
