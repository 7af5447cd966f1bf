"""Every kind of fault, from facts written by hand."""

from dataset_builders import oblique_affine
from facts_builders import LABEL, channel, facts, faults_of, only, rows, values

from preprocess.checks import FATAL, MENDED, WARNING
from preprocess.fingerprint.facts import CaseFacts


def test_unreadable_file():
    bad = CaseFacts(
        name="bad", group="train", error="truncated: 10 of 99 bytes", error_file="labels/bad.nii.gz"
    )

    fault = only(faults_of(bad))

    assert (fault.level, fault.rule, fault.case) == (FATAL, "unreadable file", "bad")
    assert (fault.file, fault.found) == ("labels/bad.nii.gz", "truncated: 10 of 99 bytes")


def test_nan_and_infinite_values_name_the_channel():
    images = (channel(1), channel(2, nan_count=3, inf_count=1))
    bad = facts(
        1, channels=2, image=images, image_files=("a_0000.nii.gz", "a_0001.nii.gz"), intensity=(values(),) * 2
    )
    others = [
        facts(n, channels=2, image=(channel(n), channel(n + 50)), intensity=(values(),) * 2)
        for n in range(2, 8)
    ]

    fault = only(faults_of(bad, *others, good=0))

    assert (fault.level, fault.file) == (FATAL, "a_0001.nii.gz")
    assert fault.found == "3 NaN and 1 infinite voxels in channel 1"


def test_constant_images():
    flat = channel(1, min=7.0, max=7.0, mean=7.0, is_constant=True)

    assert only(faults_of(facts(1, image=(flat,)))).level == FATAL
    assert only(faults_of(facts(1, image=(flat,)))).found == "every voxel is 7"
    picture = only(faults_of(facts(1, image=(flat,)), file_format="picture"))
    assert (picture.level, picture.rule) == (WARNING, "constant image")


def test_labels_that_are_no_class_map():
    fault = only(
        faults_of(
            facts(1, labels={}, intensity=(), label_problem="3 of its 9 voxels are negative, down to -1")
        )
    )

    assert (fault.level, fault.rule, fault.file) == (FATAL, "label is no class map", "labels/case_1.nii.gz")
    assert "negative, down to -1" in fault.found


def test_empty_labels():
    fault = only(faults_of(facts(1, labels={}, intensity=())))
    assert (fault.level, fault.rule, fault.case) == (WARNING, "empty label", "case_1")

    faults = faults_of(*(facts(n, labels={}, intensity=()) for n in range(6)), good=0)
    assert faults[0].level == FATAL and faults[0].case is None
    assert "all 6 usable training cases are empty" in faults[0].found


def test_channel_counts():
    fault = only(faults_of(facts(1, channels=4)))
    assert (fault.level, fault.case, fault.found) == (FATAL, "case_1", "4 channels where most cases have 1")

    named = only(faults_of(channel_names=("T1", "T2")))
    assert (named.level, named.found) == (WARNING, "2 named (T1, T2), the images have 1")


def test_duplicates_by_file_and_by_content():
    first = facts(1)
    copied = facts(
        2,
        image=first.image,
        files={**facts(2).files, "images/case_2.nii.gz": first.files["images/case_1.nii.gz"]},
    )
    saved_again = facts(3, image=facts(100).image, shape=(48, 64, 20), label_shape=(48, 64, 20))

    same_file, same_values = faults_of(first, copied, saved_again)

    assert (same_file.level, same_file.rule, same_file.case) == (WARNING, "duplicate images", None)
    assert (
        "case_1 (images/case_1.nii.gz), case_2 (images/case_2.nii.gz) hold the same file" in same_file.found
    )
    assert "with different labels" in same_file.found
    assert "case_3" in same_values.found and "same intensities" in same_values.found


def test_a_duplicate_across_training_and_test_says_so():
    test = facts(
        1, image=facts(100).image, group="test", label_file=None, label_shape=None, labels={}, intensity=()
    )

    assert only(faults_of(test)).found.endswith("in training and test")


def test_mixed_orientations_are_mended_and_counted():
    fault = only(faults_of(facts(1, orientation="LPS"), facts(2, orientation="LPS")))

    assert (fault.level, fault.case, fault.found) == (MENDED, None, "RAS in 5 cases, LPS in 2 cases")


def test_gaps_in_labels_are_mended():
    fault = only(faults_of(*(facts(n, labels={5: LABEL, 205: LABEL, 420: LABEL}) for n in range(5)), good=0))

    assert (fault.level, fault.rule) == (MENDED, "gaps in label values")
    assert fault.found == "the values are {0, 5, 205, 420}"
    assert "0..3" in fault.consequence and "back" in fault.consequence


def test_names_and_values_that_do_not_meet():
    names = {"background": 0, "liver": 1, "spleen": 2}
    faults = faults_of(facts(1, labels={1: LABEL, 9: LABEL}), label_names=names)

    assert [(f.level, f.rule) for f in faults] == [
        (WARNING, "label values without a name"),
        (WARNING, "named structure missing"),
    ]
    assert faults[0].found == "without a name: 9 (in 1 of 6 cases)"
    assert faults[1].found == "'spleen' (value 2) occurs in none of 6 training cases"


def test_a_structure_in_one_case_only():
    fault = only(faults_of(facts(1, labels={1: LABEL, 2: LABEL})))

    assert fault.found == "value 2 occurs in one of 6 training cases"


def test_intensity_outliers_are_one_fault_per_channel():
    dark = [facts(n, intensity=(values(0.0, 4.0),)) for n in range(6)]
    bright = facts(20, intensity=(values(0.0, 8000.0),))

    fault = only(faults_of(*dark, bright, good=10))

    assert (fault.level, fault.rule, fault.case) == (WARNING, "intensity outliers", None)
    assert "span 80 in the median case" in fault.found
    assert "6 cases less than 1/5 of that (4 to 4: case_0, case_1, case_2, case_3, +2 more)" in fault.found
    assert "1 case over 5 times that (8000 to 8000: case_20)" in fault.found
    assert "percentiles" in fault.consequence
    assert "Hounsfield" in only(faults_of(bright, good=10, channel_names=("CT",))).consequence


def test_voxel_sizes_in_other_units():
    in_metres = oblique_affine((0.00075, 0.0015, 0.003))
    odd = facts(
        1,
        affine=rows(in_metres),
        label_affine=rows(in_metres),
        spacing=(0.00075, 0.0015, 0.003),
        label_spacing=(0.00075, 0.0015, 0.003),
    )

    fault = only(faults_of(odd))

    assert (fault.level, fault.case) == (WARNING, "case_1")
    assert "metres" in fault.remedy


def test_notes_of_the_reader_are_passed_on():
    fault = only(faults_of(facts(1, notes=("the axes are not orthogonal",))))

    assert (fault.level, fault.found) == (WARNING, "the axes are not orthogonal")
