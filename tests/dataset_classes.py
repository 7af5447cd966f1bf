"""The class names of public data sets, as their own files spell them."""

SIDES = ("left", "right")
VERTEBRAE = (
    [f"vertebrae_L{n}" for n in range(5, 0, -1)]
    + [f"vertebrae_T{n}" for n in range(12, 0, -1)]
    + [f"vertebrae_C{n}" for n in range(7, 0, -1)]
)
RIBS = [f"rib_{side}_{n}" for side in SIDES for n in range(1, 13)]
LUNG_LOBES = [
    "lung_upper_lobe_left",
    "lung_lower_lobe_left",
    "lung_upper_lobe_right",
    "lung_middle_lobe_right",
    "lung_lower_lobe_right",
]
BONES_AND_MUSCLES = [
    f"{name}_{side}"
    for name in (
        "humerus scapula clavicula femur hip gluteus_maximus gluteus_medius gluteus_minimus autochthon iliopsoas"
    ).split()
    for side in SIDES
]
SHARED = (
    "spleen kidney_right kidney_left gallbladder liver stomach pancreas adrenal_gland_right adrenal_gland_left "
    "esophagus trachea small_bowel duodenum colon urinary_bladder aorta inferior_vena_cava "
    "portal_vein_and_splenic_vein iliac_artery_left iliac_artery_right iliac_vena_left iliac_vena_right brain sacrum"
).split()

TOTALSEGMENTATOR_V1 = [
    *SHARED,
    *LUNG_LOBES,
    *VERTEBRAE,
    *RIBS,
    *BONES_AND_MUSCLES,
    *"heart_myocardium heart_atrium_left heart_ventricle_left heart_atrium_right heart_ventricle_right".split(),
    "pulmonary_artery",
    "face",
]
TOTALSEGMENTATOR_V2 = [
    *SHARED,
    *LUNG_LOBES,
    *VERTEBRAE,
    *RIBS,
    *BONES_AND_MUSCLES,
    *"thyroid_gland prostate kidney_cyst_left kidney_cyst_right vertebrae_S1 heart pulmonary_vein".split(),
    *"brachiocephalic_trunk subclavian_artery_right subclavian_artery_left common_carotid_artery_right".split(),
    *"common_carotid_artery_left brachiocephalic_vein_left brachiocephalic_vein_right".split(),
    *"atrial_appendage_left superior_vena_cava spinal_cord skull sternum costal_cartilages".split(),
]

DATASETS: dict[str, list[str]] = {
    "Synapse": "spleen,right kidney,left kidney,gallbladder,liver,stomach,aorta,pancreas".split(","),
    "BTCV": "spleen,rkid,lkid,gall,eso,liver,sto,aorta,IVC,veins,pancreas,rad,lad".split(","),
    "BTCV in words": (
        "spleen,right kidney,left kidney,gallbladder,esophagus,liver,stomach,aorta,inferior vena cava,"
        "portal vein and splenic vein,pancreas,right adrenal gland,left adrenal gland"
    ).split(","),
    "AMOS": (
        "spleen,right kidney,left kidney,gall bladder,esophagus,liver,stomach,arota,postcava,pancreas,"
        "right adrenal gland,left adrenal gland,duodenum,bladder,prostate/uterus"
    ).split(","),
    "CHAOS": "liver,right kidney,left kidney,spleen".split(","),
    "FLARE22": (
        "liver,right kidney,spleen,pancreas,aorta,IVC,RAG,LAG,gallbladder,esophagus,stomach,duodenum,left kidney"
    ).split(","),
    "MM-WHS": (
        "left ventricle blood cavity,right ventricle blood cavity,left atrium blood cavity,"
        "right atrium blood cavity,myocardium of the left ventricle,ascending aorta,pulmonary artery"
    ).split(","),
    "MMWHS": "LV,RV,LA,RA,Myo,AA,PA".split(","),
    "ACDC": "RV,MYO,LV".split(","),
    "KiTS19": "kidney,tumor".split(","),
    "KiTS23": "kidney,tumor,cyst".split(","),
    "LiTS": "liver,tumor".split(","),
    "PROMISE12": ["prostate"],
    "Left atrium challenge": ["LA"],
    "SegTHOR": "Esophagus,Heart,Trachea,Aorta".split(","),
    "Task01_BrainTumour": ["edema", "non-enhancing tumor", "enhancing tumour"],
    "Task02_Heart": ["left atrium"],
    "Task03_Liver": ["liver", "cancer"],
    "Task04_Hippocampus": ["Anterior", "Posterior"],
    "Task05_Prostate": ["PZ", "TZ"],
    "Task06_Lung": ["cancer"],
    "Task07_Pancreas": ["pancreas", "cancer"],
    "Task08_HepaticVessel": ["Vessel", "Tumour"],
    "Task09_Spleen": ["spleen"],
    "Task10_Colon": ["colon cancer primaries"],
    "BraTS": ["NCR", "ED", "ET", "whole tumor", "tumor core"],
    "REFUGE": ["disc", "cup"],
    "TN3K": ["thyroid nodule"],
    "ISIC": ["lesion"],
}
