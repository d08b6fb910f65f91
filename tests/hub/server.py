"""A Hub in memory, over HTTP on loopback: what the clients need to publish, to download and to stream."""

import base64
import hashlib
import json
import re
import socket
import struct
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, RLock, Thread
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

LFS_SUFFIXES = (".safetensors", ".bin", ".png")


@dataclass
class Fault:
    """What goes wrong with the requests to a path.

    An HTTP status; or `drop` (the connection), `hang` (no answer), `lose` (the answer, to what is done), `page` (a web
    page for an answer).

    `times` requests fail, after the first `after` of them were served; None fails them all.
    """

    path: str
    what: int | str
    times: int | None = 1
    after: int = 0
    method: str | None = None

    def strikes(self, method: str, path: str) -> bool:
        if not re.search(self.path, path) or self.method not in (None, method):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is not None:
            if self.times == 0:
                return False
            self.times -= 1
        return True


@dataclass
class Repo:
    """Branches name commits; a commit names each file's content, and whether it is an LFS file."""

    private: bool
    commits: dict[str, dict[str, tuple[str, bool]]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: dict[str, tuple[str, bool]], message: str) -> str:
        oid = hashlib.sha1(json.dumps([sorted(files.items()), message, len(self.commits)]).encode()).hexdigest()
        self.commits[oid], self.branches[branch] = files, oid
        self.messages.append(message)
        return oid

    def files(self, revision: str = "main") -> dict[str, tuple[str, bool]]:
        return self.commits[self.branches.get(revision, revision)]


class HubServer(ThreadingHTTPServer):
    """Repositories by their names, contents by their SHA-256, users by their tokens: (name, may write)."""

    daemon_threads = True

    def __init__(self, users: dict[str, tuple[str, bool]]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.users = users
        self.repos: dict[str, Repo] = {}
        self.contents: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.lock = RLock()
        self.closing = Event()
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """A connection that a fault has cut is no news."""

    def count(self, method: str, path: str) -> int:
        """The requests so far to a path."""
        return sum(one == method and re.search(path, other) is not None for one, other in self.requests)

    def publish(self, repo_id: str, files: dict[str, bytes]) -> None:
        """Make the files of a public repository, such as datasets/USER/NAME, these; a commit if they were others."""
        repo = self.repos.setdefault(repo_id, Repo(private=False))
        kept = {path: (hashlib.sha256(content).hexdigest(), False) for path, content in files.items()}
        self.contents |= {oid: files[path] for path, (oid, _) in kept.items()}
        if not repo.commits or repo.files() != kept:
            repo.commit("main", kept, "files")

    def published(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """The files of a model's repository, or of spaces/USER/NAME."""
        return {path: self.contents[oid] for path, (oid, _) in self.repos[repo_id].files(revision).items()}


class Refusal(Exception):
    """An answer other than the one that was asked for."""

    def __init__(self, status: int, message: str, code: str | None = None, **body):
        super().__init__(message)
        self.status, self.code, self.body = status, code, {"error": message, **body}


class Handler(BaseHTTPRequestHandler):
    """One request: its fault, if there is one, or its route."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: HubServer

    def log_message(self, *args):
        """Silence."""

    def handle_any(self):
        path = urlsplit(self.path).path
        self.query = parse_qs(urlsplit(self.path).query)
        with self.server.lock:
            self.server.requests.append((self.command, path))
            fault = next((fault for fault in self.server.faults if fault.strikes(self.command, path)), None)
        if fault is not None and fault.what in ("drop", "hang"):
            if fault.what == "hang":
                self.server.closing.wait(30)
            return self.cut()
        body = self.read_body()
        if fault is not None and fault.what == "page":
            return self.answer(b"<html>Log in to this network</html>")
        if fault is not None and isinstance(fault.what, int):
            return self.answer({"error": f"as the test wants it, {self.headers.get('Authorization')}"}, fault.what)
        try:
            with self.server.lock:
                content, status, headers = self.route(path, body)
        except Refusal as refusal:
            headers = {"X-Error-Code": refusal.code} if refusal.code else {}
            content, status = refusal.body, refusal.status
        if fault is not None and fault.what == "lose":
            return self.cut()
        self.answer(content, status, headers)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def cut(self) -> None:
        """Reset the connection, whatever it carries."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def answer(self, content: bytes | dict | list, status: int = 200, headers: dict | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    # Routes

    def route(self, path: str, body: bytes) -> tuple[bytes | dict | list, int, dict]:
        path = path.replace("/api/models/", "/api/", 1)
        name = r"(?P<repo>((spaces|datasets)/)?[^/]+/[^/]+)"
        revision = r"(?P<revision>[^/]+)"
        for method, pattern, action in (
            ("GET", r"/api/whoami-v2", self.whoami),
            ("POST", r"/api/repos/create", self.create),
            ("POST", r"/api/validate-yaml", self.validate_yaml),
            ("GET", rf"/api/{name}(/revision/{revision})?", self.info),
            ("GET", rf"/api/{name}/auth-check/write", self.check_write),
            ("POST", rf"/api/{name}/branch/{revision}", self.branch),
            ("GET", rf"/api/{name}/tree/{revision}(/(?P<folder>.+))?", self.tree),
            ("POST", rf"/api/{name}/paths-info/{revision}", self.paths_info),
            ("POST", rf"/api/{name}/preupload/{revision}", self.preupload),
            ("POST", rf"/{name}\.git/info/lfs/objects/batch", self.lfs_batch),
            ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", self.lfs_put),
            ("POST", r"/lfs/(?P<oid>[0-9a-f]{64})/verify", self.lfs_verify),
            ("POST", rf"/api/{name}/commit/{revision}", self.commit),
            ("GET", rf"/{name}/resolve/{revision}/(?P<file>.+)", self.resolve),
        ):
            found = re.fullmatch(pattern, path)
            if found and method == ("GET" if self.command == "HEAD" else self.command):
                names = {"revision": "main", **{key: unquote(text) for key, text in found.groupdict().items() if text}}
                answer = action(body, **{key: names[key] for key in found.groupdict() if key in names})
                return answer if isinstance(answer, tuple) else (answer, 200, {})
        raise Refusal(404, f"no such page: {path}")

    def user(self) -> tuple[str, bool] | None:
        """Who asks; None without a token."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.server.users:
            raise Refusal(401, "Invalid username or password.")
        return self.server.users.get(token)

    def writable(self, repo: str) -> None:
        user = self.user()
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        if user != (repo.split("/")[-2], True):
            raise Refusal(403, "You don't have the rights to write here.")

    def readable(self, repo: str) -> Repo:
        user, found = self.user(), self.server.repos.get(repo)
        if found is None or (found.private and (user is None or user[0] != repo.split("/")[-2])):
            raise Refusal(404 if user else 401, "Repository not found", "RepoNotFound")
        return found

    def writable_repo(self, repo: str) -> Repo:
        found = self.readable(repo)
        self.writable(repo)
        return found

    def files(self, repo: str, revision: str) -> dict[str, tuple[str, bool]]:
        try:
            return self.readable(repo).files(revision)
        except KeyError:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound") from None

    def whoami(self, body):
        if self.user() is None:
            raise Refusal(401, "Invalid username or password.")
        return {"type": "user", "name": self.user()[0], "orgs": []}

    def create(self, body):
        wanted = json.loads(body)
        repo = f"{wanted['organization']}/{wanted['name']}"
        if wanted.get("type") == "space":
            repo = f"spaces/{repo}"
            if wanted.get("sdk") != "gradio":
                raise Refusal(400, "a Space needs its sdk")
        self.writable(repo)
        url = f"{self.server.endpoint}/{repo}"
        if repo in self.server.repos:
            raise Refusal(409, "You already created this model repo", url=url)
        self.server.repos[repo] = Repo(wanted.get("visibility") == "private")
        attributes = b"*.safetensors filter=lfs\n"
        self.server.repos[repo].commit("main", {".gitattributes": (self.keep(attributes), False)}, "initial commit")
        return {"url": url, "name": repo, "id": repo}

    def validate_yaml(self, body):
        content = json.loads(body)["content"]
        head = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        try:
            yaml.safe_load(head[1] if head else "")
        except yaml.YAMLError as error:
            raise Refusal(400, "Invalid metadata", errors=[{"message": str(error)}], warnings=[]) from None
        return {"errors": [], "warnings": []}

    def info(self, body, repo, revision):
        files = self.files(repo, revision)
        found = self.server.repos[repo]
        return {
            "_id": repo,
            "id": repo,
            "modelId": repo,
            "private": found.private,
            "sha": found.branches.get(revision, revision),
            "siblings": [{"rfilename": path} for path in files],
        }

    def check_write(self, body, repo):
        self.writable_repo(repo)
        return {}

    def branch(self, body, repo, revision):
        found = self.writable_repo(repo)
        if revision in found.branches:
            raise Refusal(409, "Reference already exists")
        found.branches[revision] = found.branches["main"]
        return {}

    def tree(self, body, repo, revision, folder=""):
        start = f"{folder}/" if folder else ""
        within = {path: file for path, file in self.files(repo, revision).items() if path.startswith(start)}
        if not within:
            raise Refusal(404, f"{folder} does not exist", "EntryNotFound")
        if self.query.get("recursive") == ["true"]:
            return [self.entry(path, *file) for path, file in within.items()]
        folders = {start + path[len(start) :].split("/")[0] for path in within} - within.keys()
        files = [self.entry(path, *file) for path, file in within.items() if "/" not in path[len(start) :]]
        return [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)] + files

    def paths_info(self, body, repo, revision):
        files = self.files(repo, revision)
        return [self.entry(path, *files[path]) for path in parse_qs(body.decode())["paths"] if path in files]

    def entry(self, path: str, oid: str, lfs: bool) -> dict:
        return {"type": "file", "path": path, **self.describe(oid, lfs)}

    def describe(self, oid: str, lfs: bool) -> dict:
        size = len(self.server.contents[oid])
        described = {"oid": self.git_oid(oid), "size": size}
        return described | ({"lfs": {"oid": oid, "size": size, "pointerSize": 130}} if lfs else {})

    def git_oid(self, oid: str) -> str:
        content = self.server.contents[oid]
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def keep(self, content: bytes) -> str:
        oid = hashlib.sha256(content).hexdigest()
        self.server.contents[oid] = content
        return oid

    def preupload(self, body, repo, revision):
        self.writable_repo(repo)
        there = self.files(repo, revision)
        answers = []
        for wanted in json.loads(body)["files"]:
            path = wanted["path"]
            lfs = path.endswith(LFS_SUFFIXES)
            oid = None if path not in there else there[path][0] if lfs else self.git_oid(there[path][0])
            answers.append({"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False, "oid": oid})
        return {"files": answers}

    def lfs_batch(self, body, repo):
        self.writable_repo(repo)
        objects = json.loads(body)["objects"]
        for item in objects:
            if item["oid"] not in self.server.contents:
                href = f"{self.server.endpoint}/lfs/{item['oid']}"
                item["actions"] = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
        return {"transfer": "basic", "objects": objects}

    def lfs_put(self, body, oid):
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refusal(400, "the content is not what it was said to be")
        self.keep(body)
        return b""

    def lfs_verify(self, body, oid):
        if json.loads(body) != {"oid": oid, "size": len(self.server.contents.get(oid, b""))}:
            raise Refusal(422, "the content has not arrived")
        return {}

    def commit(self, body, repo, revision):
        found = self.writable_repo(repo)
        files, message = dict(self.files(repo, revision)), ""
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                message = value["summary"]
            elif item["key"] == "file":
                files[value["path"]] = (self.keep(base64.b64decode(value["content"])), False)
            elif item["key"] == "lfsFile":
                if value["oid"] not in self.server.contents:
                    raise Refusal(400, f"LFS pointer to nothing: {value['path']}")
                files[value["path"]] = (value["oid"], True)
            elif item["key"] == "deletedFile":
                del files[value["path"]]
        oid = found.commit(revision, files, message)
        return {"commitUrl": f"{self.server.endpoint}/{repo}/commit/{oid}", "commitOid": oid, "success": True}

    def resolve(self, body, repo, revision, file):
        files = self.files(repo, revision)
        commit = self.server.repos[repo].branches.get(revision, revision)
        if file not in files:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        oid, lfs = files[file]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{oid if lfs else self.git_oid(oid)}"'}
        if lfs:
            headers |= {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(self.server.contents[oid]))}
        content = self.server.contents[oid]
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return content, 200, headers
        start, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        return content[start : last + 1], 206, headers | {"Content-Range": f"bytes {start}-{last}/{len(content)}"}
