"""Read, preprocess, predict, invert, restore, save: the label map lies exactly on the input's voxels."""

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, LoadImaged, SaveImaged
from PIL import Image
from shared_data import shared_data
from small_volumes import LABELS, bundle_preprocessing, make_arrays, oblique_affine, write_case

from pgsam_monai.base.volume import read_classes, read_geometry, read_image
from pgsam_monai.inference.slices import SliceInferer
from pgsam_monai.transforms import ReadCased, RestoreLabelsd, SavePredictiond
from pgsam_monai.voxels.saving import save_label_map

ORIENTATIONS = {
    "identity": ((0, 1, 2), (1, 1, 1)),
    "LPS": ((0, 1, 2), (-1, -1, 1)),
    "sagittal first": ((1, 2, 0), (-1, -1, 1)),
    "coronal, turned": ((2, 0, 1), (1, -1, -1)),
}


def restore(item, folder, labels=LABELS, axcodes="PLS", pred=None):
    """What inference.json does with a network that is always right (or with `pred`, indices (1, H, W, D))."""
    preprocessing = bundle_preprocessing(axcodes, labels)
    truth = preprocessing(item)["label"] if pred is None else pred
    data = preprocessing({"image": item["image"]})
    data["pred"] = MetaTensor(truth.as_tensor().clone() if isinstance(truth, MetaTensor) else truth)
    postprocessing = Compose(
        [
            Invertd("pred", transform=preprocessing, orig_keys="image", nearest_interp=True),
            RestoreLabelsd("pred", labels),
            SavePredictiond("pred", folder),
        ]
    )
    postprocessing(data)
    (written,) = [
        path for path in folder.iterdir() if path.suffix not in (".raw", ".zraw", ".gz") or "nii" in path.name
    ]
    return written


def read_label(path):
    label = read_classes(path)
    return label.voxels[0], label.affine


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("axcodes", ["PLS", "ILP", "IPR"])
def test_oblique_nifti_in_any_orientation(tmp_path, orientation, axcodes):
    axes, signs = ORIENTATIONS[orientation]
    affine = oblique_affine(axes=axes, signs=signs)
    item = write_case(tmp_path, affine=affine)
    oriented = bundle_preprocessing(axcodes)(item)["image"]
    assert "".join(nib.aff2axcodes(oriented.affine.numpy())) == axcodes
    written = restore(item, tmp_path / "out", axcodes=axcodes)
    assert written.name == "img0001.nii.gz"
    source, result = nib.load(item["image"]), nib.load(written)
    np.testing.assert_array_equal(np.asarray(result.dataobj), np.asarray(nib.load(item["label"]).dataobj))
    np.testing.assert_array_equal(result.affine, source.affine)
    assert result.get_data_dtype() == np.uint16


def test_nifti_header_geometry_is_copied(tmp_path):
    item = write_case(tmp_path)
    image = nib.load(item["image"])
    image.header.set_qform(oblique_affine(), code=1)
    image.header.set_sform(oblique_affine(), code=3)
    image.header.set_xyzt_units("mm", "sec")
    image.header["cal_max"] = 400
    nib.save(image, item["image"])
    header = nib.load(restore(item, tmp_path / "out")).header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 3)
    assert header.get_xyzt_units()[0] == "mm" and header["cal_max"] == 0
    np.testing.assert_array_equal(header["quatern_b"], nib.load(item["image"]).header["quatern_b"])


def test_flat_nifti_stays_flat(tmp_path):
    image, label = make_arrays((9, 7))
    item = {"image": str(tmp_path / "flat.nii"), "label": str(tmp_path / "label.nii")}
    nib.save(nib.Nifti1Image(image, np.eye(4)), item["image"])
    nib.save(nib.Nifti1Image(label, np.eye(4)), item["label"])
    result = nib.load(restore(item, tmp_path / "out"))
    assert result.shape == (9, 7)
    np.testing.assert_array_equal(np.asarray(result.dataobj), label)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd"])
def test_itk_formats(tmp_path, suffix):
    image, label = make_arrays()
    item = {}
    for key, array in (("image", image), ("label", label)):
        volume = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
        volume.SetOrigin((5.5, -3.0, 8.0))
        volume.SetSpacing((0.7, 0.9, 2.5))
        volume.SetDirection((0, 0, 1, -1, 0, 0, 0, -1, 0))
        item[key] = str(tmp_path / f"{key}{suffix}")
        sitk.WriteImage(volume, item[key])
    written = restore(item, tmp_path / "out")
    assert written.name == f"image{suffix}"
    source, result = sitk.ReadImage(item["image"]), sitk.ReadImage(str(written))
    for geometry in ("GetSize", "GetOrigin", "GetSpacing", "GetDirection"):
        assert getattr(source, geometry)() == getattr(result, geometry)()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(result).T, label)
    assert result.GetPixelID() == sitk.sitkUInt16


def test_dicom_series_becomes_nifti_on_its_grid(tmp_path):
    folder = shared_data("dicom") / "study1"
    oriented = bundle_preprocessing()({"image": str(folder)})["image"]
    pred = (oriented.as_tensor() > 0.5).to(torch.uint8)
    written = restore({"image": str(folder)}, tmp_path / "out", labels=[0, 9], pred=pred)
    assert written.name == "study1.nii.gz"
    label, affine = read_label(written)
    image = read_image(folder)
    scaled = ((image.voxels[0] + 125) / 400).clip(0, 1).astype(np.float16)
    np.testing.assert_array_equal(label, 9 * (scaled > 0.5))
    np.testing.assert_allclose(affine, image.affine, atol=1e-4)


def test_archives_become_nifti(tmp_path):
    volume = np.random.default_rng(0).random((4, 6, 5)).astype(np.float32)
    label = (volume * 4).astype(np.float32).round()
    with h5py.File(tmp_path / "case0001.npy.h5", "w") as file:
        file["image"], file["label"] = volume, label
    slices = []
    for n in range(4):
        slices.append(str(tmp_path / f"case0005_slice{n:03d}.npz"))
        np.savez(slices[-1], image=volume[n], label=label[n])
    for files, name in ((str(tmp_path / "case0001.npy.h5"), "case0001"), (slices, "case0005")):
        written = restore({"image": files, "label": files}, tmp_path / name, list(range(5)), axcodes="")
        assert written.name == f"{name}.nii.gz"
        np.testing.assert_array_equal(read_label(written)[0], np.moveaxis(label, 0, -1))


def test_la_archives_become_nifti_in_their_own_order(tmp_path):
    volume = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32)  # (x, y, slices)
    label = (volume > 0).astype(np.uint8)
    path = tmp_path / "mri_norm2.h5"
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = volume, label
    item = {"image": str(path), "label": str(path)}
    written = restore(item, tmp_path / "out", labels=[0, 1], axcodes="")
    voxels, affine = read_label(written)
    np.testing.assert_array_equal(voxels, label)
    np.testing.assert_array_equal(affine, np.eye(4))


COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 128, 7]], dtype=np.uint8)
MASKS = {
    "0 and 255": (np.array([[0, 255, 0], [255, 255, 0]], np.uint8), [0, 255], "L"),
    "16 bit": (np.array([[0, 300, 0], [4000, 300, 0]], np.uint16), [0, 300, 4000], "I;16"),
    "colours": (COLOURS[[[0, 1, 2], [2, 1, 0]]], [0, 0x008007, 0xFF0000], "RGB"),
}


@pytest.mark.parametrize("kind", MASKS)
def test_pictures_and_masks(tmp_path, kind):
    mask, labels, mode = MASKS[kind]
    item = {"image": str(tmp_path / "scan.jpg"), "label": str(tmp_path / "scan.png")}
    Image.new("RGB", (3, 2), (10, 200, 30)).save(item["image"])
    Image.fromarray(mask).save(item["label"])
    written = restore(item, tmp_path / "out", labels, axcodes="")
    assert written.name == "scan.png"
    with Image.open(written) as result:
        assert result.mode == mode
        np.testing.assert_array_equal(np.asarray(result), mask)


def test_names(tmp_path):
    save = SavePredictiond("pred", tmp_path / "out")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_case(tmp_path / folder, "same")

    def data(folder, **more):
        meta = {"filename_or_obj": str(tmp_path / folder / "same.nii.gz")}
        return {"pred": MetaTensor(torch.zeros(1, 9, 7, 5, dtype=torch.uint8), meta=meta), **more}

    save(data("a"))
    with pytest.raises(ValueError, match="would both be written as 'same'"):
        save(data("b"))
    save(data("b", name="other"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["other.nii.gz", "same.nii.gz"]


def test_shape_and_source_are_checked(tmp_path):
    item = write_case(tmp_path)
    save = SavePredictiond("pred", tmp_path / "out")
    wrong = MetaTensor(torch.zeros(1, 7, 9, 5, dtype=torch.uint8), meta={"filename_or_obj": item["image"]})
    with pytest.raises(ValueError, match=r"label map \(7, 9, 5\) and input .* \(9, 7, 5\) differ"):
        save({"pred": wrong})
    assert not [path for path in (tmp_path / "out").iterdir()]
    with pytest.raises(ValueError, match="doesn't know its input file"):
        save({"pred": torch.zeros(1, 2, 2, 2)})


def test_servers_leave_reading_alone_and_saving_out(tmp_path):
    """MONAI Label wraps every LoadImaged in one that needs all keys, and takes out every SaveImaged."""
    item = write_case(tmp_path)
    read = ReadCased(["image", "label"], allow_missing_keys=True)
    assert not isinstance(read, LoadImaged) and isinstance(SavePredictiond("pred", tmp_path), SaveImaged)
    assert isinstance(read({"image": item["image"], "image_path": item["image"]})["image"], MetaTensor)


def test_inferer_result_inverts(tmp_path):
    """A threshold as the network: the saved map is the threshold of the original voxels."""
    item = write_case(tmp_path, affine=oblique_affine(axes=(1, 2, 0), signs=(1, -1, 1)))
    preprocessing = bundle_preprocessing()
    data = preprocessing({"image": item["image"]})
    inferer = SliceInferer(max(data["image"].shape[1:3]), batch_size=2)
    data["pred"] = inferer(data["image"][None], lambda x: torch.cat([0.5 - x, x - 0.5], dim=1))[0]
    post = Compose([Invertd("pred", preprocessing, orig_keys="image"), RestoreLabelsd("pred", [0, 205])])
    restored = post(data)["pred"]
    image = np.asarray(nib.load(item["image"]).dataobj)
    scaled = ((image + 125.0) / 400).clip(0, 1).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(restored[0].numpy(), 205 * (scaled - 0.5 > 0.5 - scaled))
    torch.testing.assert_close(restored.affine, torch.from_numpy(nib.load(item["image"]).affine))


@pytest.mark.parametrize("length", [-8, 0, 7, 2**31 - 1])
def test_damaged_extensions_of_a_scan_are_no_matter_of_its_label_map(tmp_path, length):
    """Our reader passes over them, nibabel would not read the file."""
    scan = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.diag([2.0, 3, 4, 1]))
    scan.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 40))
    nib.save(scan, tmp_path / "scan.nii")
    content = bytearray((tmp_path / "scan.nii").read_bytes())
    content[352:356] = length.to_bytes(4, "little", signed=True)
    (tmp_path / "scan.nii").write_bytes(content)
    file = save_label_map(np.ones((3, 4, 5), np.uint8), tmp_path / "out", "scan", tmp_path / "scan.nii")
    written = nib.load(file)
    assert (np.asarray(written.dataobj) == 1).all() and np.array_equal(written.affine, scan.affine)


def test_the_labels_of_one_upright_slice_stand_upright(tmp_path):
    """Two axes in space, of which one points to the head: in two dimensions ITK knows no such directions."""
    file = tmp_path / "slice.nrrd"
    header = (
        "NRRD0004\ntype: uint8\ndimension: 2\nspace: left-posterior-superior\nsizes: 3 2\nendian: little\n"
        "space directions: (1,0,0) (0,0,2)\nencoding: raw\nspace origin: (5,6,7)\n\n"
    )
    file.write_bytes(header.encode() + bytes(6))
    image = read_geometry(file)
    written = save_label_map(np.ones(image.shape, np.uint8), tmp_path / "out", "slice", file)
    labels = read_geometry(written)
    assert labels.shape == image.shape == (3, 2, 1)
    np.testing.assert_allclose(labels.affine, image.affine)
