"""What is said at a login: the example exchanges of the RFCs, and the choice among what is offered."""

import base64
import json

import pytest
import scramp
from hypothesis import given
from hypothesis import strategies as st

from syncd.errors import LoginRefusedError, ProtocolError, Temper, TrustError
from syncd.sasl.mechanisms import choose_mechanism
from syncd.sasl.saslprep import prepared
from syncd.sasl.scram import Scram
from syncd.sasl.tokens import OAuthBearer, Token, XOAuth2

TEXTS = st.text(st.one_of(st.characters(codec="utf-8"), st.characters(max_codepoint=0x6FF)), min_size=1, max_size=20)
SERVER = ("server.example.com", 143)
TOKEN = Token("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")
EVERYTHING = ("PLAIN", "LOGIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "XOAUTH2", "OAUTHBEARER")
EXCHANGES = {
    "SCRAM-SHA-1": (  # RFC 5802 §5
        "fyko+d2lbbFgONRv9qkxdawL",
        b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    "SCRAM-SHA-256": (  # RFC 7677 §3
        "rOprNGfwEbeRWgbNEkqO",
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
}


def begun(name: str = "SCRAM-SHA-256") -> Scram:
    """Return a conversation as in the RFC, its first message said."""
    scram = Scram(name, "user", "pencil", nonce=EXCHANGES[name][0])
    scram.first()
    return scram


# SCRAM.


@pytest.mark.parametrize("name", EXCHANGES)
def test_scram_is_that_of_the_rfc(name: str) -> None:
    """The example exchange comes out octet by octet, and the server has proven itself only at its end."""
    nonce, first, challenge, proof, signature = EXCHANGES[name]
    scram = Scram(name, "user", "pencil", nonce=nonce)

    assert (scram.name, scram.first()) == (name, first)
    assert (scram.answer(challenge), scram.is_proven()) == (proof, False)
    assert (scram.answer(signature), scram.is_proven()) == (b"", True)
    assert scram.answer(b"v=more") is None


@given(text=TEXTS)
def test_saslprep_agrees_with_a_library(text: str) -> None:
    """What one of them does not allow, the other does not either."""
    try:
        expected = scramp.utils.saslprep(text)
    except scramp.ScramException:
        expected = None

    assert prepared(text) == expected


@given(username=TEXTS.filter(prepared), password=TEXTS.filter(prepared), name=st.sampled_from(tuple(EXCHANGES)))
def test_scram_and_a_library_understand_each_other(username: str, password: str, name: str) -> None:
    """Whatever the characters: the server knows who it is, and each that the other knows the password."""
    mechanism, users = scramp.ScramMechanism(name), []
    salt, stored_key, server_key, iterations = mechanism.make_auth_info(password, 4096)
    server = mechanism.make_server(lambda user: users.append(user) or (salt, stored_key, server_key, iterations))
    scram = Scram(name, username, password)

    server.set_client_first(scram.first().decode())
    proof = scram.answer(server.get_server_first().encode())
    assert proof is not None
    server.set_client_final(proof.decode())
    scram.answer(server.get_server_final().encode())

    assert scram.is_proven()
    assert [str(user) for user in users] == [prepared(username)]


def test_server_that_does_not_know_the_password_is_not_trusted() -> None:
    """Whoever answers in place of the server cannot sign what was said."""
    scram = begun()
    scram.answer(EXCHANGES["SCRAM-SHA-256"][2])

    with pytest.raises(TrustError, match="did not prove itself"):
        scram.answer(b"v=" + base64.b64encode(bytes(32)))
    assert not scram.is_proven()


def test_error_instead_of_a_signature_is_heard_out() -> None:
    """The server's NO follows and says why; nothing is proven by it."""
    scram = begun()
    scram.answer(EXCHANGES["SCRAM-SHA-256"][2])

    assert (scram.answer(b"e=invalid-proof"), scram.is_proven()) == (b"", False)


@pytest.mark.parametrize(
    "challenge",
    [
        b"r=rOprNGfwEbeRWgbNEkqO%x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095",
        b"r=rOprNGfwEbeRWgbNEkqO%x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1000001",
        b"r=rOprNGfwEbeRWgbNEkqO%x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=99999999999999999999",
        b"r=rOprNGfwEbeRWgbNEkqO%x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,i=5000",
        b"r=rOprNGfwEbeRWgbNEkqO%x,s=W22ZaJ0SNY7soEsUEjb6gQ==",
        b"r=somebody-elses-nonce,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"m=ext,r=rOprNGfwEbeRWgbNEkqO%x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"r=rOprNGfwEbeRWgbNEkqO%x,s=!,i=4096",
        b"",
        b"\xff",
        b"r=" + b"x" * 5000,
    ],
)
def test_challenge_that_is_not_allowed_ends_the_login(challenge: bytes) -> None:
    """A server cannot make us work for hours, nor weaken the proof, nor play back another's conversation."""
    with pytest.raises(ProtocolError) as caught:
        begun().answer(challenge)

    assert "pencil" not in repr(caught.value)


def test_names_and_passwords_are_prepared_as_the_rfc_wants_it() -> None:
    """What looks the same is the same, whatever keyboard it came from (RFC 4013), and a comma separates nothing."""
    assert Scram("SCRAM-SHA-1", "a,b=c", "x", nonce="n").first() == b"n,,n=a=2Cb=3Dc,r=n"
    assert Scram("SCRAM-SHA-1", "I\u00adX", "x", nonce="n").first() == b"n,,n=IX,r=n"
    proofs = set()
    for password in ("p\u00e9ncil", "pe\u0301ncil"):
        scram = Scram("SCRAM-SHA-1", "user", password, nonce="fyko+d2lbbFgONRv9qkxdawL")
        scram.first()
        proofs.add(scram.answer(EXCHANGES["SCRAM-SHA-1"][2]))
    assert len(proofs) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("\u0007", None),
        ("\u0627\u0031", None),
        ("\u0627\u0031\u0628", "\u0627\u0031\u0628"),
        ("\u0627a\u0628", None),
        ("a\u3000b", "a b"),
        ("\ue000\u00e9", None),
        ("\U0001f600", None),
    ],
)
def test_saslprep_is_that_of_the_rfc(text: str, expected: str | None) -> None:
    """The examples of RFC 4013 §3, and of what each of its rules forbids."""
    assert prepared(text) == expected


def test_user_may_have_a_character_that_is_newer_than_the_rfc() -> None:
    """Unlike a password, which both sides would have to have stored alike (RFC 5802 §2.2, §5.1)."""
    assert prepared("\U0001f600", allows_unassigned=True) == "\U0001f600"


def test_password_that_scram_does_not_allow_is_not_sent_and_not_shown() -> None:
    """The error names no character of it."""
    with pytest.raises(LoginRefusedError) as caught:
        Scram("SCRAM-SHA-256", "user", "pencil\u0007").first()

    assert caught.value.__context__ is None
    assert "pencil" not in str(caught.value)


# Tokens.


def test_oauthbearer_is_that_of_the_rfc() -> None:
    """The example exchange (RFC 7628 §4.1, §4.3), with a dummy answer to the error."""
    bearer = OAuthBearer("user@example.com", TOKEN, server=SERVER)

    assert base64.b64encode(bearer.first()) == (
        b"bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyI"
        b"HZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
    )
    refusal = b'{"status":"invalid_token","scope":"example_scope","openid-configuration":"https://example.com/x"}'
    assert (bearer.answer(refusal), bearer.complaint) == (b"\1", "status invalid_token")
    assert bearer.answer(refusal) is None


def test_xoauth2_is_as_its_inventor_describes_it() -> None:
    """The example of Google, and the empty answer after which its NO comes."""
    token = Token("ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg")
    mechanism = XOAuth2("someuser@example.com", token)

    assert base64.b64encode(mechanism.first()) == (
        b"dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ=="
    )
    assert mechanism.answer(b'{"status":"401","schemes":"bearer mac","scope":"https://mail.google.com/"}') == b""
    assert mechanism.complaint == "status 401"
    assert mechanism.answer(b"{}") is None


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ({"status": 400, "schemes": "Basic MAC"}, "status 400, it takes basic and mac"),
        ({"status": "insufficient_scope"}, "status insufficient_scope"),
        ({"status": TOKEN.text, "schemes": f"bearer {TOKEN.text}"}, ""),
        ({"status": "ana@example.org", "schemes": 7}, ""),
        (["status"], ""),
        ("x" * 10000, ""),
    ],
)
def test_of_a_refusal_only_known_words_are_shown(told: object, shown: str) -> None:
    """A server may repeat the token, or who one is; and what it says of itself is no use to anybody."""
    mechanism = XOAuth2("ana@example.org", TOKEN)

    mechanism.answer(json.dumps(told).encode())

    assert mechanism.complaint == shown


@pytest.mark.parametrize("challenge", [b"", b"\xff", b"not json", b"[" * 4000, b'{"status":'])
def test_refusal_that_is_no_json_is_answered_all_the_same(challenge: bytes) -> None:
    """Else its NO never came."""
    mechanism = OAuthBearer("ana", TOKEN, server=SERVER)

    assert (mechanism.answer(challenge), mechanism.complaint) == (b"\1", "")


def test_no_mechanism_shows_what_it_holds() -> None:
    """Not where a debugger or a traceback would."""
    for mechanism in (OAuthBearer("ana", TOKEN, server=SERVER), XOAuth2("ana", TOKEN), begun()):
        assert TOKEN.text not in repr(mechanism)
        assert "pencil" not in repr(mechanism)
    assert TOKEN.text not in f"{TOKEN!r}{TOKEN}"


# The choice.


@pytest.mark.parametrize(
    ("offered", "is_private", "name"),
    [
        (EVERYTHING, True, "PLAIN"),
        (("SCRAM-SHA-1", "SCRAM-SHA-256"), True, "SCRAM-SHA-256"),
        (("LOGIN", "XOAUTH2"), True, None),
        (EVERYTHING, False, "SCRAM-SHA-256"),
        (("PLAIN", "SCRAM-SHA-1"), False, "SCRAM-SHA-1"),
        (("PLAIN",), False, "PLAIN"),
        ((), False, None),
    ],
)
def test_password_goes_over_the_line_only_where_it_is_safe_or_must_be(
    offered: tuple[str, ...], is_private: bool, name: str | None
) -> None:
    """Private: PLAIN, which every user has. In the clear: SCRAM, and PLAIN only where there is nothing better."""
    mechanism = choose_mechanism(offered, "ana", "secret", is_private=is_private, server=SERVER)

    assert (mechanism and mechanism.name) == name


@pytest.mark.parametrize(
    ("offered", "name"),
    [(EVERYTHING, "OAUTHBEARER"), (("PLAIN", "XOAUTH2"), "XOAUTH2"), (("OAUTHBEARER",), "OAUTHBEARER")],
)
def test_token_goes_by_the_standard_where_it_can(offered: tuple[str, ...], name: str) -> None:
    """Google has both, Microsoft XOAUTH2 only."""
    mechanism = choose_mechanism(offered, "ana", TOKEN, is_private=True, server=SERVER)

    assert mechanism is not None
    assert mechanism.name == name


def test_token_is_never_sent_as_a_password() -> None:
    """A server that takes none is told from one that refused it, and gets nothing."""
    with pytest.raises(LoginRefusedError, match="takes no tokens") as caught:
        choose_mechanism(("PLAIN", "LOGIN"), "ana", TOKEN, is_private=True, server=SERVER)

    assert caught.value.temper is Temper.GIVE_UP
