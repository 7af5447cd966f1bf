"""The transforms MONAI lacks, by the names that the bundles use."""

from pgsam_monai.transforms.augment import RandAffineSliced, RandCropSliced, RandIntensitySliced
from pgsam_monai.transforms.augment_volume import RandPosterized, RandSharpnessd
from pgsam_monai.transforms.cleaning import CleanClassesd
from pgsam_monai.transforms.intensity import ScalePercentilesd
from pgsam_monai.transforms.labels import MapLabelsd, RestoreLabelsd, SplitPapersd
from pgsam_monai.transforms.read import ReadCased
from pgsam_monai.transforms.save import SavePredictiond

__all__ = [
    "CleanClassesd",
    "MapLabelsd",
    "RandAffineSliced",
    "RandCropSliced",
    "RandIntensitySliced",
    "RandPosterized",
    "RandSharpnessd",
    "ReadCased",
    "RestoreLabelsd",
    "SavePredictiond",
    "ScalePercentilesd",
    "SplitPapersd",
]
