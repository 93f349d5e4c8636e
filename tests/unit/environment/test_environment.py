"""``LIBPROCESS_*`` variables: names, values, files, negation, and errors that name the variable."""

import pytest

from actorproc.environment import (
    EnvironmentSettings,
    RateLimit,
    child_environment,
    read_environment,
)
from actorproc.errors import ActorprocError, InvalidSetting
from actorproc.transport.tls import CIPHERS_DEFAULT

TLS = {
    "LIBPROCESS_SSL_ENABLED": "true",
    "LIBPROCESS_SSL_CERT_FILE": "/c.pem",
    "LIBPROCESS_SSL_KEY_FILE": "/k.pem",
}


def test_nothing_set_gives_the_defaults():
    settings = read_environment({})
    assert settings == EnvironmentSettings()
    assert (settings.ip, settings.port, settings.advertise_ip) == ("0.0.0.0", 0, None)
    assert settings.metrics_snapshot_endpoint_rate_limit == RateLimit(2, 1.0)
    assert settings.ssl is None


def test_the_process_environment_is_read_by_default(monkeypatch):
    monkeypatch.setenv("LIBPROCESS_PORT", "5051")
    assert read_environment().port == 5051


@pytest.mark.parametrize(
    ("name", "text", "field", "want"),
    [
        ("IP", "10.0.0.7", "ip", "10.0.0.7"),
        ("IP", "0:0::1", "ip", "::1"),
        ("IP6", "2001:db8::1", "ip6", "2001:db8::1"),
        ("PORT", "0", "port", 0),
        ("PORT", "65535", "port", 65535),
        ("ADVERTISE_IP", "1.2.3.4", "advertise_ip", "1.2.3.4"),
        ("ADVERTISE_PORT", "1", "advertise_port", 1),
        ("REQUIRE_PEER_ADDRESS_IP_MATCH", "1", "require_peer_address_ip_match", True),
        ("REQUIRE_PEER_ADDRESS_IP_MATCH", "false", "require_peer_address_ip_match", False),
        ("MEMORY_PROFILING", "true", "memory_profiling", True),
        ("ENABLE_PROFILER", "0", "enable_profiler", False),
        (
            "METRICS_SNAPSHOT_ENDPOINT_RATE_LIMIT",
            "10/1.5mins",
            "metrics_snapshot_endpoint_rate_limit",
            RateLimit(10, 90.0),
        ),
        (
            "METRICS_SNAPSHOT_ENDPOINT_RATE_LIMIT",
            "1/500ms",
            "metrics_snapshot_endpoint_rate_limit",
            RateLimit(1, 0.5),
        ),
        ("METRICS_SNAPSHOT_ENDPOINT_RATE_LIMIT", "", "metrics_snapshot_endpoint_rate_limit", None),
        ("PORT", "", "port", 0),
        ("ENABLE_PROFILER", "", "enable_profiler", False),
        ("NUM_WORKER_THREADS", "many", "port", 0),
        ("LIBEV_NUM_IO_THREADS", "0", "port", 0),
        ("NO_SUCH_THING", "x", "port", 0),
        ("NO-ENABLE_PROFILER", "", "enable_profiler", False),
    ],
)
def test_values(name, text, field, want):
    assert getattr(read_environment({f"LIBPROCESS_{name}": text}), field) == want


@pytest.mark.parametrize(
    ("name", "text", "field", "want"),
    [
        ("SUPPORT_DOWNGRADE", "1", "support_downgrade", True),
        ("VERIFY_SERVER_CERT", "true", "verify_server_cert", True),
        ("VERIFY_CERT", "true", "verify_server_cert", True),
        ("REQUIRE_CLIENT_CERT", "1", "require_client_cert", True),
        ("REQUIRE_CERT", "1", "require_client_cert", True),
        ("VERIFY_IPADD", "1", "verify_ipadd", True),
        ("VERIFICATION_DEPTH", "9", "verification_depth", 9),
        ("VERIFY_DEPTH", "9", "verification_depth", 4),  # documented once, read nowhere
        ("CA_DIR", "/ca", "ca_dir", "/ca"),
        ("CA_FILE", "file:///ca.pem", "ca_file", "/ca.pem"),
        ("CIPHERS", "AES128-SHA", "ciphers", "AES128-SHA"),
        ("CIPHERS", "", "ciphers", CIPHERS_DEFAULT),
        ("ECDH_CURVES", "P-384", "ecdh_curves", "P-384"),
        ("HOSTNAME_VALIDATION_SCHEME", "openssl", "hostname_validation_scheme", "openssl"),
        ("ENABLE_SSL_V3", "1", "enable_ssl_v3", True),
        ("ENABLE_TLS_V1_0", "1", "enable_tls_v1_0", True),
        ("ENABLE_TLS_V1_1", "1", "enable_tls_v1_1", True),
        ("ENABLE_TLS_V1_2", "0", "enable_tls_v1_2", False),
        ("ENABLE_TLS_V1_3", "1", "enable_tls_v1_3", True),
    ],
)
@pytest.mark.parametrize("prefix", ["LIBPROCESS_SSL_", "SSL_"])
def test_tls_values_under_the_new_and_the_old_prefix(prefix, name, text, field, want):
    settings = read_environment({**TLS, f"{prefix}{name}": text})
    assert getattr(settings.ssl, field) == want


def test_tls_needs_to_be_enabled():
    assert read_environment({"LIBPROCESS_SSL_CERT_FILE": "/c.pem"}).ssl is None
    settings = read_environment(TLS).ssl
    assert (settings.cert_file, settings.key_file) == ("/c.pem", "/k.pem")
    assert settings.enable_tls_v1_2
    assert not settings.enable_tls_v1_3


def test_documented_names_that_were_never_read_are_warned_of(caplog):
    read_environment({"LIBPROCESS_SSL_VERIFY_DEPTH": "9"})
    assert "LIBPROCESS_SSL_VERIFICATION_DEPTH" in caplog.text


@pytest.mark.parametrize("key", ["libprocess_port", "LibProcess_Port", "LIBPROCESS_port"])
def test_names_have_no_case(key):
    assert read_environment({key: "7"}).port == 7


def test_the_own_prefix_wins():
    assert read_environment({"LIBPROCESS_PORT": "1", "ACTORPROC_PORT": "2"}).port == 2
    old_and_new = {**TLS, "SSL_VERIFY_IPADD": "1", "LIBPROCESS_SSL_VERIFY_IPADD": "0"}
    assert read_environment(old_and_new).ssl.verify_ipadd is False
    old_and_new = {**TLS, "LIBPROCESS_SSL_VERIFY_CERT": "1"}
    old_and_new["LIBPROCESS_SSL_VERIFY_SERVER_CERT"] = "0"
    assert read_environment(old_and_new).ssl.verify_server_cert is False


def test_only_tls_is_read_without_a_prefix():
    assert read_environment({"PORT": "7", "IP": "1.2.3.4", "ENABLE_PROFILER": "1"}) == (
        EnvironmentSettings()
    )


def test_values_from_files(tmp_path):
    (tmp_path / "port").write_text("5052\n")
    assert read_environment({"LIBPROCESS_PORT": f"file://{tmp_path}/port"}).port == 5052


def test_a_negated_switch_is_false():
    assert read_environment({**TLS, "LIBPROCESS_NO-SSL_ENABLE_TLS_V1_2": ""}).ssl == (
        read_environment({**TLS, "LIBPROCESS_SSL_ENABLE_TLS_V1_2": "false"}).ssl
    )


@pytest.mark.parametrize(
    ("key", "text", "rule"),
    [
        ("LIBPROCESS_IP", "localhost", "numeric IPv4 (or IPv6) address, not 'localhost'"),
        ("LIBPROCESS_IP", "fe80::1%eth0", "no zone"),
        ("LIBPROCESS_IP6", "1.2.3.4", "IPv6 address, not '1.2.3.4'"),
        ("LIBPROCESS_PORT", "65536", "from 0 to 65535, not '65536'"),
        ("LIBPROCESS_PORT", "-1", "from 0 to 65535"),
        ("LIBPROCESS_PORT", "12abc", "from 0 to 65535"),
        ("LIBPROCESS_PORT", " 1", "from 0 to 65535"),
        ("LIBPROCESS_PORT", "١", "from 0 to 65535"),
        ("LIBPROCESS_ADVERTISE_PORT", "0", "from 1 to 65535"),
        ("LIBPROCESS_ADVERTISE_IP", "1.2.3", "numeric"),
        ("LIBPROCESS_ENABLE_PROFILER", "yes", "true, false, 1 or 0, not 'yes'"),
        ("LIBPROCESS_ENABLE_PROFILER", "True", "true, false, 1 or 0"),
        ("LIBPROCESS_NO-ENABLE_PROFILER", "true", "must be empty, not 'true'"),
        ("LIBPROCESS_NO-PORT", "", "only switches can be negated"),
        ("LIBPROCESS_METRICS_SNAPSHOT_ENDPOINT_RATE_LIMIT", "2", "like 2/1secs, not '2'"),
        ("LIBPROCESS_METRICS_SNAPSHOT_ENDPOINT_RATE_LIMIT", "0/1secs", "above zero"),
        ("LIBPROCESS_METRICS_SNAPSHOT_ENDPOINT_RATE_LIMIT", "2/0secs", "above zero"),
        ("LIBPROCESS_METRICS_SNAPSHOT_ENDPOINT_RATE_LIMIT", "2/1s", "like 2/1secs"),
        ("LIBPROCESS_SSL_ENABLED", "on", "true, false, 1 or 0"),
        ("SSL_ENABLED", "on", "true, false, 1 or 0"),
        ("LIBPROCESS_SSL_VERIFICATION_DEPTH", "101", "from 0 to 100"),
        ("LIBPROCESS_SSL_HOSTNAME_VALIDATION_SCHEME", "dns", "legacy or openssl, not 'dns'"),
        ("LIBPROCESS_PORT", "file:///no/such/file", "cannot be read"),
    ],
)
def test_errors_name_the_variable_and_the_rule(key, text, rule):
    with pytest.raises(InvalidSetting) as refused:
        read_environment({key: text})
    assert refused.value.name == key
    assert rule in str(refused.value)
    assert str(refused.value).startswith(f"{key}: ")
    assert isinstance(refused.value, ActorprocError)


def test_errors_in_files_name_the_variable(tmp_path):
    contents = {b"many": "not 'many'", b"\xff": "cannot be read", b"1" * 70_000: "is longer than"}
    for content, rule in contents.items():
        (tmp_path / "value").write_bytes(content)
        with pytest.raises(InvalidSetting, match=rule) as refused:
            read_environment({"LIBPROCESS_PORT": f"file://{tmp_path}/value"})
        assert refused.value.name == "LIBPROCESS_PORT"


@pytest.mark.parametrize("missing", ["LIBPROCESS_SSL_CERT_FILE", "LIBPROCESS_SSL_KEY_FILE"])
def test_tls_without_certificate_or_key(missing):
    environ = {key: text for key, text in TLS.items() if key != missing}
    with pytest.raises(InvalidSetting, match=f"{missing}: must be set"):
        read_environment(environ)


@pytest.mark.parametrize(
    ("one", "other"),
    [("LIBPROCESS_PORT", "libprocess_port"), ("LIBPROCESS_PORT", "Libprocess_PORT")],
)
def test_a_variable_given_twice_must_say_the_same(one, other):
    assert read_environment({one: "7", other: "7"}).port == 7
    with pytest.raises(InvalidSetting, match="contradicts"):
        read_environment({one: "7", other: "8"})


def test_a_switch_and_its_negation_contradict():
    with pytest.raises(InvalidSetting, match="contradicts"):
        read_environment({"LIBPROCESS_ENABLE_PROFILER": "", "LIBPROCESS_NO-ENABLE_PROFILER": ""})


def test_a_child_does_not_take_the_port_of_its_parent():
    parent = {
        "PATH": "/bin",
        "LIBPROCESS_IP": "10.0.0.1",
        "LIBPROCESS_PORT": "5051",
        "libprocess_advertise_port": "80",
        "ACTORPROC_PORT": "5052",
        "PORT": "kept",
        "LIBPROCESS_SSL_ENABLED": "1",
    }
    assert child_environment(parent) == {
        "PATH": "/bin",
        "LIBPROCESS_IP": "10.0.0.1",
        "LIBPROCESS_PORT": "0",
        "PORT": "kept",
        "LIBPROCESS_SSL_ENABLED": "1",
    }
    child = child_environment({**parent, "LIBPROCESS_ADVERTISE_IP": "1.1.1.1"}, ip="10.0.0.2")
    assert read_environment({**child, "LIBPROCESS_SSL_ENABLED": "0"}) == EnvironmentSettings(
        ip="10.0.0.2", port=0
    )
