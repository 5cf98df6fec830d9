"""JupyterLab and Chromium for a test: start both on a folder of notebooks, run one, move its controls."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                  "--disable-background-networking"]  # fmt: skip
# One of these alone is true for a moment while the page still loads: only together do they mean "ready to run".
READY = """() => {
    const bar = [...document.querySelectorAll('.jp-StatusBar-TextItem')].some(e => /\\| Idle$/.test(e.textContent));
    const name = document.querySelector('.jp-Toolbar-kernelName');
    const kernel = name && name.textContent.trim() && !/No Kernel/i.test(name.textContent);
    const sign = document.querySelector('.jp-Notebook-ExecutionIndicator');
    const cells = document.querySelectorAll('.jp-Notebook .jp-Cell').length;
    return bar && kernel && sign && sign.dataset.status === 'idle' && cells > 1;
}"""
DONE = """() => {
    const code = [...document.querySelectorAll('.jp-CodeCell')]
        .filter(c => c.querySelector('.cm-content').textContent.trim());
    return code.length > 0 && code.every(c => /^\\[\\d+\\]:$/.test(c.querySelector('.jp-InputPrompt').textContent));
}"""


def why_not() -> str | None:
    """The reason why no browser test can run here, or None."""
    if not chromium():
        return f"no Chromium on this machine (looked for {', '.join(CHROMIUM_NAMES)})"
    try:
        import jupyterlab  # noqa: F401
        import playwright.sync_api  # noqa: F401
    except ImportError as error:
        return f"{error.name} is not installed"
    return None


def chromium() -> str | None:
    return next((found for name in CHROMIUM_NAMES if (found := shutil.which(name))), None)


@contextmanager
def jupyterlab(folder: Path, scratch: Path):
    """A JupyterLab on `folder` with a profile of its own under `scratch`; yields its address."""
    for name, settings in {
        "notebook-extension/tracker": {"windowingMode": "none"},  # else cells off the screen have no elements
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    }.items():
        file = scratch / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(settings))
    own = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime",
           "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "JUPYTERLAB_SETTINGS_DIR": "settings", "IPYTHONDIR": "ipython",
           "MPLCONFIGDIR": "matplotlib"}  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
               "--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}",
               "--allow-root", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]  # fmt: skip
    env = {**os.environ, **{name: str(scratch / sub) for name, sub in own.items()}}
    log = scratch / "jupyterlab.log"
    with log.open("w") as output:
        server = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/api/status", server, log)
        yield address
    finally:
        server.terminate()  # JupyterLab ends its kernels itself
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait_for(url: str, server: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(f"JupyterLab ended at once: {log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not answer within {seconds:.0f} s: {log.read_text()[-2000:]}")


@contextmanager
def page(size=(1280, 1000)):
    """An empty page of a headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_FLAGS)
        try:
            yield browser.new_page(viewport={"width": size[0], "height": size[1]})
        finally:
            browser.close()


def open_notebook(page, address: str, name: str, seconds: float = 90) -> None:
    """Open a notebook and wait until its kernel is there and idle."""
    page.goto(f"{address}/lab/tree/{name}?reset")
    page.wait_for_function(READY, timeout=1000 * seconds, polling=100)


def run_all(page, seconds: float = 400) -> None:
    """Choose Run, Run All Cells, and wait until each code cell has its number."""
    # The committed notebook brings numbers of its own: without them gone, "done" would be true before anything ran.
    page.click("text=/^Edit$/ >> nth=0")
    page.click("text='Clear Outputs of All Cells'")
    page.wait_for_function(f"() => !({DONE})()", timeout=10_000)
    page.click("text=/^Run$/ >> nth=0")
    page.click("text=/^Run All Cells$/")
    page.wait_for_function(DONE, timeout=1000 * seconds, polling=100)


def images(page) -> list[dict]:
    """The pictures in outputs: alternative text, natural width in pixels, and whether it is a live control's."""
    return page.evaluate(
        """() => [...document.querySelectorAll('.jp-OutputArea img')].map(image => (
            {alt: image.alt, width: image.naturalWidth, live: image.closest('.widget-vbox') !== null}))"""
    )


def latencies(page, handle, presses: int) -> list[float]:
    """Milliseconds from a key press on a slider's handle to the decoded changed picture, one per press.

    Measured inside the page, so the test's own calls do not count. The keys alternate between two positions.
    """
    handle.focus()
    keys = _keys(handle)
    times = []
    for i in range(presses):
        page.evaluate(
            """handle => {
                const box = handle.closest('.widget-vbox');
                const image = box.querySelector('img');
                const before = image.src;
                window.courseLatency = new Promise((resolve, reject) => {
                    let start = 0;
                    const press = () => { start = performance.now(); };
                    handle.addEventListener('keydown', press, {once: true, capture: true});
                    const look = () => {
                        const now = box.querySelector('img');
                        if (start && now.src !== before && now.complete && now.naturalWidth > 0)
                            resolve(performance.now() - start);
                        else if (start && performance.now() - start > 10000) reject(new Error('the picture stayed'));
                        else setTimeout(look, 1);
                    };
                    look();
                });
            }""",
            handle,
        )
        page.keyboard.press(keys[i % 2])
        times.append(page.evaluate("() => window.courseLatency"))
        page.wait_for_timeout(50)
    return times


def _keys(handle) -> tuple[str, str]:
    """The arrow key that moves the slider from where it stands, and the one that moves it back."""
    at_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
    return ("ArrowLeft", "ArrowRight") if at_end else ("ArrowRight", "ArrowLeft")


def hold(page, handle, presses: int) -> tuple[float, int]:
    """Hold an arrow key for some repeats: (ms from release to the last new picture, at least 0; pictures drawn)."""
    handle.focus()
    key = _keys(handle)[0]
    page.evaluate(
        """handle => {
            const image = handle.closest('.widget-vbox').querySelector('img');
            window.courseDrawn = [];
            window.courseWatch = new MutationObserver(() => window.courseDrawn.push(performance.now()));
            window.courseWatch.observe(image, {attributes: true, attributeFilter: ['src']});
        }""",
        handle,
    )
    for _ in range(presses):
        page.keyboard.down(key)  # a second `down` without an `up` is a repeat
        page.wait_for_timeout(15)
    page.keyboard.up(key)
    released = page.evaluate("() => performance.now()")
    page.wait_for_timeout(3000)
    drawn = page.evaluate("() => { window.courseWatch.disconnect(); return window.courseDrawn; }")
    return max(0.0, drawn[-1] - released) if drawn else 0.0, len(drawn)
