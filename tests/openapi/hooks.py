"""What Schemathesis cannot know: which jobs, plugins and downstreams there are, and what would only take time.

Every choice hangs on what was generated, so that the same seed is the same run.
"""

import os
import pathlib
import zlib

import schemathesis

JOBS = os.environ["WINDLASS_JOBS"].split()
PLUGINS = ["echo", "http", "misbehave", "scratch"]
DOWNSTREAMS = ["echo", "http", "misbehave", "elsewhere"]
COMPONENT = pathlib.Path(os.environ["WINDLASS_COMPONENT"]).read_bytes()
# Long enough to be a wait.
WAIT = "20ms"


def chosen(value, among):
    """One of them in three cases of four, else what was generated."""
    number = zlib.crc32(repr(value).encode())
    return value if number % 4 == 0 else among[number // 4 % len(among)]


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    if not path_parameters:
        return path_parameters
    known = {"id": JOBS, "name": PLUGINS, "key": DOWNSTREAMS, "n": [1, 2]}
    return {name: chosen(value, known[name]) if name in known else value for name, value in path_parameters.items()}


@schemathesis.hook
def filter_query(context, query):
    # An empty parameter is as if it were not there, which a schema cannot say.
    return not query or "" not in query.values()


@schemathesis.hook
def before_call(context, case, kwargs):
    wait = (case.query or {}).get("wait")
    if isinstance(wait, str) and wait[:1].isdigit():
        case.query["wait"] = WAIT


@schemathesis.serializer("application/wasm")
def component(context, value):
    """Half of them the real thing."""
    generated = value if isinstance(value, bytes) else repr(value).encode()
    return COMPONENT if zlib.crc32(generated) % 2 else generated


def with_plugin(job):
    if isinstance(job, dict) and isinstance(job.get("plugin"), str):
        job = {**job, "plugin": chosen(job["plugin"], PLUGINS)}
        # What both stand for may stand there only once.
        if "payload" in job and "payload_base64" in job:
            job.pop("payload_base64" if zlib.crc32(repr(job).encode()) % 2 else "payload")
    return job


@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict) and isinstance(body.get("jobs"), list):
        return {**body, "jobs": [with_plugin(job) for job in body["jobs"]]}
    return with_plugin(body)
