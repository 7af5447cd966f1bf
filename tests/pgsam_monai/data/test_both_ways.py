"""One case through training-time validation (store) and through inference (raw files): one label map."""

import nibabel as nib
import numpy as np
import torch
from monai.bundle import ConfigParser
from small_volumes import oblique_affine, write_case

BOTH = {"keys": ["image", "label"], "allow_missing_keys": True}


def config(folder, item):
    return {
        "labels": [0, 5, 205, 420],
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "pgsam_monai.transforms.ReadCased", **BOTH},
                {"_target_": "Orientationd", "axcodes": "ILP", "labels": None, **BOTH},
                {"_target_": "pgsam_monai.transforms.ScalePercentilesd", "keys": "image", "low": 1},
                {"_target_": "pgsam_monai.transforms.MapLabelsd", "keys": "label", "labels": "@labels",
                 "allow_missing_keys": True},
                {"_target_": "CastToTyped", "keys": "image", "dtype": "$torch.float16"},
            ],
        },
        "store": {"_target_": "pgsam_monai.data.store.CaseStore", "folder": str(folder / "store"),
                  "preprocessing": "@preprocessing"},
        "inferer": {"_target_": "pgsam_monai.inference.slices.SliceInferer", "image_size": 32, "batch_size": 3},
        "network": {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 4, "kernel_size": 1},
        "train": {
            "dataset": {"_target_": "pgsam_monai.data.datasets.SliceDataset", "data": [item],
                        "store": "@store", "image_size": 32, "augmentation": "@train#augmentation"},
            "augmentation": {"_target_": "Compose", "transforms": [
                {"_target_": "pgsam_monai.transforms.RandAffineSliced", "keys": ["image", "label"]},
                {"_target_": "RandAxisFlipd", "keys": ["image", "label"], "prob": 0.5}]},
            "sampler": {"_target_": "pgsam_monai.data.samplers.ClassAwareSliceSampler",
                        "dataset": "@train#dataset", "draws_per_epoch": 4,
                        "foreground_share": 0.7, "seed": 1},
            "dataloader": {"_target_": "pgsam_monai.data.loading.TrainingLoader", "dataset": "@train#dataset",
                           "sampler": "@train#sampler", "batch_size": 2, "num_workers": 1},
        },
        "validation": {
            "_target_": "SupervisedEvaluator", "device": "cpu", "network": "@network", "inferer": "@inferer",
            "val_data_loader": {"_target_": "DataLoader", "batch_size": 1, "dataset": {
                "_target_": "pgsam_monai.data.datasets.CaseDataset", "data": [item], "store": "@store"}},
        },
        "inference": {
            "_target_": "SupervisedEvaluator", "device": "cpu", "network": "@network", "inferer": "@inferer",
            "val_data_loader": {"_target_": "DataLoader", "batch_size": 1, "dataset": {
                "_target_": "Dataset", "data": [{"image": item["image"]}], "transform": "@preprocessing"}},
            "postprocessing": {"_target_": "Compose", "transforms": [
                {"_target_": "Invertd", "keys": "pred", "orig_keys": "image", "transform": "@preprocessing",
                 "nearest_interp": True},
                {"_target_": "pgsam_monai.transforms.RestoreLabelsd", "keys": "pred", "labels": "@labels"},
                {"_target_": "pgsam_monai.transforms.SavePredictiond", "keys": "pred",
                 "output_dir": str(folder / "out")}]},
        },
    }  # fmt: skip


def test_validation_and_inference_agree(tmp_path):
    item = write_case(tmp_path, shape=(19, 14, 12), affine=oblique_affine(axes=(2, 0, 1), signs=(1, -1, 1)))
    torch.manual_seed(0)
    parser = ConfigParser({"imports": ["$import torch"], **config(tmp_path, item)})
    validation, inference = (parser.get_parsed_content(name) for name in ("validation", "inference"))
    validation.run()
    inference.run()
    (output,) = validation.state.output
    indices = output["pred"].as_tensor().numpy()[0]
    written = nib.load(tmp_path / "out" / "img0001.nii.gz")
    oriented = nib.as_closest_canonical(written)
    assert set(np.unique(np.asarray(written.dataobj))) <= {0, 5, 205, 420}
    np.testing.assert_array_equal(written.affine, nib.load(item["image"]).affine)
    values = np.asarray([0, 5, 205, 420])[indices]
    back = nib.Nifti1Image(values.astype(np.int32), output["image"].affine.numpy())
    np.testing.assert_array_equal(nib.as_closest_canonical(back).dataobj, oriented.dataobj)
    assert len(np.unique(values)) > 1


def test_training_batches_as_the_bundle_makes_them(tmp_path):
    parser = ConfigParser({"imports": ["$import torch"], **config(tmp_path, write_case(tmp_path))})
    loader = parser.get_parsed_content("train#dataloader")
    batches = list(loader)
    assert [tuple(batch["image"].shape) for batch in batches] == [(2, 1, 32, 32)] * 2
    assert batches[0]["image"].dtype == torch.float32 and batches[0]["label"].dtype == torch.float32
    again = list(loader)
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(batches, again, strict=True))
    loader.end_workers()
