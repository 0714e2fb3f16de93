"""Stock msal gets a token through our own client: each proof works, no refusal shows a secret, nobody else is asked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from tests.sources.entra_tenant import connected, guid, pull, settings_of, tenant
from worker.errors import Denied, Misconfigured, Misshapen, TrueupError, Unavailable
from worker.sandbox.entra import EntraSandbox
from worker.sources.entra.settings import CLOUDS, Settings

TOKEN, DISCOVERY = "POST */oauth2/v2.0/token", "GET */.well-known/openid-configuration"
Seen = list[tuple[str, str, dict[str, str], bytes]]


@pytest.fixture
def entra() -> Iterator[EntraSandbox]:
    sandbox = tenant()
    with sandbox.serve():
        yield sandbox


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "secret"


@pytest.fixture
def seen(entra: EntraSandbox) -> Seen:
    """What reached the tenant: method, path, headers, body."""
    calls: Seen = []
    entra.observers.append(lambda x: calls.append((x.method, x.path, x.request_headers, x.request_body)))
    return calls


def paths(seen: Seen) -> list[str]:
    return [f"{method} {path.partition('/v2.0')[2] or path}" for method, path, _, _ in seen]


# --- each proof ------------------------------------------------------------------------------------------------------


def test_with_a_client_secret(entra: EntraSandbox, place: Path, seen: Seen) -> None:
    with connected(entra, place) as source:
        assert not pull(source).failed
    assert [path for path in paths(seen) if not path.startswith(("GET /v1.0", "POST /v1.0"))] == [
        "GET /.well-known/openid-configuration", "POST /token",
    ]  # fmt: skip
    assert b"%2F.default" in seen[1][3]


def test_with_a_certificate_signed_as_microsoft_asks_for_today(entra: EntraSandbox, place: Path, seen: Seen) -> None:
    import jwt

    place.write_text(entra.oauth.certificate)
    with connected(entra, place, certificate=f"${{file:{place}}}") as source:
        assert source.instance().own_account == entra.client_id
    (body,) = [body for method, _, _, body in seen if method == "POST"]
    assertion = next(
        one.partition(b"=")[2].decode() for one in body.split(b"&") if one.startswith(b"client_assertion=")
    )
    header = jwt.get_unverified_header(assertion)
    assert (header["alg"], bool(header["x5c"]), "x5t#S256" in header) == ("PS256", True, True)
    assert b"client_secret" not in body


def test_with_a_federated_token_that_is_read_anew_each_time(entra: EntraSandbox, place: Path) -> None:
    place.write_text(entra.oauth.federated())
    with connected(entra, place, assertion_file=str(place)) as source:
        assert source.instance()
        entra.oauth.expire_tokens()
        place.write_text(entra.oauth.federated(aud="somebody else"))
        with pytest.raises(Denied, match=r"AADSTS70021.*No federated credential"):
            pull(source)
        place.write_text(entra.oauth.federated())
        assert not pull(source).failed
        entra.oauth.expire_tokens()
        place.write_text("")
        with pytest.raises(Misconfigured, match="`assertion_file` of entra is empty"):
            pull(source)


# --- tokens ----------------------------------------------------------------------------------------------------------


def minted(seen: Seen) -> int:
    return paths(seen).count("POST /token")


def test_one_token_is_used_until_it_is_refused_and_then_another_one_once(
    entra: EntraSandbox, place: Path, seen: Seen
) -> None:
    with connected(entra, place) as source:
        pull(source)
        pull(source)
        assert minted(seen) == 1
        entra.oauth.expire_tokens()
        assert not pull(source).failed
        assert minted(seen) == 2
        fault = entra.break_(
            "GET /v1.0/users", "status", status=401, text='{"error": {"code": "InvalidAuthenticationToken"}}'
        )
        with pytest.raises(Denied, match=r"refused our token, and a new one too \(401: Inv"):
            pull(source)
    assert (fault.fired, minted(seen)) == (2, 3)


def test_many_who_are_refused_at_once_renew_the_token_once(entra: EntraSandbox, place: Path, seen: Seen) -> None:
    with connected(entra, place) as source:
        source.instance()
        together = Barrier(6)

        def ask(number: int) -> str:
            together.wait()
            found = source.person(guid(number))
            return found.login if found else ""

        entra.oauth.expire_tokens()
        with ThreadPoolExecutor(6) as threads:
            assert list(threads.map(ask, range(1, 7))) == [f"p{n}@acme.example" for n in range(1, 7)]
    assert minted(seen) == 2


def test_what_was_corrected_works_at_once_though_msal_remembers_refusals(entra: EntraSandbox, place: Path) -> None:
    entra.oauth.secret_expired = True
    with connected(entra, place) as source:
        with pytest.raises(Denied, match="AADSTS7000222"):
            source.instance()
        fault = entra.break_(TOKEN, "status", status=400, text='{"error": "invalid_request", "error_codes": [900023]}')
        for _ in range(2):
            with pytest.raises(Denied, match="AADSTS900023"):
                source.instance()
        assert fault.fired == 2, "the second refusal came from the tenant, and not from memory"
        entra.faults.clear()
        entra.oauth.secret_expired = False
        assert source.instance()


REFUSALS: dict[str, tuple[dict[str, Any], Callable[[EntraSandbox], object], str]] = {
    "the secret is wrong": ({"secret": "not~the.secret"}, lambda e: None, "7000215.*the secret's value, not to its id"),
    "the secret has expired": ({}, lambda e: setattr(e.oauth, "secret_expired", True), "7000222.*add another one"),
    "the app is unknown": ({"client_id": guid(77)}, lambda e: None, "700016.*check `client_id` and `tenant`"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_says_what_to_do_and_no_secret_when(entra: EntraSandbox, place: Path, case: str) -> None:
    how, prepare, words = REFUSALS[case]
    prepare(entra)
    with connected(entra, place, **how) as source, pytest.raises(Denied, match=words) as caught:
        source.instance()
    assert place.read_text() not in str(caught.value)
    assert "correlation id " in str(caught.value)
    assert "error_description" not in str(caught.value)


def test_an_unknown_tenant_is_a_setting_to_correct(entra: EntraSandbox, place: Path) -> None:
    other = guid(78)
    with connected(entra, place, tenant=other, authority=entra.url) as source, pytest.raises(Misconfigured) as caught:
        source.instance()
    assert f"gives no tokens for the tenant {other}: check `tenant`" in str(caught.value)


def test_msal_never_asks_which_clouds_there_are(
    entra: EntraSandbox, place: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even after a refusal, and no region of the environment leads it elsewhere."""
    monkeypatch.setenv("MSAL_FORCE_REGION", "westeurope")
    with connected(entra, place, secret="wrong") as source, pytest.raises(Denied):
        source.instance()
    assert not [path for path in paths(seen) if "discovery/instance" in path]
    assert len(seen) == 2


def test_a_bundle_in_the_environment_does_not_replace_ours(
    entra: EntraSandbox, place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "other.pem").write_text("")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "other.pem"))
    with connected(entra, place) as source:
        assert source.instance()


def test_an_authority_that_nobody_vouches_for_is_not_spoken_to(entra: EntraSandbox, place: Path, seen: Seen) -> None:
    with connected(entra, place, ca_file=None) as source, pytest.raises(Misconfigured, match="cannot be trusted"):
        source.instance()
    assert not seen


BROKEN: dict[str, tuple[str, dict[str, Any], type[TrueupError]]] = {
    "the token endpoint fails": (TOKEN, {"kind": "status", "status": 503}, Unavailable),
    "the token endpoint is busy": (TOKEN, {"kind": "status", "status": 429}, Unavailable),
    "the token endpoint breaks off": (TOKEN, {"kind": "drop"}, Unavailable),
    "the token endpoint is a web page": (TOKEN, {"kind": "html"}, Misshapen),
    "the refusal is a web page": (TOKEN, {"kind": "status", "status": 403, "text": "<html>"}, Misshapen),
    "the token endpoint answers something else": (TOKEN, {"kind": "misshapen"}, Misshapen),
    "the token endpoint answers half": (TOKEN, {"kind": "truncate"}, Misshapen),
    "the token endpoint leads elsewhere": (TOKEN, {"kind": "redirect", "text": "https://x.example/"}, Misconfigured),
    "Microsoft is busy in its own words": (
        TOKEN, {"kind": "status", "status": 400, "text": '{"error": "temporarily_unavailable"}'}, Unavailable,
    ),
    "the token is none": (TOKEN, {"kind": "misshapen", "text": '{"access_token": 7, "expires_in": 3599}'}, Misshapen),
    "discovery fails": (DISCOVERY, {"kind": "status", "status": 500}, Unavailable),
    "discovery is not there": (DISCOVERY, {"kind": "status", "status": 404, "text": "{}"}, Misconfigured),
    "discovery is a web page": (DISCOVERY, {"kind": "html"}, Misshapen),
    "discovery answers something else": (DISCOVERY, {"kind": "misshapen"}, Misshapen),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_it_is_an_error_of_ours_when(entra: EntraSandbox, place: Path, case: str) -> None:
    route, how, error = BROKEN[case]
    fault = entra.break_(route, **how)
    with connected(entra, place, attempts=2) as source, pytest.raises(error) as caught:
        source.instance()
    assert fault.fired
    assert entra.client_secret not in str(caught.value)
    assert "entra" in str(caught.value)


def test_the_token_is_fetched_from_the_authority_itself_and_from_nowhere_else(
    entra: EntraSandbox, place: Path, seen: Seen
) -> None:
    names = ("token_endpoint", "authorization_endpoint", "issuer")
    elsewhere = dict.fromkeys(names, "https://login.elsewhere.example/t/v2.0/token")
    entra.break_(DISCOVERY, "misshapen", text=orjson.dumps(elsewhere).decode())
    with connected(entra, place) as source, pytest.raises(Misshapen, match=r"another host .login\.elsewhere\.example"):
        source.instance()
    assert minted(seen) == 0


def test_what_passes_is_tried_again(entra: EntraSandbox, place: Path) -> None:
    faults = [entra.break_(route, "status", status=503, times=1) for route in (TOKEN, DISCOVERY)]
    with connected(entra, place) as source:
        assert source.instance()
    assert [fault.fired for fault in faults] == [1, 1]


def test_a_token_that_cannot_be_read_says_nothing_of_permissions_and_the_tenant_is_the_authoritys(
    entra: EntraSandbox, place: Path
) -> None:
    entra.break_(TOKEN, "misshapen", text='{"token_type": "Bearer", "access_token": "opaque", "expires_in": 3599}')
    with connected(entra, place) as source:
        assert source.instance().id == entra.tenant


# --- settings --------------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no proof": ({"client_secret": None}, "give exactly one of .* none is given"),
    "two proofs": ({"assertion_file": "/x"}, "`client_secret` and `assertion_file` are given"),
    "a secret in the open": ({"client_secret": "hunter2"}, "a secret is given by reference"),
    "every tenant": ({"tenant": "common"}, "write the Directory .tenant. id"),
    "an address for a tenant": ({"tenant": "https://login.microsoftonline.com/x"}, "write the Directory .tenant. id"),
    "a name for an app": ({"client_id": "Trueup"}, "write the Application .client. id, a GUID"),
    "a name among the apps": ({"app_roles": [guid(1), "Looker"]}, "Looker: write each application's"),
    "an authority without TLS": ({"authority": "http://127.0.0.1:1"}, "write it with https://"),
    "a Graph without TLS": ({"graph": "http://localhost"}, "write it with https://"),
    "a Graph with a version": ({"graph": "https://graph.microsoft.com/v1.0"}, "Trueup adds /v1.0 itself"),
    "an authority of another tenant": (
        {"authority": f"https://login.microsoftonline.com/{guid(2)}"}, "another tenant than `tenant`",
    ),
    "an authority with a password": ({"authority": "https://me:pw@x.example"}, "write only https:// and the host"),
    "an unknown cloud": ({"cloud": "mars"}, "global"),
    "an unknown key": ({"url": "https://x"}, "Extra inputs"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_settings_are_wrong_with(case: str) -> None:
    changed, words = WRONG[case]
    given = {"tenant": guid(1), "client_id": guid(2), "client_secret": "${env:X}", **changed}
    with pytest.raises(ValidationError, match=words):
        Settings(type="entra", **given)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_each_cloud_has_its_own_addresses(cloud: Any) -> None:
    made = Settings(type="entra", tenant="Acme.Example", client_id=guid(2), client_secret="${env:X}", cloud=cloud)  # type: ignore[arg-type, call-arg]
    login, graph = CLOUDS[cloud]
    assert (made.login, made.url) == (f"{login}/acme.example", graph)


def key_pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def certificate_pem(key: Any, *, days: int = 365) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Trueup")])
    now = dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=400))
    signed = made.not_valid_after(now + dt.timedelta(days=days)).sign(key, hashes.SHA256())
    return signed.public_bytes(Encoding.PEM).decode()


@pytest.fixture(scope="module")
def keys() -> tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]:
    one, other = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    return one, other


def test_a_certificate_that_is_none_is_said_to_be_none_without_showing_it(
    entra: EntraSandbox, place: Path, keys: tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]
) -> None:
    own, other = keys
    curve = ec.generate_private_key(ec.SECP256R1())
    wrong = {
        "hello": "must lead to PEM text", key_pem(own): "must lead to PEM text",
        certificate_pem(own): "must lead to PEM text", key_pem(curve) + certificate_pem(curve): "this key is none",
        key_pem(own) + certificate_pem(other): "the certificate in it is of another key",
    }  # fmt: skip
    for text, words in wrong.items():
        place.write_text(text)
        with pytest.raises(Misconfigured, match=words) as caught, connected(
            entra, place, certificate=f"${{file:{place}}}"
        ):  # fmt: skip
            pass
        assert text not in str(caught.value)


@pytest.mark.parametrize(
    ("days", "words"), [(10, "certificate ends on"), (-1, "fatal: The app's certificate has ended")]
)
def test_a_certificate_that_ends_soon_is_noticed(
    entra: EntraSandbox, place: Path, keys: tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey], days: int, words: str
) -> None:
    own, other = keys
    place.write_text(key_pem(own) + certificate_pem(other) + certificate_pem(own, days=days))
    with connected(entra, place, certificate=f"${{file:{place}}}") as source:
        said = next(iter(source.probe()))
    assert words in ("fatal: " if said.fatal else "") + said.text


def test_settings_show_no_secret(entra: EntraSandbox, place: Path) -> None:
    assert entra.client_secret not in repr(settings_of(entra, place))


def test_the_page_tells_every_setting_with_its_default_and_every_cloud() -> None:
    page = (Path(__file__).parents[2] / "docs" / "connectors" / "entra.md").read_text(encoding="utf-8")
    rows = page.partition("| setting |")[2].partition("\n\n")[0].splitlines()[2:]
    for name in Settings.model_fields.keys() - {"type"}:
        (row,) = [line for line in rows if f"`{name}`" in line.split("|")[1]]
        default = Settings.model_fields[name].default
        assert not isinstance(default, str) or f"`{default}`" in row.split("|")[3]
    for cloud, (login, graph) in CLOUDS.items():
        assert f"| `{cloud}` | {login.removeprefix('https://')} | {graph.removeprefix('https://')} |" in page
