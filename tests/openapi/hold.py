"""Starts a host, lets Schemathesis ask it everything, and looks whether it is still well. `run` calls this."""

import base64
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).parent.resolve()
BINARY = pathlib.Path(os.environ["BINARY"]).resolve()
GUESTS = pathlib.Path(os.environ["GUESTS"]).resolve()
CASES, SEED = int(os.environ["CASES"]), os.environ["SEED"]
# How many cases, over all operations and phases, come of one more example that is asked for.
CASES_PER_EXAMPLE = 18
# A run that takes longer hangs. 5,000 cases take two minutes on two busy cores.
RUN_SECS_MAX = max(600, CASES // 10)
PATIENCE_SECS = 60
LINE_CHARS_MAX = 2_000
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
]


class Host:
    """A host in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        plugins = folder / "plugins"
        plugins.mkdir()
        for name in ["echo", "misbehave"]:
            shutil.copy(GUESTS / f"{name}.wasm", plugins)
        shutil.copy(HERE.parents[1] / "plugins" / "http.wasm", plugins)
        # What a case lets a guest do must not take long.
        (folder / "windlass.toml").write_text(
            '[limits]\ndeadline = "2s"\ncpu = "500ms"\n[retry]\nmax_attempts = 2\nbase = "100ms"\n'
        )
        self.log = folder / "log"
        self.process = subprocess.Popen(
            [BINARY, "serve", "--listen", "127.0.0.1:0", "--log-format", "json"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=self.log.open("w"),
            env={"PATH": os.environ.get("PATH", "")},
        )
        self.base = "http://" + until("the host listens", self.address)
        until("the host is ready", lambda: self.ask("GET", "/readyz")[0] == 200)
        until("its plugins are ready", self.has_plugins)

    def address(self):
        found = re.search(r'"address":"([^"]+)"', self.log.read_text())
        return found and found[1]

    def has_plugins(self):
        told = json.loads(self.ask("GET", "/v1/plugins")[1])
        return sum(plugin["state"] == "ready" for plugin in told["plugins"]) == 3

    def ask(self, method, path, body=None, content_type="application/json"):
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": content_type}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECS) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def job(self, job):
        status, body = self.ask("POST", "/v1/jobs", job)
        assert status == 202, (status, body)
        return json.loads(body)["id"]

    def ended(self, job):
        return json.loads(self.ask("GET", f"/v1/jobs/{job}?wait=30s")[1])

    def connections(self):
        """Its sockets; what else it opens under load, such as readers of its store, it may keep."""
        folder = pathlib.Path(f"/proc/{self.process.pid}/fd")
        return sum(target(link).startswith("socket:") for link in folder.iterdir())

    def stop(self):
        self.process.terminate()
        return self.process.wait(PATIENCE_SECS)


def target(link):
    """Where a descriptor leads; nowhere, if it was closed since the folder was read."""
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""


def until(what, ask):
    """Asks again and again until there is an answer."""
    end = time.monotonic() + PATIENCE_SECS
    while time.monotonic() < end:
        try:
            answer = ask()
        except (OSError, ValueError):
            answer = None
        if answer:
            return answer
        time.sleep(0.02)
    sys.exit(f"gave up waiting until {what}")


def prepare(host):
    """Jobs in every state that a case can meet, and their ids for the cases to use."""
    jobs = [
        {"plugin": "echo", "payload": {"a": 1}, "labels": {"k": "v"}},
        {"plugin": "echo", "payload_base64": base64.b64encode(b"\0\1").decode(), "content_type": "image/png"},
        {"plugin": "misbehave", "payload": {"verb": "nothing-of-the-kind"}},
    ]
    ended = [host.job(job) for job in jobs]
    for job in ended:
        assert host.ended(job)["finished_at"], job
    later = [host.job({"plugin": "echo", "payload": n, "delay": "7d"}) for n in range(4)]
    # Nothing is granted, so that it waits.
    return ended + later + [host.job({"plugin": "http", "payload": {"url": "http://127.0.0.1:1/"}})]


def schemathesis(host, jobs, reports):
    """Runs it; answers how many cases there were, and whether all was well."""
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "hooks",
        "PYTHONPATH": str(HERE),
        "WINDLASS_COMPONENT": str(GUESTS / "echo.wasm"),
        "WINDLASS_JOBS": " ".join(jobs),
        "NO_COLOR": "1",
    }
    command = [
        str(pathlib.Path(sys.executable).parent / "st"),
        *["--config-file", str(HERE / "schemathesis.toml"), "run", host.base + "/openapi.json", "--seed", SEED],
        *["--max-examples", str(max(1, CASES // CASES_PER_EXAMPLE)), "--checks", ",".join(CHECKS)],
        *["--continue-on-failure", "--request-timeout", "20", "--no-shrink", "--output-sanitize", "false"],
        *["--suppress-health-check", "all", "--warnings", "off"],
        *["--report", "json", "--report-json-path", str(reports / "report.json")],
    ]
    try:
        status = subprocess.run(
            command, env=environment, cwd=reports, capture_output=True, text=True, check=False, timeout=RUN_SECS_MAX
        )
    except subprocess.TimeoutExpired:
        print(f"openapi: schemathesis was not done after {RUN_SECS_MAX} s")
        return 0, False
    found = re.search(r"(\d[\d,]*) generated", status.stdout)
    cases = int(found[1].replace(",", "")) if found else 0
    if status.returncode != 0:
        print("\n".join(map(shown, (status.stdout + status.stderr).splitlines())))
    return cases, status.returncode == 0


def shown(line):
    """A line for a terminal: a component is of no use there."""
    line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)
    return line if len(line) <= LINE_CHARS_MAX else line[:LINE_CHARS_MAX] + " …"


def check(host, connections):
    """What must hold after all of that."""
    wrong = []
    if host.process.poll() is not None:
        return [f"the host has ended with {host.process.returncode}"]
    # Whatever a case did to them: the plugins are put back, let go, and nothing is held.
    for name in ["echo", "http"]:
        component = (HERE.parents[1] / "plugins/http.wasm" if name == "http" else GUESTS / "echo.wasm").read_bytes()
        host.ask("PUT", f"/v1/plugins/{name}", component, "application/wasm")
        host.ask("POST", f"/v1/plugins/{name}/resume")
    job = host.job({"plugin": "echo", "payload": {"still": "well"}, "downstream": "after-all", "priority": 32767})
    told = host.ended(job)
    if told["state"] != "completed" or told["result"] != {"still": "well"}:
        wrong.append(f"a job after all of that is {told}")
    try:
        until("the connections are gone", lambda: host.connections() <= connections + 2)
    except SystemExit:
        wrong.append(f"{host.connections()} sockets are open; before, {connections} were")
    if host.stop() != 0:
        wrong.append(f"the host stopped with {host.process.returncode}")
    log = host.log.read_text()
    wrong += [line for line in log.splitlines() if "panicked" in line or "please report this" in line]
    return wrong


def main():
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="windlass-openapi-") as folder:
        folder = pathlib.Path(folder)
        host = Host(folder)
        try:
            jobs = prepare(host)
            connections = host.connections()
            print(f"openapi: seed {SEED}, {host.base}", flush=True)
            cases, is_well = schemathesis(host, jobs, folder)
            wrong = check(host, connections)
        finally:
            host.process.kill()
        if cases < CASES:
            wrong.append(f"only {cases} cases were run of {CASES}")
        for line in wrong:
            print("openapi:", line)
        took = f"{cases} cases, seed {SEED}, {time.monotonic() - began:.0f} s"
        if not is_well or wrong:
            sys.exit(f"openapi FAILED: {took}; above is what to send again, by curl, to a host started anew")
        print(f"openapi: {took}, nothing found")


main()
