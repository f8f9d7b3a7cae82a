"""A model hub in memory, on a local port: as much of its interface as huggingface_hub uses."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

LFS = (".safetensors", ".bin", ".msgpack", ".h5")


class Request(NamedTuple):
    """What the server was asked, in the order in which it was asked."""

    method: str
    path: str
    token: str | None


class Repo:
    """Branches that point to commits, commits that hold files."""

    def __init__(self, files=None, *, gated=False, token=None):
        self.gated, self.token = gated, token
        self.commits, self.branches = {}, {}
        self.commit(files or {}, "main")

    def commit(self, files, branch="main"):
        text = json.dumps([len(self.commits), sorted(files)])
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.commits[sha], self.branches[branch] = dict(files), sha
        return sha

    def find(self, revision):
        sha = self.branches.get(revision, revision)
        return (sha, self.commits[sha]) if sha in self.commits else (None, None)


class Hub:
    """A running server. `repos` may be changed while it runs; `requests` says what was asked."""

    def __init__(self):
        self.repos, self.requests, self.blobs, self.messages = {}, [], {}, []
        self.broken = None  # (status, pattern): answer so where the path matches
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()

    def asked(self, method, pattern=""):
        return [r.path for r in self.requests if r.method == method and re.search(pattern, r.path)]


class _Handler(BaseHTTPRequestHandler):
    server_hub: Hub
    protocol_version = "HTTP/1.1"

    ROUTES = (
        ("GET", r"/api/models/(?P<repo>[^/]+(?:/[^/]+)?)/tree/(?P<revision>[^/]+)", "tree"),
        ("GET", r"/api/models/(?P<repo>[^/]+(?:/[^/]+)?)/revision/(?P<revision>[^/]+)", "info"),
        ("GET", r"/api/models/(?P<repo>[^/]+(?:/[^/]+)?)", "info"),
        ("GET", r"/(?P<repo>[^/]+(?:/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<file>.+)", "file"),
        ("HEAD", r"/(?P<repo>[^/]+(?:/[^/]+)?)/resolve/(?P<revision>[^/]+)/(?P<file>.+)", "file"),
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/validate-yaml", "card"),
        ("POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/branch/(?P<revision>[^/]+)", "branch"),
        ("POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/preupload/(?P<revision>[^/]+)", "preupload"),
        ("POST", r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch", "batch"),
        ("PUT", r"/upload/(?P<file>[0-9a-f]{64})", "upload"),
        ("POST", r"/api/models/(?P<repo>[^/]+/[^/]+)/commit/(?P<revision>[^/]+)", "commit"),
    )

    def log_message(self, *_):
        pass

    def do(self):
        hub, path = self.server_hub, urlsplit(self.path).path
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.requests.append(Request(self.command, unquote(path), self.token))
        if hub.broken and re.search(hub.broken[1], path):
            return self.refuse(hub.broken[0], None)
        for method, pattern, name in self.ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method == self.command:
                return self.route(name, {k: unquote(v) for k, v in match.groupdict().items()})
        return self.refuse(404, None)

    do_GET = do_HEAD = do_POST = do_PUT = do

    def route(self, name, parts):
        if "repo" in parts:
            repo = parts["repo"] = self.server_hub.repos.get(parts["repo"])
            if repo is None or (repo.token and self.token != repo.token):
                return self.refuse(401, "RepoNotFound")
            if repo.gated and name == "file":
                return self.refuse(403, "GatedRepo")
        if name in ("tree", "info", "file"):
            sha, files = parts["repo"].find(parts.pop("revision", "main"))
            if sha is None:
                return self.refuse(404, "RevisionNotFound")
            parts |= {"sha": sha, "files": files}
        return getattr(self, name)(**parts)

    def send(self, data, status=200, **headers):
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status, code):
        self.send({"error": code or "broken"}, status, **({"X_Error_Code": code} if code else {}))

    def info(self, repo, sha, files):
        siblings = [{"rfilename": name} for name in files]
        self.send({"id": "x/y", "sha": sha, "siblings": siblings, "gated": repo.gated})

    def tree(self, repo, sha, files):
        self.send(
            [
                {
                    "type": "file",
                    "path": name,
                    "size": len(data),
                    "oid": hashlib.sha1(data).hexdigest(),
                }
                for name, data in files.items()
            ]
        )

    def file(self, repo, sha, files, file):
        if file not in files:
            return self.refuse(404, "EntryNotFound")
        etag = hashlib.sha256(files[file]).hexdigest()
        return self.send(files[file], X_Repo_Commit=sha, ETag=f'"{etag}"')

    def create(self):
        asked = json.loads(self.body)
        name = "/".join(filter(None, (asked.get("organization") or "me", asked["name"])))
        if self.token != "writer":
            return self.refuse(401 if self.token is None else 403, None)
        if name in self.server_hub.repos:
            return self.send({"url": f"{self.server_hub.url}/{name}"}, 409)
        repo = self.server_hub.repos[name] = Repo()
        repo.private = asked.get("private") or asked.get("visibility") == "private"
        return self.send({"url": f"{self.server_hub.url}/{name}"})

    def card(self):
        self.send({"errors": [], "warnings": []})

    def branch(self, repo, revision):
        if revision in repo.branches:
            return self.send({"error": "exists"}, 409)
        repo.branches[revision] = repo.branches["main"]
        return self.send({})

    def preupload(self, repo, revision):
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LFS) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(self.body)["files"]
        ]
        self.send({"files": files})

    def batch(self, repo):
        objects = [
            {
                **thing,
                "actions": {"upload": {"href": f"{self.server_hub.url}/upload/{thing['oid']}"}},
            }
            for thing in json.loads(self.body)["objects"]
        ]
        self.send({"transfer": "basic", "objects": objects})

    def upload(self, file):
        if hashlib.sha256(self.body).hexdigest() != file:
            return self.refuse(400, None)
        self.server_hub.blobs[file] = self.body
        return self.send({})

    def commit(self, repo, revision):
        files = dict(repo.commits[repo.branches[revision]])
        branch = "refs/pr/1" if "create_pr=1" in self.path else revision
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.server_hub.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server_hub.blobs[value["oid"]]
        sha = repo.commit(files, branch)
        url = f"{self.server_hub.url}/me/model"
        self.send(
            {
                "commitUrl": f"{url}/commit/{sha}",
                "commitOid": sha,
                "pullRequestUrl": f"{url}/discussions/1",
            }
        )
