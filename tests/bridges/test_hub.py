"""Finding, fetching and publishing the files of a model, against a hub on a local port."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants, errors
from huggingface_hub.utils import close_session, enable_progress_bars

from bridges import hub as bridge
from bridges.hub import Weights, commit_of, is_local, push, snapshot, weights_files
from bridges.safetensors import Checkpoint, CheckpointError, write

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location(
    "hub_server", Path(__file__).with_name("hub_server.py")
)
hub_server = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hub_server)
Repo = hub_server.Repo

# huggingface_hub's upload of large files calls its HTTP client in a deprecated way
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def index(*shards):
    return json.dumps({"weight_map": {f"t{i}": shard for i, shard in enumerate(shards)}}).encode()


@pytest.fixture(scope="module")
def server():
    with hub_server.Hub() as server:
        yield server


def point_to(monkeypatch, url):
    files = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)


@pytest.fixture
def hub(server, monkeypatch, tmp_path):
    """An empty hub, an empty cache, no token, online; nothing else is reachable."""
    server.repos.clear()
    server.requests.clear()
    server.messages.clear()
    server.broken = None
    point_to(monkeypatch, server.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    close_session()
    yield server
    close_session()


@pytest.fixture
def model(hub, tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    arrays = [(name, np.full(5, ord(name), np.uint8)) for name in "abc"]
    write(folder, [(n, x, lambda x=x: x) for n, x in arrays], max_shard_size=5)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files |= {"config.json": b"{}", "pytorch_model.bin": b"bin", "onnx/model.onnx": b"onnx"}
    hub.repos["me/model"] = Repo(files)
    return hub.repos["me/model"]


def present(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())


def test_only_the_files_that_match_are_fetched_and_once(hub, model):
    path = snapshot("me/model", ["*.json", "absent-*"])
    assert present(path) == ["config.json", "model.safetensors.index.json"]
    assert (path / "config.json").read_bytes() == b"{}"
    assert len(hub.asked("GET", "/resolve/")) == 2
    assert snapshot("me/model", ["*.json"]) == path
    assert len(hub.asked("GET", "/resolve/")) == 2
    snapshot("me/model", ["onnx/*"], progress=False)
    assert hub.asked("GET", "/resolve/")[2:] == [
        f"/me/model/resolve/{commit_of(path)}/onnx/model.onnx"
    ]


def test_a_sharded_checkpoint_from_listing_to_arrays(hub, model):
    weights = weights_files("me/model")
    assert (weights.format, weights.main) == ("safetensors", "model.safetensors.index.json")
    assert len(weights.files) == 4
    assert len(hub.asked("GET", "/resolve/")) == 1
    path = snapshot("me/model", weights.files)
    assert present(path) == sorted(weights.files)
    with Checkpoint.open(path) as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("b"), np.full(5, ord("b"), np.uint8))


def test_offline_the_cache_serves(hub, model, monkeypatch):
    weights = weights_files("me/model")
    path = snapshot("me/model", ["config.json", *weights.files])
    asked = len(hub.requests)
    assert snapshot("me/model", ["config.json"], local_files_only=True) == path
    assert weights_files("me/model", local_files_only=True) == weights
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    assert snapshot("me/model", ["config.json"]) == path
    assert weights_files("me/model") == weights
    assert len(hub.requests) == asked
    for options in ({}, {"local_files_only": True}):
        reason = "only local files are allowed" if options else "HF_HUB_OFFLINE is set"
        with pytest.raises(FileNotFoundError, match=f"me/other: .* not in the cache, and {reason}"):
            snapshot("me/other", ["config.json"], **options)
        with pytest.raises(
            (FileNotFoundError, ConnectionError), match=r"me/other: .*(cache|unset)"
        ):
            weights_files("me/other", **options)
    with pytest.raises(FileNotFoundError, match=r"revision v9 is not in the cache"):
        snapshot("me/model", ["config.json"], revision="v9")


def test_a_hub_that_is_down(hub, model, monkeypatch):
    weights = weights_files("me/model")
    path = snapshot("me/model", ["config.json", *weights.files])
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        point_to(monkeypatch, f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert snapshot("me/model", ["config.json"]) == path
        assert weights_files("me/model") == weights
        for call in (lambda: snapshot("me/other", ["*"]), lambda: weights_files("me/other")):
            with pytest.raises(
                ConnectionError, match=r"me/other: http.* cannot be reached .*; check"
            ):
                call()
    point_to(monkeypatch, hub.url)
    hub.broken = (503, "")
    assert snapshot("me/model", ["config.json"]) == path
    assert weights_files("me/model") == weights
    for call in (lambda: snapshot("me/other", ["*"]), lambda: weights_files("me/other")):
        with pytest.raises(ConnectionError, match=r"me/other: http.* answered 503; try again"):
            call()


def test_a_cache_without_the_weights(hub, model):
    snapshot("me/model", ["config.json"])
    hub.broken = (503, "")
    with pytest.raises(ConnectionError, match=r"answered 503"):
        weights_files("me/model")
    with pytest.raises(FileNotFoundError, match=r"found no weights"):
        weights_files("me/model", local_files_only=True)
    if hasattr(errors, "IncompleteSnapshotError"):  # older versions give the folder as it is
        with pytest.raises((FileNotFoundError, ConnectionError), match=r"me/model: "):
            snapshot("me/model", ["model-*.safetensors"])


def test_revisions(hub, model):
    first = snapshot("me/model", ["config.json"])
    second = model.commit({"config.json": b"[]"}, "v2")
    path = snapshot("me/model", ["config.json"], revision="v2")
    assert (path / "config.json").read_bytes() == b"[]"
    assert (commit_of(path), commit_of(first)) == (second, model.branches["main"])
    assert snapshot("me/model", ["config.json"], revision=second) == path
    for call in (snapshot, lambda repo, _, revision: weights_files(repo, revision=revision)):
        with pytest.raises(FileNotFoundError, match=r"me/model: has no revision 'v9'; see http"):
            call("me/model", ["*"], revision="v9")


def test_the_token_is_sent(hub, model, monkeypatch):
    model.token = "reader"
    calls = (weights_files, lambda repo, token: snapshot(repo, ["*.json"], token=token))
    for call in calls:
        for token in (None, "wrong"):
            with pytest.raises(FileNotFoundError, match=r"no such repository, or it is private"):
                call("me/model", token=token)
    for call in calls:
        call("me/model", token="reader")
    monkeypatch.setenv("HF_TOKEN", "reader")
    snapshot("me/model", ["*.bin"])
    assert hub.requests[-1].token == "reader"
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(
        PermissionError, match=r"found no token; pass token=... or run `hf auth login`"
    ):
        snapshot("me/model", ["*.h5"], token=True)


def test_refusals(hub, model):
    with pytest.raises(FileNotFoundError, match=r"me/absent: found no such repository"):
        snapshot("me/absent", ["*"])
    with pytest.raises(FileNotFoundError, match=r"me/absent: found no such repository"):
        weights_files("me/absent")
    hub.repos["me/gated"] = Repo({"config.json": b"{}"}, gated=True)
    with pytest.raises(
        PermissionError, match=r"me/gated: is gated; accept its terms at http.*/me/gated"
    ):
        snapshot("me/gated", ["config.json"])
    hub.broken = (403, "/resolve/")
    with pytest.raises(
        PermissionError, match=r"me/model: access refused \(403\); check what the token"
    ):
        snapshot("me/model", ["config.json"])
    hub.broken = (403, "")
    for call in (lambda: snapshot("me/other", ["*"]), lambda: weights_files("me/other")):
        with pytest.raises(PermissionError, match=r"me/other: access refused \(403\)"):
            call()
    hub.broken = (429, "/resolve/")
    with pytest.raises(ConnectionError, match=r"answered 429; try again later"):
        snapshot("me/model", ["config.json"])
    hub.broken = (404, "/resolve/")
    with pytest.raises((FileNotFoundError, ConnectionError), match=r"me/model: "):
        snapshot("me/model", ["config.json"])


@pytest.mark.parametrize(
    "repo", ["a/b/c", "https://x/y", "me/mo del", "", "me/model.git", "-x", "a--b/c"]
)
def test_malformed_names(hub, repo):
    for call in (
        lambda: snapshot(repo, ["*"]),
        lambda: weights_files(repo),
        lambda: push(".", repo),
    ):
        with pytest.raises(ValueError, match=r"found neither a folder nor a repository id"):
            call()


def test_errors_are_short_and_keep_their_cause(hub):
    for call in (lambda: snapshot("me/absent", ["*"]), lambda: weights_files("me/absent")):
        with pytest.raises(FileNotFoundError) as caught:
            call()
        assert isinstance(caught.value.__cause__, errors.RepositoryNotFoundError)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 200


def test_local_folders(hub, tmp_path, monkeypatch):
    folder = tmp_path / "saved"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (folder, str(folder), "./saved", "saved", "~/saved", Path("saved")):
        assert is_local(name)
        assert os.path.samefile(snapshot(name, ["*"]), folder)
    assert os.path.samefile(snapshot(".", ["*"]), tmp_path)
    for name in ("./absent", Path("absent"), "/absent", "~/absent", "../absent"):
        with pytest.raises(
            FileNotFoundError, match=r"absent: found nothing, expected a folder; check"
        ):
            snapshot(name, ["*"])
        with pytest.raises(FileNotFoundError, match=r"absent: found nothing"):
            weights_files(name)
    (tmp_path / "file").write_text("")
    for call in (lambda: snapshot("file", ["*"]), lambda: push("file", "me/model")):
        with pytest.raises(FileNotFoundError, match=r"file: found a file, expected a folder"):
            call()
    assert not is_local("me/model")
    assert not hub.requests


SHARDED = ("part-1", "part-2")
REPOSITORIES = [
    (
        "safetensors",
        "model.safetensors",
        {"model.safetensors", "model.safetensors.index.json", "tf_model.h5"},
    ),
    (
        "safetensors",
        "model.safetensors.index.json",
        {"model.safetensors.index.json", "pytorch_model.bin"},
    ),
    (
        "pytorch",
        "pytorch_model.bin",
        {"pytorch_model.bin", "flax_model.msgpack", "model.fp16.safetensors"},
    ),
    (
        "pytorch",
        "pytorch_model.bin.index.json",
        {"pytorch_model.bin.index.json", "flax_model.msgpack"},
    ),
    ("flax", "flax_model.msgpack", {"flax_model.msgpack", "tf_model.h5"}),
    ("flax", "flax_model.msgpack.index.json", {"flax_model.msgpack.index.json", "tf_model.h5"}),
    ("tensorflow", "tf_model.h5", {"tf_model.h5", "other.bin"}),
    ("tensorflow", "tf_model.h5.index.json", {"tf_model.h5.index.json"}),
]


@pytest.mark.parametrize("where", ["local", "hub"])
@pytest.mark.parametrize(("kind", "main", "names"), REPOSITORIES)
def test_which_weights(hub, tmp_path, where, kind, main, names):
    files = {name: index(*SHARDED) if name.endswith("json") else b"x" for name in names}
    hub.repos["me/model"] = Repo(files)
    (tmp_path / "local").mkdir()
    for name, data in files.items():
        (tmp_path / "local" / name).write_bytes(data)
    expected = (main, *SHARDED) if main.endswith("json") else (main,)
    assert weights_files("local" if where == "local" else "me/model") == Weights(
        kind, main, expected
    )
    fetched = [path.rsplit("/", 1)[1] for path in hub.asked("GET", "/resolve/")]
    assert fetched == ([main] if main.endswith("json") and where == "hub" else [])
    assert len(hub.asked("GET", "/api/")) <= 3


def test_variants(hub):
    hub.repos["me/model"] = Repo(
        {
            "model.fp16.safetensors": b"",
            "pytorch_model.bin.index.bf16.json": index("b", "a", "b"),
            "pytorch_model.bin": b"",
        }
    )
    assert weights_files("me/model", variant="fp16").main == "model.fp16.safetensors"
    assert weights_files("me/model", variant="bf16").files[1:] == ("a", "b")
    with pytest.raises(FileNotFoundError, match=r"found no weights of the variant 'fp8', expected"):
        weights_files("me/model", variant="fp8")


def test_no_weights(hub):
    hub.repos["me/model"] = Repo({"config.json": b"{}"})
    with pytest.raises(FileNotFoundError, match=r"found no weights, expected .*; choose another"):
        weights_files("me/model")
    hub.repos["me/model"].commit({"adapter_model.safetensors": b"", "x.gguf": b"", "y.txt": b""})
    with pytest.raises(FileNotFoundError, match=r"; it has adapter_model\.safetensors, x\.gguf$"):
        weights_files("me/model")
    hub.repos["me/model"].commit({"model.safetensors.index.json": index("../x")})
    with pytest.raises(CheckpointError, match=r"expected a relative path below the folder"):
        weights_files("me/model")


def test_commit_of(tmp_path):
    sha = "0123456789abcdef0123456789abcdef01234567"
    path = tmp_path / "models--me--model" / "snapshots" / sha
    assert commit_of(path) == commit_of(path / "config.json") == commit_of(str(path)) == sha
    for other in (tmp_path, path.parent, tmp_path / sha, f"{path}0"):
        assert commit_of(other) is None


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()
    write(folder, [("a", np.zeros(3), lambda: np.zeros(3))])
    (folder / "config.json").write_text("{}")
    return folder


@pytest.mark.parametrize("large", [True, False])
def test_push(hub, saved, monkeypatch, large):
    if not large:
        monkeypatch.setattr(hub_server, "LFS", ())
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    address = push(saved, "me/model", token="writer", private=True, commit_message="First")
    repo = hub.repos["me/model"]
    assert address.startswith(f"{hub.url}/me/model/commit/")
    assert repo.private
    assert hub.messages == ["First"]
    assert len(hub.asked("PUT")) == large
    assert repo.find("main")[1] == {path.name: path.read_bytes() for path in saved.iterdir()}
    assert {request.token for request in hub.requests if "/api/" in request.path} == {"writer"}
    fetched = snapshot("me/model", ["*"])
    assert commit_of(fetched) == address.rsplit("/", 1)[1]
    with Checkpoint.open(fetched) as checkpoint:
        assert set(checkpoint.names) == {"a"}


def test_push_again_to_a_branch_and_as_pull_request(hub, saved):
    push(saved, "me/model", token="writer")
    repo = hub.repos["me/model"]
    first = repo.branches["main"]
    (saved / "config.json").write_text('{"x": 1}')
    push(saved, "me/model", token="writer", revision="next")
    push(saved, "me/model", token="writer", revision="next")
    assert repo.branches["main"] == first
    assert repo.find("next")[1]["config.json"] == b'{"x": 1}'
    address = push(saved, "me/model", token="writer", create_pr=True)
    assert address.endswith("/discussions/1")
    assert repo.branches["main"] == first
    assert repo.find("refs/pr/1")[1]["config.json"] == b'{"x": 1}'
    assert push(saved, "model", token="writer").startswith(f"{hub.url}/me/model/")


def test_push_refused(hub, saved, monkeypatch):
    with pytest.raises(
        PermissionError, match=r"me/model: access refused \(401\); .* `hf auth login`"
    ):
        push(saved, "me/model")
    with pytest.raises(PermissionError, match=r"me/model: access refused \(403\)"):
        push(saved, "me/model", token="reader")
    with pytest.raises(ValueError, match=r"create_pr: found a revision as well"):
        push(saved, "me/model", token="writer", revision="next", create_pr=True)
    with pytest.raises(FileNotFoundError, match=r"found nothing, expected a folder"):
        push(saved / "absent", "me/model", token="writer")
    hub.broken = (503, "/upload/")
    with pytest.raises(ConnectionError, match=r"me/model: .* answered 503"):
        push(saved, "me/model", token="writer")
    hub.broken = None
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    with pytest.raises(ConnectionError, match=r"cannot be reached: HF_HUB_OFFLINE is set"):
        push(saved, "me/model", token="writer")


def test_progress_bars(hub, model, capsys):
    enable_progress_bars()  # whatever other tests have said
    snapshot("me/model", ["config.json"], progress=False)
    assert capsys.readouterr().err == ""
    snapshot("me/model", ["*.safetensors"])
    assert "Fetching 3 files" in capsys.readouterr().err


def test_the_environment_alone(hub, model, tmp_path):
    """HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE in a fresh process, with nothing patched."""
    code = (
        "from bridges.hub import snapshot\n"
        "import sys; assert 'huggingface_hub' not in sys.modules\n"
        "print(snapshot('me/model', ['config.json'], progress=False))"
    )
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    paths = []
    for offline in ("0", "1"):
        env["HF_HUB_OFFLINE"] = offline
        asked = len(hub.requests)
        result = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        paths.append(result.stdout.strip())
        assert (len(hub.requests) == asked) == (offline == "1")
    assert paths[0] == paths[1]
    assert Path(paths[0]).is_relative_to(tmp_path / "home")
    assert bridge.commit_of(paths[0]) == model.branches["main"]
