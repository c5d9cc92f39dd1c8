"""How the address of a database is understood, and what of it is shown."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from messageu.store.postgres import BadAddress, PostgresAddress
from messageu.store.postgres._address import DEFAULTS

SECRET = "hunter2"
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


class AddressTests(SynchronousTestCase):
    def test_parameters(self) -> None:
        """What an address says is what libpq is told, beside what it is told in any case."""
        address = PostgresAddress.parse(
            "postgresql://relay:p%40ss%2F@one:5432,two/mail?connect_timeout=9&sslmode=verify-full"
        )
        self.assertEqual(
            address.parameters,
            {
                **DEFAULTS,
                "user": "relay",
                "password": "p@ss/",
                "host": "one,two",
                "port": "5432,",
                "dbname": "mail",
                "connect_timeout": "9",
                "sslmode": "verify-full",
            },
        )

    def test_shown(self) -> None:
        """What is shown is where the database is, and never a user or a password."""
        for given_address, shown in (
            ("postgres://relay@one/mail", "postgresql://one/mail"),
            ("postgresql://relay@one:5432/mail", "postgresql://one:5432/mail"),
            ("postgresql://relay@one:1,two:2/mail", "postgresql://one:1,two:2/mail"),
            ("postgresql://one,two/mail?port=7", "postgresql://one:7,two:7/mail"),
            ("postgresql:///mail?host=/run/pg", "postgresql:///run/pg/mail"),
            ("postgresql://?hostaddr=192.0.2.1", "postgresql://192.0.2.1/"),
        ):
            for secret in ("", f":{SECRET}"):
                with self.subTest(address=given_address, secret=secret):
                    text = given_address.replace("relay", f"relay{secret}")
                    self.assertEqual(PostgresAddress.parse(text).shown, shown)

    def test_password_is_in_no_text(self) -> None:
        """A password is in no text that is made of an address, wherever it stands in it."""
        for text in (
            f"postgresql://relay:{SECRET}@one/mail",
            f"postgresql://relay@one/mail?password={SECRET}",
            f"postgresql://one/mail?sslpassword={SECRET}",
        ):
            address = PostgresAddress.parse(text)
            self.assertNotIn(SECRET, f"{address!r} {address} {address.shown}")

    def test_password_is_not_escaped(self) -> None:
        """Of a password with characters that have a meaning, which libpq would take for the name of
        a host or a database, nothing is shown: it has to be written otherwise."""
        for password in (f"{SECRET}@", f"@{SECRET}", f"{SECRET}/", f"/{SECRET}", f"a/{SECRET}@b"):
            with self.subTest(password=password):
                text = f"postgresql://relay:{password}@one/mail"
                error = self.assertRaises(BadAddress, PostgresAddress.parse, text)
                self.assertIn("%40", str(error))
                self.assertNotIn(SECRET, str(error))

    def test_no_address(self) -> None:
        """What is no address is refused without being quoted."""
        for text in (
            f"postgresql://relay:{SECRET}%zz@one/mail",
            f"postgresql://relay:{SECRET}@[one/mail",
            f"postgresql://relay:{SECRET}@one/mail?{SECRET}=1",
            f"postgresql://relay:{SECRET}@one/mail?{SECRET}",
        ):
            with self.subTest(text=text):
                error = self.assertRaises(BadAddress, PostgresAddress.parse, text)
                self.assertNotIn(SECRET, str(error))
                self.assertIsNone(error.__cause__)
                self.assertTrue(error.__suppress_context__)

    @given(TEXTS, TEXTS, TEXTS)
    def test_anything(self, user: str, password: str, rest: str) -> None:
        """Whatever follows the name of a scheme is an address, or refused as none."""
        try:
            address = PostgresAddress.parse(f"postgresql://{user}:{password}@{rest}")
        except BadAddress:
            return
        self.assertTrue(address.shown.startswith("postgresql://"))
