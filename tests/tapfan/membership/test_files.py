"""Files are replaced whole, stay what they were to everybody else, and are left alone when they cannot be."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from tapfan.membership import files
from tapfan.membership.passages import EditError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tapfan.toml"
    path.write_bytes(b"one\r\n\xff")
    return path


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_content_is_replaced_byte_for_byte_and_the_mode_stays(file: Path) -> None:
    file.chmod(0o640)
    before = files.read(file)
    files.replace(file, before, before + "two\r\n")
    assert file.read_bytes() == b"one\r\n\xfftwo\r\n"
    assert file.stat().st_mode & 0o7777 == 0o640
    assert _names(file.parent) == [file.name]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_stays(file: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(file, nobody.pw_uid, nobody.pw_gid)
    files.replace(file, files.read(file), "two")
    state = file.stat()
    assert (state.st_uid, state.st_gid, file.read_text()) == (nobody.pw_uid, nobody.pw_gid, "two")


def test_a_link_stays_one_and_what_it_leads_to_is_replaced(file: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.toml"
    link.symlink_to("../tapfan.toml")
    files.replace(link, files.read(link), "two")
    assert link.is_symlink()
    assert file.read_text() == "two"
    assert _names(link.parent) == ["link.toml"]


def test_whoever_reads_it_meanwhile_has_all_of_the_old_content(file: Path) -> None:
    with file.open("rb") as reading:
        files.replace(file, files.read(file), "two" * 10_000)
        assert reading.read() == b"one\r\n\xff"


def test_what_somebody_else_wrote_meanwhile_is_not_lost(file: Path) -> None:
    before = files.read(file)
    file.write_text("theirs")
    with pytest.raises(EditError, match="was edited by somebody else just now; try again"):
        files.replace(file, before, "ours")
    assert file.read_text() == "theirs"
    assert _names(file.parent) == [file.name]


def test_what_a_killed_one_left_beside_it_is_in_nobodys_way(file: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    files.aside(file).symlink_to(secret)
    files.replace(file, files.read(file), "two")
    assert (file.read_text(), secret.read_text()) == ("two", "secret")


def test_a_file_that_cannot_be_replaced_is_an_error_that_names_it(file: Path, tmp_path: Path) -> None:
    files.aside(file).mkdir()
    with pytest.raises(
        EditError, match=rf"cannot edit {file}: its new content cannot be written beside it, in {tmp_path}"
    ):
        files.replace(file, files.read(file), "two")
    with pytest.raises(EditError, match=f"cannot read {tmp_path}/none: No such file"):
        files.read(tmp_path / "none")
    assert file.read_bytes() == b"one\r\n\xff"


def test_only_one_edits_at_a_time_and_a_killed_one_holds_up_nobody(tmp_path: Path) -> None:
    holding = "import sys; from pathlib import Path; from tapfan.membership.files import alone_in\n"
    holding += "with alone_in(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holding, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(EditError, match=f"somebody else adds or removes a writer in {tmp_path} now"):
            files.alone_in(tmp_path).__enter__()
        other.kill()
    with files.alone_in(tmp_path):
        assert _names(tmp_path) == []
