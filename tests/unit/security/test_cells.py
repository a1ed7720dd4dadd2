"""Cell encryption: a value decrypts in its own place with its own key, and anything else is an error."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, strategies as st

from sessions_server.domain.errors import (
    DataCorrupted,
    DomainError,
    EncryptionNotConfigured,
    KeyNotAvailable,
    Reason,
    SetupError,
)
from sessions_server.domain.ports import Cell, Cells
from sessions_server.security.cells import KeyringCells
from sessions_server.security.encryption import NoKeyring, open_cells
from sessions_server.security.keyring import Key, Keyring, create_keyring, rotate_keyring

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)
CELL = Cell("acme", "s1", "log", "17")
PLAINTEXT = "a secret with ünicode\0".encode()


def keyring(*secrets: bytes, first: int = 1, current: int | None = None) -> Keyring:
    keys = [Key(key_id, NOW, secret * 32) for key_id, secret in enumerate(secrets, start=first)]
    return Keyring(keys, current=current or keys[-1].id)


OLD = keyring(b"a")
ROTATED = keyring(b"a", b"b")
WITHOUT_OLD = keyring(b"b", first=2)
FOREIGN = keyring(b"z")


# Written by the first release under the keyring OLD for CELL.
STORED_KEY = bytes.fromhex(
    "01000000013ce9ed0c16b2bb26769c60142993a346fde4f3b7977b38c0f84a805f0085c1ef4e75abc1fa6d7a923ba94e"
    "b0618192574cbf0bc4914ef3feb5d43a1458de55758d7dc798a945a0a0b18a8e86"
)
STORED_VALUE = bytes.fromhex("017cea1935e825450a1f12e991fd2bb5d1dd20a57dad43ea65d7fde6d3efce6a16")


def cells(ring: Keyring = OLD) -> KeyringCells:
    return KeyringCells(lambda: ring)


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def every_use(box: Cells, wrapped: bytes, sealed: bytes) -> list[Callable[[], object]]:
    """Every use of an existing data key."""
    return [
        lambda: box.open(wrapped, CELL, sealed),
        lambda: box.seal(wrapped, CELL, PLAINTEXT),
        lambda: box.rewrap(CELL.tenant, CELL.session_id, wrapped),
    ]


texts = st.text(max_size=6)
places = st.builds(Cell, texts, texts, texts, texts)


@given(cell=places, plaintext=st.binary(max_size=200))
def test_sealed_values_open_equal_and_are_not_in_the_ciphertext(cell: Cell, plaintext: bytes) -> None:
    box = cells()
    wrapped = box.new_key(cell.tenant, cell.session_id)

    sealed = box.seal(wrapped, cell, plaintext)

    assert box.open(wrapped, cell, sealed) == plaintext
    assert len(plaintext) < 4 or plaintext not in sealed


def test_data_of_the_first_release_stays_readable() -> None:
    assert cells().open(STORED_KEY, CELL, STORED_VALUE) == b"kept"


def test_an_empty_value_is_sealed_and_authenticated_too() -> None:
    box = cells()
    wrapped = box.new_key(CELL.tenant, CELL.session_id)
    sealed = box.seal(wrapped, CELL, b"")

    assert box.open(wrapped, CELL, sealed) == b""
    with pytest.raises(DataCorrupted):
        box.open(wrapped, CELL, flipped(sealed, 8 * len(sealed) - 1))


def test_the_same_value_is_sealed_differently_each_time() -> None:
    box = cells()
    wrapped = box.new_key(CELL.tenant, CELL.session_id)

    assert len({box.seal(wrapped, CELL, PLAINTEXT) for _ in range(100)}) == 100


def test_data_keys_are_unique() -> None:
    box = cells()

    assert len({box.new_key(CELL.tenant, CELL.session_id) for _ in range(100)}) == 100


@given(one=places, other=places)
def test_two_swapped_cells_of_two_sessions_are_refused(one: Cell, other: Cell) -> None:
    assume(one[:2] != other[:2])
    box = cells()
    keys = {cell: box.new_key(cell.tenant, cell.session_id) for cell in (one, other)}
    sealed = {cell: box.seal(keys[cell], cell, PLAINTEXT) for cell in (one, other)}

    for here, there in ((one, other), (other, one)):
        with pytest.raises(DataCorrupted):
            box.open(keys[here], here, sealed[there])


@given(one=st.tuples(texts, texts), other=st.tuples(texts, texts))
def test_two_swapped_cells_of_one_session_are_refused(one: tuple[str, str], other: tuple[str, str]) -> None:
    assume(one != other)
    here, there = (Cell("acme", "s1", column, row) for column, row in (one, other))
    box = cells()
    wrapped = box.new_key("acme", "s1")

    with pytest.raises(DataCorrupted):
        box.open(wrapped, here, box.seal(wrapped, there, PLAINTEXT))


@given(joined=st.text(min_size=1, max_size=8), cuts=st.lists(st.integers(0, 8), min_size=6, max_size=6))
def test_places_with_the_same_concatenation_are_different(joined: str, cuts: list[int]) -> None:
    one, other = (
        Cell(joined[:a], joined[a:b], joined[b:c], joined[c:])
        for a, b, c in (sorted(cuts[:3]), sorted(cuts[3:]))
    )
    assume(one != other)
    box = cells()
    wrapped = box.new_key(one.tenant, one.session_id)
    sealed = box.seal(wrapped, one, PLAINTEXT)

    with pytest.raises(DataCorrupted):
        box.open(wrapped, other, sealed)


@pytest.mark.parametrize("moved", [CELL._replace(tenant="other"), CELL._replace(session_id="s2")])
def test_a_data_key_moved_to_another_session_is_refused_even_if_cached(moved: Cell) -> None:
    box = cells()
    wrapped = box.new_key(CELL.tenant, CELL.session_id)
    sealed = box.seal(wrapped, CELL, PLAINTEXT)

    with pytest.raises(DataCorrupted):
        box.open(wrapped, moved, sealed)
    with pytest.raises(DataCorrupted):
        box.seal(wrapped, moved, PLAINTEXT)


def test_cells_of_a_deleted_session_do_not_open_in_a_recreated_one() -> None:
    box = cells()
    before, after = (box.new_key(CELL.tenant, CELL.session_id) for _ in range(2))

    with pytest.raises(DataCorrupted):
        box.open(after, CELL, box.seal(before, CELL, PLAINTEXT))


def test_every_bit_of_a_sealed_value_counts() -> None:
    box = cells()
    wrapped = box.new_key(CELL.tenant, CELL.session_id)
    sealed = box.seal(wrapped, CELL, PLAINTEXT)

    for bit in range(8 * len(sealed)):
        with pytest.raises(DataCorrupted):
            box.open(wrapped, CELL, flipped(sealed, bit))


def test_every_bit_of_a_wrapped_key_counts() -> None:
    box = cells()
    wrapped = box.new_key(CELL.tenant, CELL.session_id)
    sealed = box.seal(wrapped, CELL, PLAINTEXT)

    for bit in range(8 * len(wrapped)):
        # A flipped key id names a key that does not exist.
        with pytest.raises((DataCorrupted, KeyNotAvailable)):
            box.open(flipped(wrapped, bit), CELL, sealed)


def test_a_wrapped_key_naming_another_key_of_the_keyring_is_refused() -> None:
    box = cells(keyring(b"a", b"a"))
    wrapped = box.new_key(CELL.tenant, CELL.session_id)
    sealed = box.seal(wrapped, CELL, PLAINTEXT)
    assert wrapped[1:5] == bytes([0, 0, 0, 2])

    with pytest.raises(DataCorrupted):
        box.open(wrapped[:4] + b"\x01" + wrapped[5:], CELL, sealed)


@given(garbage=st.binary(max_size=100))
def test_garbage_is_refused_everywhere(garbage: bytes) -> None:
    box = cells()
    wrapped = box.new_key(CELL.tenant, CELL.session_id)
    sealed = box.seal(wrapped, CELL, PLAINTEXT)

    with pytest.raises(DataCorrupted):
        box.open(wrapped, CELL, garbage)
    with pytest.raises((DataCorrupted, KeyNotAvailable)):
        box.open(garbage, CELL, sealed)
    with pytest.raises((DataCorrupted, KeyNotAvailable)):
        cells(ROTATED).rewrap(CELL.tenant, CELL.session_id, garbage)


@given(data=st.data())
def test_a_shortened_or_lengthened_value_is_refused(data: st.DataObject) -> None:
    box = cells()
    wrapped = box.new_key(CELL.tenant, CELL.session_id)
    sealed = box.seal(wrapped, CELL, PLAINTEXT)
    end = data.draw(st.integers(0, len(sealed) - 1))
    tail = data.draw(st.binary(min_size=1, max_size=4))

    for altered in (sealed[:end], sealed + tail):
        with pytest.raises(DataCorrupted):
            box.open(wrapped, CELL, altered)
    for altered in (wrapped[:end], wrapped + tail):
        with pytest.raises(DataCorrupted):
            box.open(altered, CELL, sealed)


@given(plaintexts=st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_cells_stay_readable_and_unchanged_through_a_rewrap(plaintexts: list[bytes]) -> None:
    rows = [CELL._replace(row=str(row)) for row in range(len(plaintexts))]
    before = cells(OLD)
    wrapped = before.new_key(CELL.tenant, CELL.session_id)
    sealed = [before.seal(wrapped, cell, text) for cell, text in zip(rows, plaintexts, strict=True)]

    rewrapped = cells(ROTATED).rewrap(CELL.tenant, CELL.session_id, wrapped)

    assert rewrapped is not None
    # The keyring's old key is no longer needed.
    after = cells(WITHOUT_OLD)
    assert [
        after.open(rewrapped, cell, value) for cell, value in zip(rows, sealed, strict=True)
    ] == plaintexts
    assert after.open(rewrapped, CELL, after.seal(rewrapped, CELL, PLAINTEXT)) == PLAINTEXT


def test_values_sealed_after_a_rewrap_open_with_the_previous_wrap_too() -> None:
    box = cells(ROTATED)
    wrapped = cells(OLD).new_key(CELL.tenant, CELL.session_id)
    rewrapped = box.rewrap(CELL.tenant, CELL.session_id, wrapped)
    assert rewrapped is not None

    assert box.open(wrapped, CELL, box.seal(rewrapped, CELL, PLAINTEXT)) == PLAINTEXT


def test_a_key_wrapped_by_the_current_key_is_not_rewrapped() -> None:
    box = cells(ROTATED)
    wrapped = box.new_key(CELL.tenant, CELL.session_id)

    assert box.rewrap(CELL.tenant, CELL.session_id, wrapped) is None


def test_another_keyrings_key_with_the_current_number_is_not_current() -> None:
    wrapped = cells(OLD).new_key(CELL.tenant, CELL.session_id)
    assert FOREIGN.current == OLD.current

    with pytest.raises(DataCorrupted, match="does not open with key 1 of the keyring"):
        cells(FOREIGN).rewrap(CELL.tenant, CELL.session_id, wrapped)


@pytest.mark.parametrize("moved", [CELL._replace(tenant="other"), CELL._replace(session_id="s2")])
def test_a_rewrap_does_not_move_a_key_to_another_session(moved: Cell) -> None:
    wrapped = cells(OLD).new_key(CELL.tenant, CELL.session_id)

    with pytest.raises(DataCorrupted):
        cells(ROTATED).rewrap(moved.tenant, moved.session_id, wrapped)


def test_without_the_old_key_everything_is_key_not_available() -> None:
    wrapped = cells(OLD).new_key(CELL.tenant, CELL.session_id)
    sealed = cells(OLD).seal(wrapped, CELL, PLAINTEXT)
    box = cells(WITHOUT_OLD)

    for attempt in every_use(box, wrapped, sealed):
        with pytest.raises(KeyNotAvailable, match="lacks key 1") as caught:
            attempt()
        assert caught.value.metadata == {"key_id": "1"}


def test_a_keyring_with_other_keys_under_the_same_ids_is_data_corrupted() -> None:
    wrapped = cells(OLD).new_key(CELL.tenant, CELL.session_id)
    sealed = cells(OLD).seal(wrapped, CELL, PLAINTEXT)

    for attempt in every_use(cells(keyring(b"z", b"y")), wrapped, sealed):
        with pytest.raises(DataCorrupted) as caught:
            attempt()
        assert caught.value.reason is Reason.DATA_CORRUPTED


def test_errors_reveal_neither_the_place_nor_the_content() -> None:
    wrapped = cells(OLD).new_key(CELL.tenant, CELL.session_id)
    sealed = cells(OLD).seal(wrapped, CELL, PLAINTEXT)
    errors: list[DomainError] = []
    for box, cell in (
        (cells(FOREIGN), CELL),
        (cells(WITHOUT_OLD), CELL),
        (cells(OLD), CELL._replace(row="18")),
    ):
        with pytest.raises((DataCorrupted, KeyNotAvailable)) as caught:
            box.open(wrapped, cell, sealed)
        errors.append(caught.value)

    shown = " ".join(f"{error} {error.metadata}" for error in errors)
    assert not [text for text in ("acme", "s1", "secret") if text in shown]


def test_a_removed_key_is_not_served_from_the_cache() -> None:
    ring = OLD
    box = KeyringCells(lambda: ring)
    wrapped = box.new_key(CELL.tenant, CELL.session_id)
    sealed = box.seal(wrapped, CELL, PLAINTEXT)

    ring = WITHOUT_OLD

    with pytest.raises(KeyNotAvailable):
        box.open(wrapped, CELL, sealed)


def test_more_sessions_than_the_cache_holds_stay_readable() -> None:
    box = KeyringCells(lambda: OLD, cached_keys=2)
    places = [CELL._replace(session_id=f"s{number}") for number in range(6)]
    keys = [box.new_key(cell.tenant, cell.session_id) for cell in places]
    sealed = [box.seal(wrapped, cell, PLAINTEXT) for wrapped, cell in zip(keys, places, strict=True)]

    opened = [box.open(*stored) for stored in zip(keys, places, sealed, strict=True)]

    assert opened == [PLAINTEXT] * len(places)


def test_threads_share_one_instance() -> None:
    box = KeyringCells(lambda: OLD, cached_keys=3)
    start = threading.Barrier(8)

    def work(worker: int) -> None:
        start.wait()
        for number in range(50):
            cell = Cell("acme", f"s{number % 5}", "log", f"{worker}/{number}")
            wrapped = keys[cell.session_id]
            assert box.open(wrapped, cell, box.seal(wrapped, cell, cell.row.encode())) == cell.row.encode()

    keys = {f"s{number}": box.new_key("acme", f"s{number}") for number in range(5)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def test_without_a_keyring_no_encrypted_session_is_created() -> None:
    with pytest.raises(EncryptionNotConfigured, match="SESSIONS_KEYRING") as caught:
        NoKeyring().new_key("acme", "s1")

    assert caught.value.reason is Reason.ENCRYPTION_NOT_CONFIGURED


def test_without_a_keyring_an_encrypted_session_is_key_not_available() -> None:
    wrapped = cells().new_key(CELL.tenant, CELL.session_id)
    sealed = cells().seal(wrapped, CELL, PLAINTEXT)
    box: Cells = NoKeyring()

    for attempt in every_use(box, wrapped, sealed):
        with pytest.raises(KeyNotAvailable, match="SESSIONS_KEYRING"):
            attempt()


def test_a_server_without_the_setting_has_no_keyring() -> None:
    assert isinstance(open_cells(None), NoKeyring)


def test_a_server_with_the_setting_uses_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keyring.json"
    create_keyring(path, now=NOW)
    box = open_cells(path)
    wrapped = box.new_key(CELL.tenant, CELL.session_id)
    sealed = box.seal(wrapped, CELL, PLAINTEXT)
    rotate_keyring(path, now=NOW)

    restarted = open_cells(path)

    rewrapped = restarted.rewrap(CELL.tenant, CELL.session_id, wrapped)
    assert rewrapped is not None
    assert restarted.open(wrapped, CELL, sealed) == restarted.open(rewrapped, CELL, sealed) == PLAINTEXT


def test_a_server_with_an_unusable_keyring_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(SetupError):
        open_cells(tmp_path / "missing.json")
