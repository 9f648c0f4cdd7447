"""Settings: read once, refused when wrong, and never shown when secret."""

from datetime import timedelta
from pathlib import Path

import pytest

from watchword.server.config import SETTINGS, Config, ConfigError, Secret, load


def test_defaults():
    assert load({"PATH": "/bin", "WATCHWORD_API_KEY": "for the client"}) == Config()


def test_every_setting_fills_a_field_and_says_what_it_means():
    for name, setting in SETTINGS.items():
        assert hasattr(Config(), setting.field), name
        assert setting.meaning, name


def test_values_are_read():
    config = load(
        {
            "WATCHWORD_LISTEN": "[::1]:0",
            "WATCHWORD_ACCESS_TOKEN_SECONDS": "60",
            "WATCHWORD_REFLECTION": "false",
            "WATCHWORD_TLS_CERT_FILE": "/c.pem",
            "WATCHWORD_TLS_KEY_FILE": "/k.pem",
            "WATCHWORD_MASTER_KEY": "",
        }
    )
    assert config.listen == "[::1]:0"
    assert config.access_token_lifetime == timedelta(minutes=1)
    assert config.reflection is False
    assert config.tls is not None
    assert config.tls.certificate_file == Path("/c.pem")
    assert config.master_key is None


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({"WATCHWORD_LISTN": "x"}, "WATCHWORD_LISTN"),
        ({"WATCHWORD_LISTEN": "7420"}, "WATCHWORD_LISTEN"),
        ({"WATCHWORD_LISTEN": "localhost:99999"}, "WATCHWORD_LISTEN"),
        ({"WATCHWORD_POOL_SIZE": "1"}, "WATCHWORD_POOL_SIZE"),
        ({"WATCHWORD_POOL_SIZE": "٣"}, "WATCHWORD_POOL_SIZE"),
        ({"WATCHWORD_REFLECTION": "maybe"}, "WATCHWORD_REFLECTION"),
        ({"WATCHWORD_LOG_FORMAT": "xml"}, "WATCHWORD_LOG_FORMAT"),
        ({"WATCHWORD_TLS_CERT_FILE": "/c.pem"}, "WATCHWORD_TLS_KEY_FILE"),
        ({"WATCHWORD_MASTER_KEY": "a", "WATCHWORD_MASTER_KEY_FILE": "b"}, "not both"),
        ({"WATCHWORD_SESSION_SECONDS": "60"}, "WATCHWORD_SESSION_IDLE_SECONDS"),
        ({"WATCHWORD_LISTEN": "0.0.0.0:7420"}, "WATCHWORD_TLS_CERT_FILE"),
        ({"WATCHWORD_LISTEN": "[::]:7420"}, "WATCHWORD_INSECURE"),
        ({"WATCHWORD_ARGON2_MEMORY_KIB": "1024"}, "WATCHWORD_ARGON2"),
    ],
)
def test_what_is_wrong_is_named(environment, names):
    with pytest.raises(ConfigError, match=names):
        load(environment)


def test_plain_text_beyond_this_machine_needs_two_words_or_tls():
    assert load({"WATCHWORD_LISTEN": "0.0.0.0:7420", "WATCHWORD_INSECURE": "true"}).insecure
    assert load(
        {
            "WATCHWORD_LISTEN": "0.0.0.0:7420",
            "WATCHWORD_TLS_CERT_FILE": "/c.pem",
            "WATCHWORD_TLS_KEY_FILE": "/k.pem",
        }
    ).tls


def test_secrets_are_not_shown():
    config = load({"WATCHWORD_MASTER_KEY": "canary", "WATCHWORD_DATABASE_URL": "postgresql://u:canary@db/w"})
    assert "canary" not in repr(config)
    assert "canary" not in str(config.master_key)
    assert config.master_key == Secret("canary")
    assert config.master_key.reveal() == "canary"
    with pytest.raises(ConfigError) as caught:
        load({"WATCHWORD_MASTER_KEY": "canary", "WATCHWORD_MASTER_KEY_FILE": "canary"})
    assert "canary" not in str(caught.value)


def test_a_file_says_the_same_and_the_environment_wins(tmp_path):
    file = tmp_path / "watchword.toml"
    file.write_text('listen = "[::1]:0"\npool_size = 4\nreflection = false\n')
    config = load({"WATCHWORD_CONFIG_FILE": str(file), "WATCHWORD_POOL_SIZE": "5"})
    assert (config.listen, config.pool_size, config.reflection) == ("[::1]:0", 5, False)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('listn = "x"', "listn"),
        ('LISTEN = "127.0.0.1:1"', "LISTEN"),
        ('listen = ["x"]', "listen"),
        ("pool_size = 1.5", "pool_size"),
        ("pool_size = 1", "WATCHWORD_POOL_SIZE"),
        ("[server]", "server"),
        ('config_file = "x"', "config_file"),
        ("listen", "TOML"),
        ("listen = '\udcff'", "TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, text, names):
    file = tmp_path / "watchword.toml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=names):
        load({"WATCHWORD_CONFIG_FILE": str(file)})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"watchword\.toml cannot be read"):
        load({"WATCHWORD_CONFIG_FILE": str(tmp_path / "watchword.toml")})
