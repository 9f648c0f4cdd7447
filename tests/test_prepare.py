"""What must be there before a server can start."""

import os
import secrets
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from watchword.server.config import Config, Secret
from watchword.server.prepare import PreparationError, load_keyring, prepare, write_secret
from watchword.server.sealing import Keyring


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder outside pytest's own: each run of pytest by root closes that to the account of PostgreSQL."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_start_makes_everything_and_the_second_finds_it(tmp_path):
    config = Config(data_dir=tmp_path / "new" / "data")
    with prepare(config) as first:
        sealed = first.keyring.sealer("test").seal(b"value", context="here")
        with psycopg.connect(first.database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    master_key = config.data_dir / "master.key"
    assert _mode(master_key) == 0o600
    # As root the database's own account must pass through; nobody gets to list it.
    assert _mode(config.data_dir) == (0o701 if os.geteuid() == 0 else 0o700)
    before = master_key.read_bytes()
    with prepare(config) as second:
        assert second.keyring.sealer("test").open(sealed, context="here") == b"value"
    assert master_key.read_bytes() == before
    assert sorted(path.name for path in config.data_dir.iterdir()) == ["master.key", "postgres"]


def test_a_lost_master_key_is_not_replaced(tmp_path):
    config = Config(data_dir=tmp_path)
    (tmp_path / "postgres" / "data").mkdir(parents=True)
    with pytest.raises(PreparationError, match="Restore it from a backup"), prepare(config):
        pass
    assert not (tmp_path / "master.key").exists()


def test_with_another_database_a_master_key_is_required(tmp_path):
    config = Config(database_url=Secret("postgresql://elsewhere/db"), data_dir=tmp_path / "data")
    with pytest.raises(PreparationError, match="`watchword generate-master-key`"), prepare(config):
        pass
    assert not config.data_dir.exists()


def test_another_database_is_used_as_it_is(tmp_path):
    entry = Keyring.generate(secrets.token_bytes)
    config = Config(
        database_url=Secret("postgresql://elsewhere/db"), data_dir=tmp_path / "data", master_key=Secret(entry)
    )
    with prepare(config) as prepared:
        assert prepared.database_url == "postgresql://elsewhere/db"
    assert not config.data_dir.exists()


def test_master_keys_from_a_file(tmp_path):
    file = tmp_path / "keys"
    with pytest.raises(PreparationError, match=r"keys.*No such file"):
        load_keyring(Config(master_key_file=file))
    file.write_text("\n".join(Keyring.generate(secrets.token_bytes) for _ in range(2)) + "\n")
    load_keyring(Config(master_key_file=file))
    file.write_bytes(b"\xff")
    with pytest.raises(PreparationError, match="no text"):
        load_keyring(Config(master_key_file=file))


@pytest.mark.parametrize("text", ["", "hunter2", "id:hunter2hunter2"])
def test_a_bad_master_key_is_refused_without_being_shown(text):
    with pytest.raises(PreparationError, match="WATCHWORD_MASTER_KEY") as caught:
        load_keyring(Config(master_key=Secret(text)))
    assert "hunter2" not in str(caught.value)


def test_several_first_starts_at_once_agree_on_one_master_key(tmp_path):
    keyrings: list[Keyring] = []
    at_once = threading.Barrier(8)

    def load() -> None:
        at_once.wait()
        keyrings.append(load_keyring(Config(data_dir=tmp_path)))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({repr(keyring) for keyring in keyrings}) == 1
    assert len(keyrings) == 8
    assert [path.name for path in tmp_path.iterdir()] == ["master.key"]


def test_a_secret_is_never_readable_by_others_even_for_a_moment(tmp_path):
    file = tmp_path / "secret"
    before = os.umask(0)
    try:
        write_secret(file, "first", replace=False)
        with pytest.raises(FileExistsError):
            write_secret(file, "second", replace=False)
        file.chmod(0o644)
        write_secret(file, "third", replace=True)
    finally:
        os.umask(before)
    assert file.read_text() == "third\n"
    assert _mode(file) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_data_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PreparationError, match="WATCHWORD_DATA_DIR"), prepare(Config(data_dir=tmp_path / "file")):
        pass
