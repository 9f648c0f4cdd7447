"""Every request is accepted unchanged or refused with all that is wrong with it, and never with what it holds."""

# ruff: noqa: RUF001  (other scripts are the point)

import math
import unicodedata
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from watchword.server import validation
from watchword.server.app import services
from watchword.server.errors import FieldOutputOnly, InvalidField, UnknownField
from watchword.server.validation import Validators, mask_paths, normalize_email, normalize_username, require_uuid
from watchword.v1 import (
    credentials_pb2,
    options_pb2,
    organizations_pb2,
    permissions_pb2,
    relationships_pb2,
    service_accounts_pb2,
    sessions_pb2,
    sign_in_pb2,
    users_pb2,
)

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
UUID = "0191b0d8-8f7c-7c3e-9b43-5bd2b5a4a1c2"
REQUESTS = [message_factory.GetMessageClass(method.input_type) for service in services() for method in service.methods]

any_text = st.text(st.characters(exclude_categories=["Cs"]))


def violations(message, validators=None):
    validate = (validators or Validators()).validator_for(message.DESCRIPTOR)
    before = message.SerializeToString(deterministic=True)
    try:
        validate(message)
    except InvalidField as error:
        return dict(error.violations)
    finally:
        assert message.SerializeToString(deterministic=True) == before
    return {}


def user_violations(**fields):
    return violations(users_pb2.CreateUserRequest(user=users_pb2.User(**fields)))


def accepts(field, value):
    return not user_violations(**{field: value})


class TestPaths:
    def test_all_violations_are_reported_with_their_paths(self):
        request = users_pb2.CreateUserRequest(
            user=users_pb2.User(email="no address", username="a@b", display_name="line\nfeed", locale="ä"),
            password="x" * 4097,
            request_id=UUID.upper(),
        )
        assert set(violations(request)) == {
            "user.email",
            "user.username",
            "user.display_name",
            "user.locale",
            "password",
            "request_id",
        }

    def test_items_have_their_index(self):
        request = service_accounts_pb2.CreateKeyRequest(
            service_account_id="billing", permissions=["read_users", "", "with space", "ok"]
        )
        assert violations(request) == {
            "permissions[1]": "must not be empty",
            "permissions[2]": "must be printable ASCII without spaces",
        }

    def test_at_most_twenty(self):
        request = users_pb2.BatchGetUsersRequest(user_ids=["x"] * 1000)
        assert list(violations(request)) == [f"user_ids[{index}]" for index in range(20)]
        request = service_accounts_pb2.CreateKeyRequest(display_name="\n", permissions=[" "] * 64)
        assert len(violations(request)) == 20
        request = permissions_pb2.BatchCheckRequest(items=[{}] * 1000)
        assert len(violations(request)) == 20

    def test_messages_in_messages_in_lists(self):
        whole = {"subject": "user:ana", "relation": "member", "object": "organization:acme"}
        items = [
            whole,
            {**whole, "relation": ""},
            {**whole, "contextual_relationships": [whole, {**whole, "condition": {"context": {"a": math.nan}}}]},
        ]
        assert violations(permissions_pb2.BatchCheckRequest(items=items)) == {
            "items[1].relation": "is required",
            "items[2].contextual_relationships[1].condition.name": "is required",
            "items[2].contextual_relationships[1].condition.context": "must have finite numbers only",
        }
        write = {"preconditions": [{"filter": {}}, {"kind": 3, "filter": {"object": "\n"}}, {"kind": 1}]}
        assert list(violations(relationships_pb2.WriteRelationshipsRequest(**write))) == [
            "preconditions[0].kind",
            "preconditions[1].kind",
            "preconditions[1].filter.object",
            "preconditions[2].filter",
        ]

    def test_a_field_that_was_not_chosen_is_not_looked_at(self):
        consistency = permissions_pb2.Consistency
        request = permissions_pb2.BatchCheckRequest(items=[{"subject": "a", "relation": "b", "object": "c"}])
        for choice in (consistency(), consistency(full=False), consistency(at_least="x.1")):
            request.consistency.CopyFrom(choice)
            assert violations(request) == {}
        request.consistency.at_least = "x 1"
        assert list(violations(request)) == ["consistency.at_least"]

    def test_required(self):
        assert violations(users_pb2.CreateUserRequest()) == {"user": "is required"}
        assert violations(users_pb2.CreateUserRequest(user=users_pb2.User())) == {}
        assert violations(users_pb2.BatchGetUsersRequest()) == {"user_ids": "is required"}
        assert violations(service_accounts_pb2.CreateServiceAccountRequest(service_account={})) == {
            "service_account.service_account_id": "is required"
        }
        assert violations(credentials_pb2.ChangePasswordRequest()) == {
            "user_id": "is required",
            "current_password": "is required",
            "new_password": "is required",
        }

    def test_sizes(self):
        assert violations(users_pb2.BatchGetUsersRequest(user_ids=[UUID] * 1000)) == {}
        assert violations(users_pb2.BatchGetUsersRequest(user_ids=[UUID] * 1001)) == {
            "user_ids": "must have at most 1000 items"
        }
        assert accepts("display_name", "x" * 512)
        assert accepts("display_name", "é" * 256)
        assert not accepts("display_name", "x" * 513)
        assert not accepts("display_name", "é" * 256 + "x")
        assert not accepts("display_name", "🦊" * 129)

    def test_output_only_fields_are_not_looked_at(self):
        assert (
            user_violations(
                user_id="not a uuid\0" * 500,
                status=99,
                create_time=Timestamp(seconds=2**62, nanos=-1),
                delete_time=Timestamp(nanos=2**31 - 1),
            )
            == {}
        )

    def test_every_request_type_compiles_and_validators_are_kept(self):
        validators = Validators()
        for request in REQUESTS:
            validate = validators.validator_for(request.DESCRIPTOR)
            assert validators.validator_for(request.DESCRIPTOR) is validate
            violations(request(), validators)

    def test_require_uuid(self):
        require_uuid("user.user_id", UUID)
        for wrong in ("", UUID.upper(), UUID + "\n"):
            with pytest.raises(InvalidField) as caught:
                require_uuid("user.user_id", wrong)
            assert caught.value.violations[0][0] == "user.user_id"


class TestFormats:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("display_name", "Žofie \u200fالعربية\u200e 🦊 \u2028 \ufffd \ue000"),
            ("display_name", "e\u0301 is not NFC"),
            ("external_id", " leading and trailing "),
            ("email", "ana@example.com"),
            ("email", "ANA+Tag@Example.COM"),
            ("email", "ana@corp.internal"),
            ("email", "a@b.test"),
            ("email", "ana@corp.local"),
            ("email", "ana@localhost"),
            ("email", "o'brien_{x}@sub.a-b.example"),
            ("email", "用户@例え.jp"),
            ("email", "ana@xn--r8jz45g.jp"),
            ("email", "e\u0301va@example.com"),
            ("email", "a" * 64 + "@" + "b" * 63 + "." + "c" * 63 + "." + "d" * 61),
            ("username", "ana"),
            ("username", "Ana.Silva_1+x-y"),
            ("username", "жанна"),
            ("username", "स्मिता"),
            ("username", "x" * 64),
            ("locale", "pt-BR"),
            ("locale", "zh-Hant-TW"),
            ("locale", "x-private"),
        ],
    )
    def test_accepted(self, field, value):
        assert user_violations(**{field: value}) == {}

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("display_name", "nul\0"),
            ("display_name", "tab\t"),
            ("display_name", "line\n"),
            ("display_name", "del\x7f"),
            ("display_name", "next line\x85"),
            ("display_name", "\ufdd0"),
            ("display_name", "\uffff"),
            ("display_name", "\U0010fffe"),
            ("email", "ana"),
            ("email", "@"),
            ("email", "ana@"),
            ("email", "@example.com"),
            ("email", "ana@example.com."),
            ("email", "ana@@example.com"),
            ("email", "ana@exa mple.com"),
            ("email", " ana@example.com"),
            ("email", "ana@example.com\n"),
            ("email", "ana\0@example.com"),
            ("email", "Ana <ana@example.com>"),
            ("email", "<ana@example.com>"),
            ("email", '"a b"@example.com'),
            ("email", "ana(comment)@example.com"),
            ("email", "ana@[127.0.0.1]"),
            ("email", "ana@[IPv6:::1]"),
            ("email", "ana@-example.com"),
            ("email", "ana@example..com"),
            ("email", "ana@xn--a.com"),
            ("email", "\u202eana@example.com"),
            ("email", "a" * 65 + "@example.com"),
            ("email", "ana@" + "b" * 64 + ".com"),
            ("email", "a" * 64 + "@" + "b" * 63 + "." + "c" * 63 + "." + "d" * 62),
            ("username", "ana@example.com"),
            ("username", "ana silva"),
            ("username", "ana/silva"),
            ("username", "ana\u200bsilva"),
            ("username", "½"),
            ("username", "\ufdfa"),
            ("username", "\uff20"),
            ("username", "x" * 65),
            ("locale", "pt_BR"),
            ("locale", "-pt"),
            ("locale", "pt-"),
            ("locale", "pt-toolongsubtag"),
            ("locale", "dé"),
            ("locale", "de\n"),
        ],
    )
    def test_refused(self, field, value):
        found = user_violations(**{field: value})
        # The same words as for any other bad value: none of it is repeated.
        assert found in (user_violations(**{field: "\x01"}), user_violations(**{field: "x" * 999}))

    @pytest.mark.parametrize("value", ["billing", "web-shop", "a", "a1", "a" * 63, "a-1-b"])
    def test_slug_accepted(self, value):
        assert violations(service_accounts_pb2.GetServiceAccountRequest(service_account_id=value)) == {}

    @pytest.mark.parametrize("value", ["Billing", "1a", "-a", "a-", "a--b", "a_b", "a.b", "ä", "a b", "a\n", "a" * 64])
    def test_slug_refused(self, value):
        assert violations(service_accounts_pb2.GetServiceAccountRequest(service_account_id=value))

    @pytest.mark.parametrize(
        "value",
        [
            "",
            UUID.upper(),
            UUID.replace("-", ""),
            "{" + UUID + "}",
            "urn:uuid:" + UUID,
            UUID[:-1],
            UUID + "0",
            UUID + "\n",
            " " + UUID,
            UUID.replace("0", "٠"),
            "g" + UUID[1:],
        ],
    )
    def test_uuid_is_canonical(self, value):
        assert violations(users_pb2.GetUserRequest(user_id=value)) == {
            "user_id": "must be a UUID: 36 characters, lower case, with hyphens"
        }
        assert violations(users_pb2.GetUserRequest(user_id=UUID)) == {}

    @pytest.mark.parametrize("value", ["127.0.0.1", "::1", "2001:db8::ff00:42:8329", "::ffff:192.0.2.1"])
    def test_ip_address_accepted(self, value):
        assert violations(sessions_pb2.RefreshSessionRequest(refresh_token="t", device={"ip_address": value})) == {}

    @pytest.mark.parametrize(
        "value", ["localhost", "1.2.3", "01.2.3.4", "1.2.3.4:80", "[::1]", "fe80::1%eth0", "::1\n"]
    )
    def test_ip_address_refused(self, value):
        found = violations(sessions_pb2.RefreshSessionRequest(refresh_token="t", device={"ip_address": value}))
        assert list(found) == ["device.ip_address"]

    @pytest.mark.parametrize(
        "value",
        ["acme", "0", "A-Z_a|b@c.d+e/f-g", "a*", "-", "/", "..", "x" * 128, "01890a5d-ac96-774b-bcce-b302099a8057"],
    )
    def test_object_id_accepted(self, value):
        assert violations(organizations_pb2.GetOrganizationRequest(organization_id=value)) == {}

    @pytest.mark.parametrize(
        "value",
        [
            *("*", "*a", "a b", " a", "a\n", "\n", "a:b", "a#b", "a%b", "a~b", "a=b", "a,b", "a\\b", "(a)", '"', "\0"),
            *("ä", "٠", "ａ", "a\u200b", "a\u0301", "\U0001f40e", "\ud7ff", "x" * 129, "x" * 1000),
        ],
    )
    def test_object_id_refused(self, value):
        assert list(violations(organizations_pb2.GetOrganizationRequest(organization_id=value))) == ["organization_id"]

    @pytest.mark.parametrize("field", ["dsl", "openfga_json"])
    def test_text_of_several_lines(self, field):
        def found(text):
            return list(violations(permissions_pb2.WriteModelRequest(**{field: text})))

        for text in ("", "a\nb", "a\r\nb", "\ta", "\n" * 1000, "Žofie \u200fالعربية\u200e 🦊 \u2028 \ufffd"):
            assert found(text) == []
        controls = [chr(sign) for sign in (*range(0x20), *range(0x7F, 0xA0)) if chr(sign) not in "\t\n\r"]
        for sign in (*controls, "\ufdd0", "\uffff", "\U0010fffe"):
            assert found(f"a{sign}b\n") == [field]

    def test_text_of_several_lines_has_a_limit(self):
        for field, limit in (("dsl", 262_144), ("openfga_json", 1_048_576)):
            request = permissions_pb2.WriteModelRequest(**{field: "\n" * limit})
            assert violations(request) == {}
            for text in ("\n" * (limit + 1), "é" * (limit // 2) + "x"):
                request = permissions_pb2.WriteModelRequest(**{field: text})
                assert violations(request) == {field: f"must have at most {limit} bytes"}

    def test_passwords_hold_anything(self):
        everything = "".join(map(chr, [*range(0x20), 0x7F, 0x85, 0xFDD0, 0xFFFF, 0x10FFFF, 0x200B]))
        assert violations(sign_in_pb2.StartSignInRequest(identifier="ana", password=everything)) == {}

    def test_opaque(self):
        printable = "".join(map(chr, range(0x21, 0x7F)))
        assert violations(users_pb2.ListUsersRequest(page_token=printable)) == {}
        for wrong in (" ", "a\n", "\x7f", "é", "\0"):
            assert list(violations(users_pb2.ListUsersRequest(page_token=wrong))) == ["page_token"]


class TestRandomText:
    """Every text field takes every string unchanged or refuses it; `violations` compares before and after."""

    @given(any_text)
    def test_any_string_anywhere(self, text):
        self.try_everywhere(text)

    @given(st.emails() | st.from_regex(r"\A[^@\ud800-\udfff]{1,9}@[^@\ud800-\udfff]{1,12}\Z"))
    def test_nearly_addresses(self, text):
        if accepts("email", text):
            key = normalize_email(text)
            assert normalize_email(key) == key
            assert key.rpartition("@")[2].isascii()

    def test_naughty_strings(self):
        path = CORPORA / "naughty-strings.txt"
        if not path.exists():
            pytest.skip("no corpora beside the project")
        for line in path.read_text(encoding="utf-8").split("\n"):
            self.try_everywhere(line)

    validators = Validators()

    def try_everywhere(self, text):
        for request in REQUESTS:
            self.try_message(request(), text)
        attributes = Struct()
        attributes.update({text: [text]})
        user_violations(attributes=attributes)

    def try_message(self, message, text):
        for field in message.DESCRIPTOR.fields:
            if field.type == field.TYPE_STRING:
                value = [text] if field.is_repeated else text
                found = violations(type(message)(**{field.name: value}), self.validators)
                described = [words for path, words in found.items() if path.startswith(field.name)]
                # Short strings stand in any description by chance.
                assert not any(len(text) > 12 and text in words for words in described)
            elif field.message_type is not None and field.message_type.file.package == "watchword.v1":
                self.try_message(message_factory.GetMessageClass(field.message_type)(), text)

    @given(st.sampled_from(REQUESTS), st.binary(max_size=60))
    def test_any_bytes_that_parse(self, request_type, data):
        try:
            message = request_type.FromString(data)
        except Exception:  # noqa: BLE001  (not a message: not validated)
            return
        violations(message, self.validators)


class TestEnumsAndTimes:
    def test_enums_in_filters(self):
        def found(*statuses):
            return list(violations(users_pb2.ListUsersRequest(filter=users_pb2.UserFilter(statuses=statuses))))

        assert found(1, 2, 3) == []
        assert found(1, 0) == ["filter.statuses[1]"]
        assert found(4) == ["filter.statuses[0]"]
        assert found(-1) == ["filter.statuses[0]"]
        assert found(1, 2, 3, 1) == ["filter.statuses"]

    @pytest.mark.parametrize(
        ("seconds", "nanos", "good"),
        [
            (0, 0, True),
            (-62135596800, 0, True),
            (253402300799, 999_999_999, True),
            (-62135596801, 0, False),
            (253402300800, 0, False),
            (2**63 - 1, 0, False),
            (-(2**63), 0, False),
            (0, -1, False),
            (0, 1_000_000_000, False),
            (0, 2**31 - 1, False),
        ],
    )
    def test_timestamps(self, seconds, nanos, good):
        time = Timestamp(seconds=seconds, nanos=nanos)
        found = violations(users_pb2.ListUsersRequest(filter=users_pb2.UserFilter(create_time_from=time)))
        assert list(found) == ([] if good else ["filter.create_time_from"])

    @pytest.mark.parametrize(
        ("seconds", "nanos", "good"),
        [
            (0, 0, True),
            (-5, -1, True),
            (0, -1, True),
            (315_576_000_000, 0, True),
            (315_576_000_001, 0, False),
            (-(2**63), 0, False),
            (1, -1, False),
            (-1, 1, False),
            (0, 1_000_000_000, False),
        ],
    )
    def test_durations(self, seconds, nanos, good):
        overlap = Duration(seconds=seconds, nanos=nanos)
        found = violations(service_accounts_pb2.RotateKeyRequest(key_id=UUID, overlap=overlap))
        assert list(found) == ([] if good else ["overlap"])


class TestMasks:
    def test_bounds(self):
        def found(*paths):
            request = users_pb2.UpdateUserRequest(user=users_pb2.User(), update_mask=FieldMask(paths=paths))
            return list(violations(request))

        assert found(*["email"] * 100) == []
        assert found(*["email"] * 101) == ["update_mask"]
        assert found("x" * 257) == ["update_mask"]
        assert found("nul\0") == ["update_mask"]

    def test_paths(self):
        user = users_pb2.User.DESCRIPTOR
        assert mask_paths(FieldMask(), user) == []
        assert mask_paths(FieldMask(paths=["locale", "email", "locale"]), user) == ["locale", "email"]

    @pytest.mark.parametrize("path", ["", "*", "nope", "attributes.x", "displayName", "user.email", "email "])
    def test_unknown_paths(self, path):
        with pytest.raises(UnknownField) as caught:
            mask_paths(FieldMask(paths=["email", path]), users_pb2.User.DESCRIPTOR)
        assert caught.value.metadata == {"field": path}

    @pytest.mark.parametrize("path", ["user_id", "status", "create_time", "update_time", "delete_time"])
    def test_output_only_paths(self, path):
        with pytest.raises(FieldOutputOnly) as caught:
            mask_paths(FieldMask(paths=["email", path]), users_pb2.User.DESCRIPTOR)
        assert caught.value.metadata == {"field": path}


def struct(content):
    attributes = Struct()
    attributes.update(content)
    return attributes


def nested(levels):
    """An object of so many levels, objects and lists in turn."""
    value = Value(number_value=1)
    for level in range(levels, 1, -1):
        outer = Value()
        if level % 2:
            outer.struct_value.fields["x"].CopyFrom(value)
        else:
            outer.list_value.values.add().CopyFrom(value)
        value = outer
    return Struct(fields={"x": value})


class TestAttributes:
    def test_size_is_that_of_compact_json(self):
        overhead = len('{"x":""}')
        assert accepts("attributes", struct({"x": "y" * (16_384 - overhead)}))
        assert not accepts("attributes", struct({"x": "y" * (16_385 - overhead)}))
        assert not accepts("attributes", struct({"x": "é" * 8_189}))
        assert accepts("attributes", struct({"x": "é" * 8_188}))
        zeros = (16_384 - len('{"x":[]}') + 1) // 2
        assert accepts("attributes", struct({"x": [0] * zeros}))
        assert not accepts("attributes", struct({"x": [0] * (zeros + 1)}))
        assert not accepts("attributes", struct({"x": "y" * 1_000_000}))

    def test_depth(self):
        assert accepts("attributes", nested(16))
        assert not accepts("attributes", nested(17))
        assert not accepts("attributes", nested(40))

    def test_content(self):
        assert accepts("attributes", struct({}))
        assert accepts("attributes", struct({"": None, "a": [True, 1.5, 1e300, "\n\x01\u2028\uffff"], "b": {"c": {}}}))
        for bad in ({"a": "nul\0"}, {"nul\0": 1}, {"a": [{"b\0": 1}]}, {"a": math.inf}, {"a": [math.nan]}):
            assert list(user_violations(attributes=struct(bad))) == ["user.attributes"]
        assert not accepts("attributes", Struct(fields={"a": Value()}))


@pytest.fixture(scope="module")
def pool():
    file = descriptor_pb2.FileDescriptorProto(
        name="tests/validation.proto",
        package="tests.validation",
        syntax="proto3",
        dependency=["watchword/v1/options.proto", "watchword/v1/users.proto"],
    )
    field = descriptor_pb2.FieldDescriptorProto
    outer = file.message_type.add(name="Outer")
    data = outer.field.add(name="data", number=1, type=field.TYPE_BYTES, label=field.LABEL_OPTIONAL)
    data.options.Extensions[options_pb2.rules].max_bytes = 3
    for number, name, kind, type_name, label in (
        (2, "status", field.TYPE_ENUM, ".watchword.v1.UserStatus", field.LABEL_OPTIONAL),
        (3, "users", field.TYPE_MESSAGE, ".watchword.v1.User", field.LABEL_REPEATED),
        (4, "count", field.TYPE_INT32, None, field.LABEL_OPTIONAL),
    ):
        outer.field.add(name=name, number=number, type=kind, type_name=type_name, label=label)
    mapped = file.message_type.add(name="Mapped")
    entry = mapped.nested_type.add(name="LabelsEntry")
    entry.options.map_entry = True
    for number, name in ((1, "key"), (2, "value")):
        entry.field.add(name=name, number=number, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    mapped.field.add(
        name="labels",
        number=1,
        type=field.TYPE_MESSAGE,
        type_name=".tests.validation.Mapped.LabelsEntry",
        label=field.LABEL_REPEATED,
    )
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


class TestOtherKindsOfFields:
    """What no request has yet, such as bytes and maps, and what few have."""

    def test_fields(self, pool):
        outer = message_factory.GetMessageClass(pool.FindMessageTypeByName("tests.validation.Outer"))
        good, bad = users_pb2.User(username="ana"), users_pb2.User(username="a b", locale="!")
        assert violations(outer(data=b"\0\xff!", status=1, users=[good], count=-7)) == {}
        assert list(violations(outer(data=b"four", status=9, users=[good, bad]))) == [
            "data",
            "status",
            "users[1].username",
            "users[1].locale",
        ]

    def test_maps_must_get_rules_first(self, pool):
        with pytest.raises(TypeError, match="no rules for maps"):
            Validators().validator_for(pool.FindMessageTypeByName("tests.validation.Mapped"))


class TestKeys:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("Ana@Example.COM", "ana@example.com"),
            ("éva@example.com", "E\u0301VA@example.com"),
            ("ana@例え.jp", "ANA@XN--R8JZ45G.jp"),
            ("ana@bücher.local", "ana@BÜCHER.local"),
            ("ana@bu\u0308cher.example", "ana@bücher.example"),
        ],
    )
    def test_same_address(self, one, other):
        assert normalize_email(one) == normalize_email(other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("ana@example.com", "ana@example.org"),
            ("ana@example.com", "ana+x@example.com"),
            ("a.na@example.com", "ana@example.com"),
            ("ana@corp.local", "ana@corp.local.x"),
        ],
    )
    def test_other_address(self, one, other):
        assert normalize_email(one) != normalize_email(other)

    @given(any_text)
    def test_keys_of_anything(self, text):
        key = normalize_username(text)
        assert normalize_username(key) == key
        for address in (text, text + "@" + text, text + "@xn--" + text, "ana@" + text):
            key = normalize_email(address)
            if accepts("email", address):
                assert normalize_email(key) == key
                assert key.rpartition("@")[2].isascii()

    def test_same_username(self):
        assert normalize_username("ＡＮＡ") == normalize_username("ana") == normalize_username("Ana") == "ana"
        assert normalize_username("Straße") == normalize_username("STRASSE")
        assert normalize_username(unicodedata.normalize("NFD", "žofie")) == normalize_username("ŽOFIE")
        assert normalize_username("ana") != normalize_username("аna")


class TestPlainEmail:
    """Most addresses are taken by a pattern, without the library: it must not take what the library would refuse."""

    @given(
        st.from_regex(
            r"[A-Za-z0-9_+.-]{1,20}@[A-Za-z0-9-]{1,9}\.([A-Za-z0-9]{1,9}\.){0,9}[A-Za-z]{1,9}", fullmatch=True
        )
    )
    def test_the_library_takes_what_the_pattern_takes(self, address):
        if validation._plain_email(address):
            assert validation._ascii_domain(address)

    @given(
        st.lists(
            st.sampled_from(["a", "Z", "9", ".", "-", "--", "_", "+", "@", "xn--", "\n", " ", "é", "x" * 63]),
            max_size=9,
        )
    )
    def test_the_same_for_what_is_almost_an_address(self, parts):
        address = f"a{''.join(parts)}@b{''.join(reversed(parts))}.example"
        if validation._plain_email(address):
            assert validation._ascii_domain(address)

    def test_most_addresses_are_plain(self):
        for address in ("ana@example.com", "Ana_Maria+tag@mail.sub-domain.example.co", "7@9.io"):
            assert validation._plain_email(address)
        for address in (
            "ana@localhost",
            "ana@example.c0m",
            "a..b@example.com",
            ".a@example.com",
            "ana@-a.com",
            "x" * 65 + "@a.io",
        ):
            assert not validation._plain_email(address)
