"""The status page in Chromium: against the hosted server, and once against the image."""
import json
import os
import signal

import pytest
from servers import Hosted, disk_file, hosted, image, server  # noqa: F401  (fixtures)
from webdriver import Browser

SIZES = {"desktop": (1280, 900), "phone": (360, 740)}


@pytest.fixture(scope="module", params=SIZES)
def browser(request):
    with Browser(*SIZES[request.param]) as running:
        yield running


def sign_in(browser, server, token=None):
    browser.open(f"http://127.0.0.1:{server.port}/")
    browser.script("sessionStorage.clear()")
    browser.log()  # what the page of an earlier test said, perhaps of a server that has gone since
    browser.open(f"http://127.0.0.1:{server.port}/")
    browser.wait(lambda: browser.is_shown("#token"), "the page asks for the token")
    browser.type("#token", token or server.token)
    browser.click("#gate button")
    if token is None:
        browser.wait(lambda: browser.is_shown("#main") and browser.find("#app option"), "the page opens")


def choose(browser, app):
    browser.script("const s = document.getElementById('app'); s.value = arguments[0]; s.dispatchEvent(new Event('change'))", app)


def press(browser, css):
    """Click what may be below the fold or under the head of the page."""
    browser.script("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", css)
    browser.click(css)


def unexpected(messages):
    """Script errors and policy violations; that a request without a token is refused is how the page finds out."""
    return [m for m in messages if m["level"] == "SEVERE" and "401" not in m["message"] and "400 (Bad Request)" not in m["message"]]


def test_wrong_token(browser, hosted):
    sign_in(browser, hosted, token="wrong")
    browser.wait(lambda: "does not accept this token" in browser.text("#gate-problem"), "the page says that the token is wrong")
    assert not browser.is_shown("#main")
    assert browser.script("return sessionStorage.getItem('ingot-token')") is None


def test_shows_the_machine(browser, server):
    sign_in(browser, server)
    machine = server.get("/v1/machine").json()
    assert browser.text("#title") == machine["name"]
    assert machine["version"] in browser.text("#version")
    browser.wait(lambda: browser.text("#state") == "Ready", "ready")
    assert "Memory" in browser.text("#facts") and machine["processor"]["model"].split()[0] in browser.text("#facts")
    assert "cpu0" in browser.text("#devices")
    assert server.volume in browser.text("#volumes")
    browser.wait(lambda: "FAT32" in browser.text("#log"), "the log")
    # nothing is wider than the screen, and the policy stopped nothing
    width, inner = browser.script("return [document.documentElement.scrollWidth, innerWidth]")
    assert width <= inner
    assert unexpected(browser.log()) == []


def test_runs_a_job_from_a_file_in_the_browser(browser, hosted):
    sign_in(browser, hosted)
    press(browser, "#volumes button")
    browser.wait(lambda: "models/" in browser.text("#volumes .files"), "the directory")
    assert "Näme & ‹i›.txt" in browser.text("#volumes .files")
    browser.script("[...document.querySelectorAll('#volumes .files button')].find(b => b.textContent === 'models/').click()")
    browser.wait(lambda: "m.safetensors" in browser.text("#volumes .files"), "the inner directory")
    browser.script("[...document.querySelectorAll('#volumes .files button')].find(b => b.textContent === 'm.safetensors').click()")
    assert browser.script("return document.getElementById('arg-file').value") == f"{hosted.volume}:/models/m.safetensors"
    before = len(hosted.get("/v1/jobs?limit=1000").json()["jobs"])
    press(browser, "#run-button")
    browser.wait(lambda: len(hosted.get("/v1/jobs?limit=1000").json()["jobs"]) > before, "the job is there")
    job = hosted.get("/v1/jobs?limit=1000").json()["jobs"][-1]
    browser.wait(lambda: "succeeded" in browser.text(f"[data-job='{job['id']}']"), "the job succeeds")
    browser.wait(lambda: "bytes_per_second" in browser.text(f"[data-result='{job['id']}']"), "its result is shown")
    browser.wait(lambda: "m.safetensors" in browser.text("#models"), "the model is listed")
    press(browser, "#models button")
    browser.wait(lambda: "None." in browser.text("#models") or hosted.get("/v1/models").json()["models"] == [], "the model is unloaded")
    assert unexpected(browser.log()) == []


def test_large_directory_in_pages(browser, hosted):
    sign_in(browser, hosted)
    press(browser, "#volumes button")
    browser.wait(lambda: "many/" in browser.text("#volumes .files"), "the directory")
    browser.script("[...document.querySelectorAll('#volumes .files button')].find(b => b.textContent === 'many/').click()")
    browser.wait(lambda: "More" in browser.text("#volumes .files"), "the first page")
    browser.script("[...document.querySelectorAll('#volumes .files button')].find(b => b.textContent === 'More…').click()")
    browser.wait(lambda: "file-249.txt" in browser.text("#volumes .files"), "the rest")


def test_wrong_argument_is_shown_at_its_field(browser, hosted):
    sign_in(browser, hosted)
    choose(browser, "load")
    press(browser, "#run-button")
    browser.wait(lambda: "file" in browser.text("#run-problem"), "the problem is shown")
    assert browser.script("return document.activeElement.id") == "arg-file"
    assert browser.script("return document.activeElement.getAttribute('aria-invalid')") == "true"


def test_cancels_a_job(browser, hosted):
    sign_in(browser, hosted)
    job = hosted.request("POST", "/v1/jobs", {"app": "bench", "args": {"seconds": 30}}).json()["id"]
    button = f"[data-key='cancel-{job}']"
    browser.wait(lambda: browser.find(button), "the job shows up")
    assert "running" in browser.text(f"[data-job='{job}']")
    browser.script("document.querySelector(arguments[0]).click()", button)
    browser.wait(lambda: "cancelled" in browser.text(f"[data-job='{job}']"), "the job is cancelled")


def test_text_stays_text(browser, hosted):
    """What comes from disks, jobs and the log is never taken for HTML."""
    sign_in(browser, hosted)
    evil = "<img src=x onerror=document.title='taken'>"
    hosted.job("load", file=f"{hosted.volume}:/{evil}")
    browser.wait(lambda: evil in browser.text("#jobs") or evil.split("=")[0] in browser.text("#jobs"), "the failed job is shown")
    assert browser.script("return document.querySelectorAll('#jobs img, #log img').length") == 0
    assert browser.script("return document.title") != "taken"


def test_every_input_has_a_label(browser, hosted):
    sign_in(browser, hosted)
    for app in [entry["name"] for entry in hosted.get("/v1/apps").json()["apps"]]:
        choose(browser, app)
        nameless = browser.script("""return [...document.querySelectorAll('input, select, button')]
            .filter(e => !(e.labels && e.labels.length) && !e.textContent.trim() && !e.getAttribute('aria-label')).map(e => e.outerHTML)""")
        assert nameless == [], app


def test_page_without_token_when_there_is_none(browser, tmp_path):
    with Hosted(tmp_path, auth=False) as open_server:
        browser.open(f"http://127.0.0.1:{open_server.port}/")
        browser.wait(lambda: "auth = none" in browser.text("#notice"), "the page says that access control is off")
        assert browser.is_shown("#main")


def test_lost_connection(browser, tmp_path):
    with Hosted(tmp_path) as doomed:
        sign_in(browser, doomed)
        browser.wait(lambda: browser.text("#state") == "Ready", "ready")
        os.killpg(doomed.process.pid, signal.SIGKILL)
        browser.wait(lambda: browser.text("#state") == "Connection lost", "the page says that the connection is lost", 40)
        assert "does not answer" in browser.text("#notice")
        assert browser.is_shown("#main")  # with what was last known


def test_the_image_shows_its_model(browser, image):
    job = image.job("load", file="nvme0n1p1:/models/m.safetensors")
    assert job["state"] == "succeeded", json.dumps(job)
    sign_in(browser, image)
    browser.wait(lambda: "m.safetensors" in browser.text("#models"), "the model is listed")
    image.request("DELETE", f"/v1/models/{job['result']['model']}")


def test_the_image_shows_its_pci_functions(browser, image):
    sign_in(browser, image)
    browser.wait(lambda: "cpu0" in browser.text("#devices"), "the devices")
    assert browser.text("#pci") == ""
    press(browser, "#pci-box summary")
    browser.wait(lambda: "NVMe controller" in browser.text("#pci"), "the functions")
    drive = next(f for f in image.get("/v1/pci").json()["functions"] if f["used_by"] == "nvme0")
    text = browser.text("#pci")
    assert drive["name"] in text and "nvme0" in text and "MSI-X" in text and hex(drive["bars"][0]["address"]) in text
    width, inner = browser.script("return [document.documentElement.scrollWidth, innerWidth]")
    assert width <= inner
    assert unexpected(browser.log()) == []
