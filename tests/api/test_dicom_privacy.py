"""What a DICOM file says of a patient is in no answer of the server, over HTTP and MCP, in no log and in no file."""

from pathlib import Path

from gradio_client import Client, handle_file

from tests.support.app import Server
from tests.support.mcp_client import asked
from tests.support.personal_dicom import CANARY, personal


def test_nothing_of_the_patient_leaves_the_server(server: Server, tmp_path: Path) -> None:
    content = personal()
    file = tmp_path / "image.dcm"
    file.write_bytes(content)
    client = Client(server.url, verbose=False, download_files=str(tmp_path / "answers"))
    answer = client.predict(handle_file(file), 0.3, "Grad-CAM", api_name="/ultrasound")
    assert 0 <= answer[0]["p_malignant"] <= 1
    assert answer[0]["spacing"] == [0.1, 0.1]
    checked = client.predict("ultrasound", handle_file(file), api_name="/robustness")
    upload = next(path for path in server.uploads.rglob("*") if path.is_file() and path.read_bytes() == content)
    _, answers = asked(server, {"image": str(upload), "threshold": 0.3}, tool="ultrasound")
    assert not answers[0].isError
    refused = asked(server, {"image": str(upload), "threshold": 7}, tool="ultrasound")[1]
    assert CANARY not in repr((answer, checked, answers, refused))
    assert CANARY not in server.log.read_text(errors="replace")
    files = [path for folder in (server.uploads, tmp_path / "answers") for path in folder.rglob("*") if path.is_file()]
    others = [path for path in files if path.read_bytes() != content]
    assert others
    assert not [path for path in others if CANARY.encode() in path.read_bytes()]
