from types import SimpleNamespace

import pytest
from huggingface_hub import constants, utils

from tests.hub.server import HubServer

WRITER, READER, STRANGER = "hf_writerSecret", "hf_readerSecret", "hf_strangerSecret"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub on loopback that this process talks to as ann, who may write; the client retries without waiting."""
    with HubServer({WRITER: ("ann", True), READER: ("ann", False), STRANGER: ("bob", True)}) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no_login"))
        monkeypatch.setattr(utils._http, "time", SimpleNamespace(sleep=lambda seconds: None))
        for name in ("HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_TOKEN", WRITER)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        utils.close_session()
        yield server
        utils.close_session()
