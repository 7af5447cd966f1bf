from pgsam_monai.label.http.home_page import home_page


def test_the_page_lists_what_can_be_asked_and_escapes_it():
    api = {
        "paths": {
            "/info/": {"get": {"summary": "|RBAC: monailabel-user| - Get App Info"}},
            "/<x>": {"put": {}},
        }
    }
    page = home_page("http://127.0.0.1:8000", ["a<b"], api)
    assert "<td>GET</td><td><code>/info/</code></td><td>Get App Info</td>" in page
    assert "a&lt;b" in page and "/&lt;x&gt;" in page
    assert "http" not in page.replace("http://127.0.0.1:8000", "")
