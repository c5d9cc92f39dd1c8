from cryptography.exceptions import InvalidTag
from twisted.trial.unittest import SynchronousTestCase

from messageu.crypto.v3 import CryptoError
from messageu.crypto.v3._refusal import refused

# Nothing that was tried makes the libraries panic, and nobody can import what they would raise.
PanicException = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})


class RefusalTests(SynchronousTestCase):
    """Where what a library raises becomes our error."""

    def raised(self, error):
        with self.assertRaises(BaseException) as caught, refused("our words"):
            raise error
        return caught.exception

    def test_refusals(self):
        """What libraries raise for hostile input is one error, with our words alone."""
        for error in (ValueError("secret"), OverflowError("secret"), InvalidTag()):
            raised = self.raised(error)
            self.assertIsInstance(raised, CryptoError)
            self.assertEqual((str(raised), raised.__suppress_context__), ("our words", True))

    def test_panic(self):
        """A panic, which is no Exception, is that error as well."""
        self.assertNotIsInstance(PanicException(), Exception)
        self.assertIsInstance(self.raised(PanicException("secret")), CryptoError)

    def test_everything_else(self):
        """A bug of ours, an interrupt and the like come through as they are."""
        for error in (TypeError(), KeyboardInterrupt(), SystemExit(), MemoryError()):
            self.assertIs(self.raised(error), error)

    def test_our_own(self):
        """What has our words already keeps them."""
        error = CryptoError("other words")
        self.assertIs(self.raised(error), error)
