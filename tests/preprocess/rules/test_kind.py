import pytest

from preprocess.plan.kinds import KINDS, kind_of
from preprocess.rules.kind import choice, number, takes, whole, widest, word


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (whole(0), 3, True),
        (whole(16, 16), 32, 24),
        (number(0, above=True), 0.1, 0),
        (number(0, 1), 1, 1.5),
        (choice("a", None), None, "b"),
        (word("a name"), "x", ""),
        (word("a name"), "x", None),
        (word("a name, or null", or_null=True), None, 1),
    ],
)
def test_values_that_fit_and_that_dont(kind, good, bad):
    assert kind.fits(good) and not kind.fits(bad)


def test_rules_of_one_name_take_what_any_of_them_takes():
    assert widest([choice("lora", "full"), choice("adapters", "full")]).options == (
        "lora",
        "full",
        "adapters",
    )
    assert widest([whole(1), whole(1)]).what == "a whole number of at least 1"


def test_a_mark_leaves_the_rule_a_function():
    @takes(whole(1))
    def rule():
        return 1

    assert rule() == 1 and rule.kind.fits(2)


def test_a_networks_own_rule_narrows_what_it_takes():
    assert set(KINDS["encoder_training"].options) == {"lora", "full", "frozen", "adapters"}
    assert kind_of("encoder_training", "medsa").options == ("adapters", "full", "frozen")
    assert kind_of("learning_rate", "medsa").what == KINDS["learning_rate"].what
