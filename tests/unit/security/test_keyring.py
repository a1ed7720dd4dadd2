"""The keyring file: created private, never overwritten, invalid ones refused with a sentence, keys never shown."""

from __future__ import annotations

import base64
import json
import os
import stat
import traceback
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings, strategies as st

from sessions_server.domain.errors import KeyNotAvailable, Reason, SetupError
from sessions_server.security.keyring import Keyring, create_keyring, load_keyring, rotate_keyring

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=365)
SECRET = base64.b64encode(b"k" * 32).decode()
NONCE = b"n" * 12


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


def document(**changes: Any) -> dict[str, Any]:
    key = {"id": 1, "created": "2026-01-31T09:00:00+00:00", "key": SECRET}
    return {"version": 1, "current": 1, "keys": [key]} | changes


def key(**changes: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": 1, "created": "2026-01-31T09:00:00+00:00", "key": SECRET}
    return entry | changes


def write(path: Path, content: str | bytes, *, mode: int = 0o600) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)


def refusal(path: Path) -> str:
    with pytest.raises(SetupError) as caught:
        load_keyring(path)
    return str(caught.value)


def test_a_new_keyring_has_one_current_key(path: Path) -> None:
    created = create_keyring(path, now=NOW)

    assert [(info.id, info.created, info.current) for info in created.infos()] == [(1, NOW, True)]
    assert load_keyring(path).infos() == created.infos()


def test_the_file_is_readable_by_its_owner_only_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        create_keyring(path, now=NOW)
        rotate_keyring(path, now=LATER)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_creating_never_overwrites_a_file(path: Path) -> None:
    write(path, "precious")

    with pytest.raises(SetupError, match="choose another name"):
        create_keyring(path, now=NOW)

    assert path.read_text() == "precious"


def test_creating_never_overwrites_a_dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))

    with pytest.raises(SetupError, match="choose another name"):
        create_keyring(path, now=NOW)

    assert path.is_symlink()


def test_creating_in_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="check that its folder exists"):
        create_keyring(tmp_path / "missing" / "keyring.json", now=NOW)


def test_two_new_keyrings_have_different_keys(tmp_path: Path) -> None:
    one, other = (create_keyring(tmp_path / name, now=NOW) for name in ("one", "other"))

    sealed = one.cipher(1).encrypt(NONCE, b"text", None)

    assert other.cipher(1).encrypt(NONCE, b"text", None) != sealed


def test_rotation_adds_a_current_key_and_keeps_the_old_one(path: Path) -> None:
    old = create_keyring(path, now=NOW)
    sealed = old.cipher(1).encrypt(NONCE, b"text", None)

    rotated = rotate_keyring(path, now=LATER)

    assert rotated.current == 2
    assert [(info.id, info.created, info.current) for info in rotated.infos()] == [
        (1, NOW, False),
        (2, LATER, True),
    ]
    assert load_keyring(path).cipher(1).decrypt(NONCE, sealed, None) == b"text"


def test_rotation_never_reuses_an_id(path: Path) -> None:
    write(path, json.dumps(document(keys=[key(id=7), key(id=3)], current=3)))

    assert rotate_keyring(path, now=NOW).current == 8


def test_rotation_of_a_linked_file_keeps_the_link(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.json"
    create_keyring(target, now=NOW)
    path.symlink_to(target)

    rotate_keyring(path, now=LATER)

    assert path.is_symlink()
    assert load_keyring(target).current == 2


def test_a_rotation_while_another_writes_is_refused_and_changes_nothing(path: Path) -> None:
    create_keyring(path, now=NOW)
    before = path.read_bytes()
    staged = path.with_name(path.name + ".new")
    staged.touch()

    with pytest.raises(SetupError, match=f"remove {staged} and try again"):
        rotate_keyring(path, now=LATER)

    assert path.read_bytes() == before
    assert staged.exists()


def test_a_failed_rotation_leaves_nothing_behind(path: Path) -> None:
    write(path, "{}")

    with pytest.raises(SetupError):
        rotate_keyring(path, now=NOW)

    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert path.read_text() == "{}"


def test_rotating_a_missing_keyring_says_how_to_make_one(path: Path) -> None:
    with pytest.raises(SetupError, match=f"sessions-server keyring new {path}"):
        rotate_keyring(path, now=NOW)


def test_rotation_keeps_the_files_owner(path: Path) -> None:
    # Only root can change the owner; for other users, the owner is the one who rotates.
    owner = (12345, 12346) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    create_keyring(path, now=NOW)
    os.chown(path, *owner)

    rotate_keyring(path, now=LATER)

    assert (path.stat().st_uid, path.stat().st_gid) == owner


def test_a_missing_keyring_says_how_to_make_one(path: Path) -> None:
    assert f"`sessions-server keyring new {path}`" in refusal(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o666])
def test_a_file_readable_by_others_is_refused_with_the_fix(path: Path, mode: int) -> None:
    write(path, json.dumps(document()), mode=mode)

    assert f"chmod 600 {path}" in refusal(path)


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_writable_by_others_is_refused_with_the_fix(path: Path, mode: int) -> None:
    write(path, json.dumps(document()), mode=mode)

    assert f"chmod go-w {path}" in refusal(path)


def test_rotation_refuses_a_file_readable_by_others(path: Path) -> None:
    write(path, json.dumps(document()), mode=0o644)

    with pytest.raises(SetupError, match="chmod 600"):
        rotate_keyring(path, now=NOW)


def test_a_folder_or_a_pipe_is_not_a_keyring(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, mode=0o600)

    assert "not a regular file" in refusal(pipe)
    assert "not a regular file" in refusal(tmp_path)


MALFORMED = {
    "empty": "",
    "not JSON": f"keys: {SECRET}",
    "not UTF-8": b"\xff\xfe",
    "nested without end": "[" * 100_000,
    "a list": json.dumps([document()]),
    "a version from the future": json.dumps(document(version=2)),
    "no version": json.dumps({"keys": [key()], "current": 1}),
    "no keys": json.dumps(document(keys=[])),
    "keys that are no list": json.dumps(document(keys={"1": key()})),
    "a key that is no object": json.dumps(document(keys=[SECRET])),
    "current missing": json.dumps({"version": 1, "keys": [key()]}),
    "current not in the keys": json.dumps(document(current=2)),
    "current true": json.dumps(document(current=True)),
    "two keys with one id": json.dumps(document(keys=[key(), key()])),
    "id zero": json.dumps(document(keys=[key(id=0)], current=0)),
    "id text": json.dumps(document(keys=[key(id="1")])),
    "id over 32 bits": json.dumps(document(keys=[key(id=2**32)], current=2**32)),
    "created missing": json.dumps(document(keys=[key(created=None)])),
    "created without offset": json.dumps(document(keys=[key(created="2026-01-31T09:00:00")])),
    "a key that is not base64": json.dumps(document(keys=[key(key="*" * 44)])),
    "a key that is not ASCII": json.dumps(document(keys=[key(key="é" * 44)])),
    "a key of 31 bytes": json.dumps(document(keys=[key(key=base64.b64encode(b"k" * 31).decode())])),
    "a key that is a number": json.dumps(document(keys=[key(key=7)])),
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_keyring_is_refused_with_a_sentence_and_without_its_keys(
    path: Path, content: str | bytes
) -> None:
    write(path, content)

    with pytest.raises(SetupError, match="Restore it from its backup") as caught:
        load_keyring(path)

    shown = "".join(traceback.format_exception(caught.value))
    assert str(path) in str(caught.value)
    assert SECRET not in shown


def test_key_material_is_never_shown(path: Path) -> None:
    created = create_keyring(path, now=NOW)
    secret = json.loads(path.read_text())["keys"][0]["key"]

    shown = f"{created!r} {created} {created.infos()!r}"

    assert repr(created) == "Keyring(ids=[1], current=1)"
    assert secret not in shown
    assert repr(base64.b64decode(secret)) not in shown


def test_a_missing_key_is_named_in_the_error() -> None:
    with pytest.raises(KeyNotAvailable, match="lacks key 9") as caught:
        Keyring([], current=1).cipher(9)

    assert caught.value.reason is Reason.KEY_NOT_AVAILABLE
    assert caught.value.metadata == {"key_id": "9"}


@settings(max_examples=50)
@given(
    created=st.datetimes(
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=12))])
    )
)
def test_every_creation_time_is_preserved(
    created: datetime, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("keyring") / "keyring.json"

    create_keyring(path, now=created)

    assert rotate_keyring(path, now=NOW).infos()[0].created == created.replace(microsecond=0)
