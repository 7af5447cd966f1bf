"""The page in a real browser: mouse, keys and links do what they say, and nothing else runs or is loaded."""

import json

import pytest
from chromium_driver import chromium, find_chromium
from page_on_screen import (
    LABELS,
    NASTY,
    PLAIN,
    assert_shows,
    centres,
    middle,
    set_slider,
    view_of,
    where,
    write_random_case,
)

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed on this machine")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium") / "profile") as started:
        yield started


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return write_random_case(tmp_path_factory.mktemp("case"))


def test_wheel_keys_and_slider_change_the_slice(browser, case):
    page = browser.open(case.page, link=f"at=4,6,2&opacity=0.6&reference=0&{PLAIN}", size=(1400, 900))
    page.wheel(*middle(page), -120)
    assert where(page) == "Axial 4 / 8"
    assert_shows(page, case, "axial", 3, 0.6)
    page.wheel(*middle(page), 120)
    page.wheel(*middle(page), 120)
    assert where(page) == "Axial 2 / 8"
    page.wheel(*middle(page, "coronal"), -120)
    assert where(page, "coronal") == "Coronal 6 / 14" and where(page) == "Axial 2 / 8"
    for key, slice_ in (
        ("ArrowUp", 7),
        ("PageUp", 14),
        ("Home", 1),
        ("ArrowRight", 2),
        ("End", 14),
        ("ArrowDown", 13),
    ):
        page.key(key)  # of the plane that was scrolled last
        assert where(page, "coronal") == f"Coronal {slice_} / 14", key
    set_slider(page, '[data-plane="axial"] input', 8)
    assert where(page) == "Axial 8 / 8"
    page.key("2")
    assert page.evaluate("views.filter((view) => !view.box.hidden).map((view) => view.key)") == ["coronal"]
    page.key("0")
    assert page.evaluate("views.filter((view) => !view.box.hidden).length") == 3
    page.close()


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_click_tells_the_voxel(browser, case, plane):
    page = browser.open(case.page, link=f"plane={plane}&at=4,6,2&{PLAIN}")
    view = view_of(case, plane)
    places = centres(page, plane, view.image.shape[1:], view.pixel)
    slice_ = int(where(page, plane).split()[1]) - 1
    for row, column in ((0, 0), (2, 5), (view.image.shape[1] - 1, view.image.shape[2] - 1)):
        y, x = places[row, column]
        page.press(float(x), float(y))
        told = page.text("#readout").split("  ·  ")
        voxel = tuple(int(n) for n in told[0].removeprefix("voxel ").split(", "))
        assert case.image[voxel] == view.image[slice_, row, column] == int(told[2].removeprefix("value "))
        names = {value: name for name, value in LABELS.items()}
        expected = [
            f"{role}: {names[v]}" for role in ("prediction", "reference") if (v := getattr(case, role)[voxel])
        ]
        assert told[3:] == expected
    page.close()


def test_fine_screens_have_the_same_voxels(browser, case):
    """Two pixels of the screen to one of the page's."""
    page = browser.open(case.page, link=f"plane=coronal&at=4,6,2&{PLAIN}")
    page.resize((1000, 700), scale=2)
    page.wheel(*middle(page, "coronal"), -120)
    view = view_of(case, "coronal")
    y, x = centres(page, "coronal", view.image.shape[1:], view.pixel)[1, 8]
    page.press(float(x), float(y))
    assert f"value {view.image[5, 1, 8]} " in page.text("#readout") + " "
    assert page.evaluate("views[1].canvas.width / views[1].canvas.clientWidth") == 2
    page.close()


def test_a_class_name_leads_to_most_of_it(browser, case):
    page = browser.open(case.page, link="at=0,0,0")
    page.click("#classes tbody tr:nth-child(2) .name")
    for plane in ("axial", "coronal", "sagittal"):
        area = (view_of(case, plane).prediction == 5).sum(axis=(1, 2))
        assert area[int(where(page, plane).split()[1]) - 1] == area.max()
    assert page.evaluate("document.querySelector('#classes tbody tr:nth-child(3) .name').disabled")
    page.close()


def test_names_are_text(browser, case):
    page = browser.open(case.page)
    assert page.text("#classes tbody tr:nth-child(2) .name") == NASTY
    assert (page.evaluate("document.title"), page.text("#name")) == (NASTY, NASTY)
    assert page.evaluate("typeof window.hacked") == "undefined"
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    page.close()


def test_nothing_else_is_asked_for_and_no_other_script_runs(browser, case):
    page = browser.open(case.page)
    page.screenshot()
    own = case.page.as_uri()
    assert [
        address for address in page.requests() if address != own and not address.startswith("data:")
    ] == []
    assert page.faults() == []
    page.evaluate(
        "(() => { const added = document.createElement('script'); added.textContent = 'window.hacked = 1';"
        " document.body.append(added); })()"
    )
    page.evaluate("fetch('https://localhost/').catch(() => 0)")
    assert page.evaluate("typeof window.hacked") == "undefined"
    assert len([fault for fault in page.faults() if "Content Security Policy" in json.dumps(fault)]) >= 2
    page.close()


def test_a_link_brings_back_what_was_seen(browser, case):
    page = browser.open(case.page)
    page.key("1")
    page.wheel(*middle(page), -120)
    page.click("#class-5")
    page.key("f")
    page.key("]")
    set_slider(page, "#level", 30)
    page.key("+")
    page.wait("location.hash.includes('zoom')")
    link = page.evaluate("location.hash").removeprefix("#")
    for part in ("plane=axial", "off=5", "draw=fill", "opacity=0.5", "zoom=1.25", "window=", "at="):
        assert part in link
    again = browser.open(case.page, link=link)
    # the zoomed image is not moved by a link; everything else is alike
    for opened in (again, page):
        opened.call("Page.bringToFront")
        opened.key("-")
        opened.press(5, 300)
    drawn = "document.querySelector('[data-plane=axial] canvas').toDataURL()"
    assert again.evaluate(drawn) == page.evaluate(drawn)
    again.evaluate("location.hash = '#plane=coronal&slice=2'")
    again.wait("document.querySelector('[data-plane=coronal] .where').textContent.startsWith('Coronal 2 ')")
    page.close()
    again.close()


@pytest.mark.parametrize(
    "link", ["plane=<b>&slice=x&off=&opacity=7&window=5,1&at=1,2&zoom=NaN&draw=constructor", "at=-9,999,4"]
)
def test_a_senseless_link_does_no_harm(browser, case, link):
    page = browser.open(case.page, link=link)
    page.screenshot()
    assert page.faults() == [] and 0 <= page.evaluate("state.opacity") <= 1
    assert page.evaluate("state.at.every((n, axis) => n >= 0 && n < CASE.shape[axis])")
    page.close()


def test_zoom_and_move(browser, case):
    page = browser.open(case.page, link=f"plane=axial&{PLAIN}")
    size = page.evaluate("views[0].frame.sx")
    page.wheel(*middle(page), -120, held="Control")
    assert page.evaluate("views[0].frame.sx") == pytest.approx(1.15 * size)
    set_slider(page, "#zoom", 4)
    left = page.evaluate("views[0].frame.left")
    x, y = middle(page)
    page.press(x, y, to=(x + 30, y), held="Shift")
    assert page.evaluate("views[0].frame.left") == pytest.approx(left + 30, abs=0.5)
    page.close()


@pytest.mark.parametrize("width", [320, 500, 900])
def test_small_screens(browser, case, width):
    page = browser.open(case.page, size=(width, 700))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("views.filter((view) => !view.box.hidden).length") == (3 if width == 900 else 1)
    _, _, wide, high = page.box(".view:not([hidden]) canvas")
    assert wide > 0.35 * width and high > 200
    page.close()


def test_everything_has_a_name_and_the_keyboard_reaches_it(browser, case):
    page = browser.open(case.page)
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    controls = [
        n
        for n in nodes
        if n.get("role", {}).get("value") in ("button", "slider", "checkbox", "radio", "image")
    ]
    assert len(controls) > 25
    unnamed = [n["role"]["value"] for n in controls if not n.get("name", {}).get("value", "").strip()]
    assert unnamed == []
    seen = set()
    for _ in range(60):
        page.key("Tab")
        seen.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {"help", "picture", "class-2", "name", "opacity", "level", "zoom", "cross"} <= seen
    page.key("?")
    assert page.evaluate("document.getElementById('keys').open") and "crosshair" in page.text("#keys")
    page.key("Escape")
    assert not page.evaluate("document.getElementById('keys').open")
    page.close()


def test_an_old_browser_is_told(browser, case):
    page = browser.open(case.page, first="delete window.DecompressionStream", state="failed")
    assert "too old" in page.text("#progress")
    page.close()


def test_a_damaged_page_says_so(browser, case, tmp_path):
    text = case.page.read_text(encoding="utf-8").replace('id="grey-0-0" type="text/plain">', "\\g<0>AAAA", 1)
    (tmp_path / "damaged.html").write_text(text.replace("\\g<0>AAAA", 'id="grey-0-0" type="text/plain">AAAA'))
    page = browser.open(tmp_path / "damaged.html", state="failed")
    assert "could not be shown" in page.text("#progress")
    page.close()
