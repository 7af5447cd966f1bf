import pytest

from pgsam_monai.base.structures.spelling import side_of, spelling_keys


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Left Kidney", "kidney left"),
        ("L.Kd", "kd left"),
        ("vertebrae_L5", "l5 vertebra"),
        ("1st rib, lt.", "1 left rib"),
        ("rib01", "1 rib"),
        ("Oesophageal tumours", "esophageal tumor"),
        ("Bowman's arteries", "artery bowman"),
        ("Schilddrüse", "schilddruse"),
        ("left kidney (healthy)", "kidney left"),
        ("portal & splenic", "and portal splenic"),
        ("kidney/left", "kidney left"),
        ("prostate/uterus", "or prostate uterus"),
        ("leftkidney", "kidney left"),
        ("bright spot", "bright spot"),
        ("", ""),
    ],
)
def test_spellings_become_keys(name, key):
    assert spelling_keys(name)[0] == key


@pytest.mark.parametrize("name", ["LeftKidney", "kidneyLeft", "LKidney", "KidneyL"])
def test_camel_case_is_a_second_try(name):
    assert spelling_keys(name)[-1] == "kidney left"


@pytest.mark.parametrize("word", ["and", "or", "no", "non", "not", "without", "a"])
def test_words_that_carry_meaning_stay(word):
    assert word in spelling_keys(f"kidney {word} tumor")[0].split()


@pytest.mark.parametrize(
    ("key", "side"), [("kidney left", "left"), ("right rib", "right"), ("left right", ""), ("", "")]
)
def test_side(key, side):
    assert side_of(key) == side
